"""Before the blocks: which documents samples come from, which features can be sources, and the clean run of a site's window."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from feature_graph.artifacts import CONFIRM, TEST, ActivationStore, feature_id
from feature_graph.config import Config
from feature_graph.dictionaries import SiteCodec
from feature_graph.interactions.errors import MeasureError
from feature_graph.interactions.exhaustive.block import SiteContext
from feature_graph.interactions.plan import Ints, Source, document_priority, layer_sources
from feature_graph.interactions.probes import Setting
from feature_graph.interventions import CleanReconstruction, CleanSweep, ModelSlices

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Field:
    """What an exhaustive run measures.

    Attributes:
        sources: Layer → sources, by index.
        targets: Source layer → target layers of its window.
        left_out: Short id of a feature that is no source → why.
        documents: int64 [n], documents of the clean run.
        n_tests: (source, target) pairs: the size of each family.
    """

    sources: dict[int, list[Source]]
    targets: dict[int, list[int]]
    left_out: dict[str, str]
    documents: Ints
    n_tests: int


def plan_field(
    slices: ModelSlices,
    store: ActivationStore,
    codecs: Mapping[int, SiteCodec],
    norms: Mapping[int, float],
    cfg: Config,
    chosen: Mapping[int, Sequence[int]] | None,
    clean_bytes: int,
) -> Field:
    """Find every feature that can be a source, with its levels and samples.

    Args:
        slices: The model.
        store: Recorded activations.
        codecs: Layer → dictionary.
        norms: Layer → mean residual norm.
        cfg: The configuration.
        chosen: Layer → features to try; all if None.
        clean_bytes: Memory for the clean run. With more text than fits, samples come from the first documents of the order in
            which every source goes through them; features that are active in too few of those are left out and counted.

    Raises:
        MeasureError: If ``chosen`` names features that do not exist.
    """
    layers = sorted(codecs)
    targets = {n: [t for s, t in cfg.layer_pairs if s == n and t in codecs] for n in layers}
    targets = {n: found for n, found in targets.items() if found}
    among = _within(slices, store, codecs, targets, cfg, clean_bytes)
    sources: dict[int, list[Source]] = {}
    left_out: dict[str, str] = {}
    for layer in targets:
        wanted = np.arange(codecs[layer].d_sae) if chosen is None else _wanted(layer, chosen.get(layer, ()), codecs[layer].d_sae)
        found, refused = layer_sources(store, layer, wanted, codecs[layer], norms[layer], cfg, among)
        left_out |= refused
        if found:
            sources[layer] = found
    n_tests = sum(len(found) * sum(codecs[t].d_sae for t in targets[n]) for n, found in sources.items())
    return Field(sources, targets, left_out, np.flatnonzero(among), n_tests)


def _wanted(layer: int, indices: Sequence[int], d_sae: int) -> Ints:
    wanted = np.unique(np.asarray(indices, dtype=np.int64))
    wrong = wanted[(wanted < 0) | (wanted >= d_sae)]
    if len(wrong):
        raise MeasureError(f"sources: {feature_id(layer, int(wrong[0]))} does not exist; that SAE has {d_sae} features")
    return wanted


def _within(
    slices: ModelSlices, store: ActivationStore, codecs: Mapping[int, SiteCodec], targets: Mapping[int, list[int]], cfg: Config, limit: int
) -> NDArray[np.bool_]:
    """Documents that samples may come from: as many as the clean run has memory for, two test ones for each to confirm."""
    room = max(3, limit // window_bytes(slices, codecs, targets, store.context_length))
    priority, among = document_priority(store, cfg), np.zeros(len(store.tokens), dtype=bool)
    for split, share in ((TEST, room - room // 3), (CONFIRM, room // 3)):
        mine = np.flatnonzero(store.splits == split)
        among[mine[np.argsort(priority[mine])][:share]] = True
    usable = int(np.isin(store.splits, (TEST, CONFIRM)).sum())
    if int(among.sum()) < usable:
        log.warning(
            "samples come from %d of %d documents: the clean run of more does not fit into %.1f GB", among.sum(), usable, limit / 1e9
        )
    return among


def window_bytes(slices: ModelSlices, codecs: Mapping[int, SiteCodec], targets: Mapping[int, list[int]], context: int) -> int:
    """Bytes that the clean run of one document takes in the widest window: residuals, keys and values, reconstructions."""
    cfg = slices.model.cfg
    heads = int(cfg.n_key_value_heads or cfg.n_heads)
    most = 0
    for layer, found in targets.items():
        blocks = codecs[found[-1]].site.point - codecs[layer].site.point
        most = max(most, blocks * 2 * heads * int(cfg.d_head) + (2 * len(found) + 2) * slices.d_model)
    return max(1, most * context * 4)


class Sweep:
    """The clean run over the field's documents, walked up once; asked for one source site after the other."""

    def __init__(self, slices: ModelSlices, codecs: dict[int, SiteCodec], store: ActivationStore, field: Field, cfg: Config) -> None:
        self._slices, self._codecs, self._field, self._cfg = slices, codecs, field, cfg
        self._rows = np.full(len(store.tokens), -1, dtype=np.int64)
        self._rows[field.documents] = np.arange(len(field.documents))
        self._sweep = CleanSweep(slices, store.tokens[field.documents])
        self._counted = torch.as_tensor(store.valid[field.documents], device=slices.device)

    def ground(self, layer: int) -> SiteContext:
        """What the blocks of a source site share.

        Raises:
            MeasureError: If the model's residual stream is not finite.
        """
        path = tuple(self._codecs[n] for n in self._field.targets[layer])
        points = [self._codecs[layer].site.point, *(c.site.point for c in path)]
        clean = self._sweep.window(points[0], points[-1], points)
        for point in points:
            if not torch.isfinite(clean.residuals[point]).all():
                raise MeasureError(
                    f"the model's residual stream after {point} blocks is NaN or infinite on the run's text; check its weights"
                )
        setting = Setting(self._slices, self._codecs, clean, self._rows, self._counted, self._cfg.position_horizon)
        samples = [s.test for s in self._field.sources[layer]]
        documents, positions = (np.concatenate([getattr(s, name) for s in samples]) for name in ("documents", "positions"))
        where = torch.as_tensor(self._rows[documents], device=self._slices.device), torch.as_tensor(positions, device=self._slices.device)
        passed = tuple(CleanReconstruction(c, clean.residuals[c.site.point], *where) for c in path[:-1])
        return SiteContext(setting, self._codecs[layer], path, passed)
