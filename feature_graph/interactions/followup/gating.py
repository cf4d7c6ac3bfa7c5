"""Gating: does source B change what source A does to a target? A 2 × 2 factorial clamp with its interaction contrast.

1. Samples are test positions where A and B are both active (``where="both"``): removing and raising either is then a small step from
   what the text holds. Sources that rarely meet can be asked for with ``where="either"``, which is another estimand.
2. A high or low × B high or low, levels as in every measurement: f(hh) − f(hl) − f(lh) + f(ll) of the target, averaged within
   documents, tested over documents. For effects that add up the contrast is 0; above 0 the two need each other (AND), below 0 one
   is enough (OR, saturation).
3. The null hypothesis is |strength| ≤ δ (``min_effect``, or ``min_effect_sd`` of the target). With placebos there is also a floor: the
   same clamps with B's, then with A's, direction replaced by random ones (``n_placebo`` in all). A gate must exceed the
   ``placebo_quantile`` of their |strength|, and δ; below, p is 1 and the test stays in the family.
4. One family: all triples asked for, corrected by ``correction_method``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import get_args

import numpy as np
import pandas as pd

from feature_graph import stats
from feature_graph.artifacts import ActivationStore, GateSet, InteractionSet, Pair, Triple
from feature_graph.config import Config
from feature_graph.dictionaries import Dictionaries, HookedModel
from feature_graph.interactions.errors import MeasureError
from feature_graph.interactions.followup.edges import OVERFLOW, feature_ref, plan_pairs, reach_warning, significant_edges
from feature_graph.interactions.followup.factorial import Where, make_groups, measure_groups, triple_name
from feature_graph.interactions.smallest import target_sd
from feature_graph.interventions import AnalysedModel, MeasurementContext
from feature_graph.utils import progress as progress_over
from ingest.measures import GATES


def gating_candidates(interactions: InteractionSet, top: int = 50, per_target: int = 10, *, chains: bool = False) -> list[Triple]:
    """Pairs of sources with significant edges onto the same target, strongest first.

    Args:
        interactions: Measured edges.
        top: How many triples.
        per_target: At most so many of them per target. A triple is as strong as the weaker of its two edges, by |standardised
            effect|.
        chains: Whether to take pairs too of which one source has a significant edge onto the other: mostly the same thing, seen at
            two sites.
    """
    edges = significant_edges(interactions)
    linked = set() if chains else set(zip(edges["src_id"], edges["tgt_id"], strict=True))
    found: list[tuple[float, Triple]] = []
    for target, onto in edges.groupby("tgt_id", sort=False):
        sources = list(zip(onto["rank_by"], onto["src_id"], strict=True))
        scored = [(min(x, y), s, t) for (x, s), (y, t) in combinations(sources, 2) if not {(s, t), (t, s)} & linked]
        scored.sort(key=lambda item: -item[0])
        found += [(score, Triple(feature_ref(s), feature_ref(t), feature_ref(str(target)))) for score, s, t in scored[:per_target]]
    found.sort(key=lambda item: -item[0])
    return [_ordered(triple) for _, triple in found[:top]]


def measure_gating(
    model: HookedModel | AnalysedModel,
    saes: Dictionaries,
    triples: Sequence[Triple],
    cfg: Config,
    *,
    store: ActivationStore,
    where: Where = "both",
    progress: bool = True,
) -> GateSet:
    """Clamp two sources 2 × 2 and test the interaction contrast on a target.

    Args:
        model: As for :func:`feature_graph.interactions.measure_interactions`.
        saes: Layer → SAELens SAE.
        triples: Two sources and a target each; both before the target, at the same or different sites. See
            :func:`gating_candidates`.
        cfg: The configuration.
        store: Recorded activations, for levels and samples.
        where: Samples where ``both`` sources are active, or where ``either`` is.
        progress: Whether to show a progress bar.

    Returns:
        One row per triple, sorted by q; ``meta`` says what was left out and why.

    Raises:
        MeasureError: If a triple names a feature that does not exist or a source twice, or its target does not lie after both.
    """
    if where not in get_args(Where):
        raise MeasureError(f"where: got {where!r}; expected one of {', '.join(get_args(Where))}")
    context = MeasurementContext.open(AnalysedModel.of(model, saes, cfg), store, cfg)
    asked = list(dict.fromkeys(_ordered(t) for t in triples))
    for triple in asked:
        _check(triple)
    plan = plan_pairs(context, [pair for t in asked for pair in (Pair(t.a, t.target), Pair(t.b, t.target))])
    groups, left_out = make_groups(context, plan, asked, where)
    work = measure_groups(context, plan, groups)
    rows = [row for group in (progress_over(work, "measuring gates", len(groups)) if progress else work) for row in group]
    measured = {(row["a_id"], row["b_id"]) for row in rows}
    left_out |= {triple_name(t): OVERFLOW for t in asked if triple_name(t) not in left_out and (t.a.id, t.b.id) not in measured}
    frame = _finish(pd.DataFrame(rows, columns=[n for n in GATES.names if n not in _LATER]), store, cfg)
    meta = {
        "level": cfg.significance_level,
        "correction": cfg.correction_method,
        "family": len(frame),
        "significant": int(frame["significant"].sum()),
        "where": where,
        "placebos": {"n": cfg.n_placebo, "quantile": cfg.placebo_quantile, "min_effect": cfg.min_effect},
        "left_out": left_out,
        "warnings": reach_warning(frame["n_documents"].tolist(), len(frame), cfg),
    }
    return GateSet(frame, meta)


_LATER = {"standardised", "q_value", "significant"}


def _ordered(triple: Triple) -> Triple:
    a, b = sorted([triple.a, triple.b], key=lambda ref: (ref.layer, ref.index))
    return Triple(a, b, triple.target)


def _check(triple: Triple) -> None:
    if triple.a == triple.b:
        raise MeasureError(f"triples: {triple_name(triple)} names one source twice; a gate has two")
    if triple.target.layer <= triple.b.layer:
        raise MeasureError(f"triples: {triple_name(triple)}: the target must lie after both sources")


def _finish(frame: pd.DataFrame, store: ActivationStore, cfg: Config) -> pd.DataFrame:
    frame = frame.astype({c.name: c.type for c in GATES.columns if c.type in ("int32", "float64") and c.name in frame})
    indices = np.array([feature_ref(text).index for text in frame["tgt_id"]], dtype=np.int64)
    sd = target_sd(store, frame["tgt_layer"].to_numpy(), indices)
    frame["standardised"] = np.divide(frame["contrast"], sd, out=np.full(len(frame), np.nan), where=sd > 0)
    frame["q_value"] = stats.adjust(frame["p_value"].to_numpy(), cfg.correction_method)
    frame["significant"] = (frame["q_value"] < cfg.significance_level).astype(bool)
    return frame.sort_values(["q_value", "p_value", "a_id", "b_id", "tgt_id"], ignore_index=True, kind="stable")[GATES.names]
