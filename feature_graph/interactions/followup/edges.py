"""What further measures of chosen edges share: checked input, levels and samples of the sources, the way up the sites."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import pandas as pd
import scipy.sparse as sp

from feature_graph import stats
from feature_graph.activations import SampleRows
from feature_graph.artifacts import (
    ActivationStore,
    FeatureRef,
    InteractionSet,
    Pair,
    feature_key,
    id_site_of,
    layer_of,
    read_feature_id,
)
from feature_graph.config import Config
from feature_graph.interactions.check import check_pairs
from feature_graph.interactions.errors import BrokenEffect, MeasureError
from feature_graph.interactions.finish import leading_strength
from feature_graph.interactions.passes import BLOCK_SAMPLES, documents_of, split_passes
from feature_graph.interactions.plan import Plan, Source, make_plan
from feature_graph.interactions.probes import NONE_TOO_SMALL, Measured, Probe, measure, path_of
from feature_graph.interactions.smallest import SmallestEffect
from feature_graph.interventions import CleanDocuments, MeasurementContext, Reading, Setting
from ingest.feature_ids import site_name

log = logging.getLogger(__name__)

T = TypeVar("T")
#: Why a source that makes the model overflow is left out.
OVERFLOW = "the model gives NaN or infinity under its clamp"

_NO_ROWS = SampleRows(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))


@dataclass(frozen=True)
class SiteWork:
    """Sources of one site, the sites downstream of it, and the clean run over both.

    Attributes:
        sources: By index.
        path: Every analysed site after theirs, as far as the farthest target, with the targets asked for.
        setting: The clean run.
    """

    sources: list[Source]
    path: list[Reading]
    setting: Setting

    def column(self, target: FeatureRef) -> tuple[int, int]:
        """Place of a target: number of its site in the path, and of the target among those read there."""
        name, index = site_name(target.layer, target.site), target.index
        site = next(k for k, reading in enumerate(self.path) if reading.codec.site.name == name)
        features = self.path[site].features
        if features is None:
            return site, index
        return site, int((features == index).nonzero()[0, 0])


def pair_frame(pairs: Iterable[Pair], keys: Collection[int]) -> pd.DataFrame:
    """Pairs of a run that has sites of these keys as a table: src_layer, src_index, tgt_layer, tgt_index; layers are keys."""
    rows = [(*feature_key(s.id, keys), *feature_key(t.id, keys)) for s, t in pairs]
    return pd.DataFrame(rows, columns=["src_layer", "src_index", "tgt_layer", "tgt_index"], dtype=np.int64)


def plan_pairs(context: MeasurementContext, pairs: Sequence[Pair]) -> Plan:
    """Levels and test samples of the pairs' sources; sources that cannot be measured are logged and left out.

    Raises:
        MeasureError: If there are no pairs, or a pair names a feature that does not exist, runs backwards, or is a weight and the
            configuration does not take these in.
    """
    if not pairs:
        raise MeasureError("pairs: got none; name at least one source and target, or lower the bar for choosing them")
    frame = pair_frame(pairs, context.codecs)
    check_pairs(context.store, frame, context.codecs, context.cfg)
    plan = make_plan(context.store, frame, context.codecs, context.norms, context.cfg)
    for reason, count in plan.reasons().items():
        log.warning("%d source%s left out: %s", count, "s are" if count > 1 else " is", reason)
    sources = {layer: [replace(s, confirm=_NO_ROWS) for s in found] for layer, found in plan.sources.items()}
    return replace(plan, sources=sources)


def sites(context: MeasurementContext, plan: Plan) -> Iterator[SiteWork]:
    """The plan's sources site by site up the model, in as few passes as memory allows."""
    for chosen in split_passes(context, plan):
        documents = documents_of(chosen)
        if not len(documents):
            continue
        clean = CleanDocuments(context, documents)
        for layer in sorted({s.layer for s in chosen}):
            setting = clean.setting(plan.window(layer, context.codecs))
            yield SiteWork([s for s in chosen if s.layer == layer], path_of(plan, context.codecs, layer), setting)


