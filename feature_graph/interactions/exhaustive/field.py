"""Before the blocks: which documents samples come from, which features can be sources, and the clean run of a site's window."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_graph.activations import document_priority
from feature_graph.artifacts import CONFIRM, TEST, by_site, feature_id, keys_of, pairs_in_window
from feature_graph.interactions.errors import MeasureError
from feature_graph.interactions.exhaustive.block import SiteContext
from feature_graph.interactions.plan import Ints, Source, layer_sources
from feature_graph.interventions import CleanDocuments, MeasurementContext, mlps_between

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Field:
    """What an exhaustive run measures.

    Attributes:
        sources: Layer → sources, by index.
        targets: Source layer → target layers of its window.
        bypassed: Source layer → those of them with something between, whose direct effect is therefore tested apart from the total one.
        left_out: Short id of a feature that is not a source → why.
        documents: int64 [n], documents of the clean run.
        n_tests: (source, target) pairs: the size of each family.
    """

    sources: dict[int, list[Source]]
    targets: dict[int, list[int]]
    bypassed: dict[int, list[int]]
    left_out: dict[str, str]
    documents: Ints
    n_tests: int


def plan_field(context: MeasurementContext, chosen: Mapping[Any, Sequence[int]] | None, clean_bytes: int) -> Field:
    """Find every feature that can be a source, with its levels and samples.

    Args:
        context: Model, dictionaries and text.
        chosen: Layer or name of the site → features to try; all if None.
        clean_bytes: Memory for the clean run. With more text than fits, samples come from the first documents of the order in
            which every source goes through them; features that are active in too few of those are left out and counted.

    Raises:
        MeasureError: If ``chosen`` names features that do not exist.
    """
    codecs, cfg = context.codecs, context.cfg
    targets = _targets(context)
    among = _within(context, targets, clean_bytes)
    named = None if chosen is None else by_site(chosen)
    sources: dict[int, list[Source]] = {}
    left_out: dict[str, str] = {}
    for layer in targets:
        wanted = np.arange(codecs[layer].d_sae) if named is None else _wanted(layer, named.get(layer, ()), codecs[layer].d_sae)
        found, refused = layer_sources(context.store, layer, wanted, codecs[layer], context.norms[layer], cfg, among)
        left_out |= refused
        if found:
            sources[layer] = found
    n_tests = sum(len(found) * sum(codecs[t].d_sae for t in targets[n]) for n, found in sources.items())
    bypassed = {n: _bypassed(context, n, found) for n, found in targets.items()}
    return Field(sources, targets, bypassed, left_out, np.flatnonzero(among), n_tests)


def _targets(context: MeasurementContext) -> dict[int, list[int]]:
    """Of each site that can drive another one of its window, these; by plain numbers, which the seeds of a plan's samples are made from."""
    cfg, found = context.cfg, dict[int, list[int]]()
    sites = {key: context.model.sites[key] for key in keys_of(cfg) if key in context.codecs}
    for source, target in pairs_in_window(sites, cfg.layer_window, weights=cfg.weight_pairs):
        found.setdefault(int(source), []).append(int(target))
    return found


def _bypassed(context: MeasurementContext, source: int, targets: Sequence[int]) -> list[int]:
    if not context.model.has_components:
        return list(targets[1:])
    sites = context.model.sites
    return [target for target in targets if mlps_between(context.slices, sites[source], sites[target])]


def _wanted(layer: int, indices: Sequence[int], d_sae: int) -> Ints:
    wanted = np.unique(np.asarray(indices, dtype=np.int64))
    wrong = wanted[(wanted < 0) | (wanted >= d_sae)]
    if len(wrong):
        raise MeasureError(f"sources: {feature_id(layer, int(wrong[0]))} does not exist; that SAE has {d_sae} features")
    return wanted


def _within(context: MeasurementContext, targets: Mapping[int, list[int]], limit: int) -> NDArray[np.bool_]:
    """Documents that samples may come from: as many as the clean run has memory for, two test ones for each to confirm."""
    windows = ([layer, *found] for layer, found in targets.items())
    room = max(3, limit // context.document_bytes(windows))
    store = context.store
    priority, among = document_priority(store, context.cfg), np.zeros(len(store.tokens), dtype=bool)
    for split, share in ((TEST, room - room // 3), (CONFIRM, room // 3)):
        mine = np.flatnonzero(store.splits == split)
        among[mine[np.argsort(priority[mine])][:share]] = True
    usable = int(np.isin(store.splits, (TEST, CONFIRM)).sum())
    if int(among.sum()) < usable:
        log.warning(
            "samples come from %d of %d documents: the clean run of more does not fit into %.1f GB", among.sum(), usable, limit / 1e9
        )
    return among


class SiteSweep:
    """The clean run over the field's documents, asked for one source site after the other."""

    def __init__(self, context: MeasurementContext, field: Field) -> None:
        self._codecs, self._field = context.codecs, field
        self._clean = CleanDocuments(context, field.documents)

    def site(self, layer: int) -> SiteContext:
        """What the blocks of a source site share.

        Raises:
            MeasureError: If the model's residual stream is not finite.
        """
        path = tuple(self._codecs[n] for n in self._field.targets[layer])
        setting = self._clean.setting([layer, *self._field.targets[layer]])
        return SiteContext(setting, self._codecs[layer], path)