def measured(work: SiteWork, probes: Sequence[Probe], smallest: SmallestEffect = NONE_TOO_SMALL) -> Iterator[list[Measured]]:
    """Effects of each probe by clamping, one list (a site of the path each) a probe, in batches of the usual size."""
    size = max(1, BLOCK_SAMPLES // max((len(p.source.test) for p in probes), default=1))
    for k in range(0, len(probes), size):
        yield from measure(work.setting, probes[k : k + size], work.path, derivative=False, smallest=smallest)


def sparing_broken(plan: Plan, make: Callable[[Plan], list[T]]) -> tuple[list[T], Plan]:
    """Measure by ``make``; sources under which the model overflows are left out, and the others are measured again.

    Returns:
        What was made, and the plan without them.
    """
    while True:
        try:
            return make(plan), plan
        except BrokenEffect as broken:
            known = {s.id for found in plan.sources.values() for s in found}
            if not broken.names & known:
                raise
            log.warning("%s. Left out", BrokenEffect(sorted(broken.names)))
            rest = {layer: [s for s in found if s.id not in broken.names] for layer, found in plan.sources.items()}
            left_out = plan.left_out | dict.fromkeys(sorted(broken.names), OVERFLOW)
            plan = replace(plan, sources={layer: found for layer, found in rest.items() if found}, left_out=left_out)


def columns_of(store: ActivationStore, refs: set[FeatureRef]) -> dict[FeatureRef, sp.csc_matrix]:
    """Activations of some features, one column each; each layer is read once."""
    found: dict[FeatureRef, sp.csc_matrix] = {}
    for layer in sorted({ref.layer for ref in refs}):
        mine = sorted((ref for ref in refs if ref.layer == layer), key=lambda ref: ref.index)
        matrix = sp.csc_matrix(store.activations[layer][:, [ref.index for ref in mine]])
        found |= {ref: matrix[:, [k]] for k, ref in enumerate(mine)}
    return found


def targets_of(plan: Plan, source: Source) -> Iterator[FeatureRef]:
    """Targets that a source is asked for, in order."""
    for key, indices in sorted(plan.asked[source.layer, source.index].items()):
        for index in indices.tolist():
            yield FeatureRef(layer_of(key), index, id_site_of(key))


def feature_ref(text: str) -> FeatureRef:
    """A feature from its short id.

    Raises:
        MeasureError: If the text is not an id.
    """
    try:
        found = read_feature_id(text.strip())
    except ValueError as error:
        raise MeasureError(str(error)) from error
    return FeatureRef(found.layer, found.index, found.site)


def strongest_pairs(interactions: InteractionSet, top: int = 20) -> list[Pair]:
    """The ``top`` significant edges with the largest |standardised effect|, strongest first."""
    found = significant_edges(interactions).head(top)
    return [Pair(feature_ref(s), feature_ref(t)) for s, t in zip(found["src_id"], found["tgt_id"], strict=True)]


def significant_edges(interactions: InteractionSet) -> pd.DataFrame:
    """Significant edges with a column ``rank_by``, |standardised effect| of the leading effect, largest first."""
    frame = interactions.frame[interactions.frame["significant"].astype(bool)]
    lead = np.abs(leading_strength(frame))
    unit = (frame["standardised_effect"] / frame["mean_strength"]).abs().replace([np.inf], np.nan).fillna(0.0)
    frame = frame.assign(rank_by=lead * unit)
    return frame.sort_values(["rank_by", "src_fid", "tgt_fid"], ascending=[False, True, True], kind="stable", ignore_index=True)


def reach_warning(documents: Sequence[int], n_tests: int, cfg: Config) -> list[str]:
    """What to say where few documents keep p above what the correction asks for; empty if nothing."""
    few = [n for n in documents if n <= stats.SIGN_FLIP_MAX]
    if not few:
        return []
    p = stats.smallest_p(min(few))
    needed = stats.edges_needed(n_tests, p, cfg.significance_level, cfg.correction_method)
    reach = "cannot be significant" if needed is None else f"can be significant only if {needed} of the tests have so small a p"
    text = (
        f"{len(few)} of {n_tests} tests rest on {stats.SIGN_FLIP_MAX} documents or fewer; with {min(few)} the smallest p is {p:.3g}: "
        f"they {reach}"
    )
    log.warning(text)
    return [text]
