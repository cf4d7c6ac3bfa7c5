"""Compiled programs in their own width: how much of what their weights do is found, and how much of what is found they do not.

Truth is the weights' own effect over one step, in float64, averaged within documents and then over them
(``planted.compiled_truth``). *Wiring* is what it makes of pairs of different directions: the largest of their effects is at least
:data:`STRONG` × ``min_effect``. A discovery is *false* where the true effect is below ``min_effect``. A direction's effect on itself
is a copy, and counted apart. What is not found for want of documents is a miss like any other; the list of misses says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from feature_graph.activations import collect_activations
from feature_graph.artifacts import SELECT, TEST, CandidateSet, InteractionSet, feature_id
from feature_graph.config import Config
from feature_graph.evaluation.calibration.pairs import all_pairs
from feature_graph.evaluation.planted import Pair, TrueEffect
from feature_graph.evaluation.planted.compiled import CompiledProgram, load_program
from feature_graph.evaluation.planted.compiled_inputs import inputs
from feature_graph.evaluation.planted.compiled_model import Basis, LoadedProgram, as_hooked
from feature_graph.evaluation.planted.compiled_truth import step_effects
from feature_graph.evaluation.planted.score import EFFECTS, Row, pair_of
from feature_graph.interactions import measure_interactions
from feature_graph.interventions import AnalysedModel
from feature_graph.utils import without_progress

#: Random inputs of a program, to which those are added that rare directions need; four tenths of them are test documents.
DOCUMENTS = 1000
#: Wiring has an effect of at least so many times ``min_effect``.
STRONG = 5
#: Misses that are told one by one.
TOLD = 20


def measure_own_width(program: str | CompiledProgram, basis: Basis, documents: int = DOCUMENTS) -> dict[str, Any]:
    """Measure every pair one step apart with the configuration that ships, and compare with the truth.

    Args:
        program: The program, or the name of one that ships.
        basis: ``original``, or ``rotated``.
        documents: Random inputs; more are added where a direction is rare (``planted.compiled_inputs``).

    Raises:
        KeyError: If there is no program of that name.
    """
    program = load_program(program) if isinstance(program, str) else program
    loaded = as_hooked(program, None, basis=basis)
    tokens = inputs(program, documents)
    cfg = loaded.own_width_config(int(tokens.size))
    measured, splits = _measure(loaded, tokens, cfg)
    truth = step_effects(program, tokens, cfg, splits == SELECT, splits == TEST)
    about = {"text": program.text, "program": program.name, "basis": basis, "width": len(program.labels), "documents": len(tokens)}
    return about | compare_own_width(program, measured, truth, cfg.min_effect)


def _measure(loaded: LoadedProgram, tokens: np.ndarray, cfg: Config) -> tuple[InteractionSet, np.ndarray]:
    """``targets: all``, with the pairs that do not pass kept: they say what a miss lacked."""
    model = AnalysedModel.of(loaded.model, loaded.saes, cfg)
    with without_progress():
        store = collect_activations(model, loaded.saes, cfg, tokens=tokens)
        pairs = CandidateSet(all_pairs(loaded, cfg), store)
        return measure_interactions(model, loaded.saes, pairs, cfg, progress=False), np.asarray(store.splits)


def compare_own_width(
    program: CompiledProgram, measured: InteractionSet, truth: Mapping[Pair, TrueEffect], min_effect: float
) -> dict[str, Any]:
    """Counts of wiring, copies and discoveries, true and false; the size of the effects; and the misses, with what they lacked."""
    records: list[Any] = measured.frame.to_dict("records")
    rows = {pair_of(row): row for row in records}
    found = {pair for pair, row in rows.items() if row["significant"]}
    strong = {pair for pair, effect in truth.items() if _size(effect) >= STRONG * min_effect}
    copies = {pair for pair in strong if pair[0][1] == pair[1][1]}
    wiring = strong - copies
    nothing = TrueEffect(0.0, 0.0, 0.0)
    by = {effect: [pair for pair in found if effect in rows[pair]["significant_by"].split("+")] for effect in EFFECTS}
    false = {effect: [p for p in pairs if abs(getattr(truth.get(p, nothing), effect)) < min_effect] for effect, pairs in by.items()}
    left_out = measured.meta["left_out"]
    return {
        "tests": len(rows),
        "wiring": len(wiring),
        "wiring_found": len(wiring & found),
        "copies": len(copies),
        "copies_found": len(copies & found),
        "found": len(found),
        "false": sum(_size(truth.get(pair, nothing)) < min_effect for pair in found),
        "discoveries": {effect: [len(pairs), len(false[effect])] for effect, pairs in by.items()},
        "wrong_signs": sum(_wrong_sign(rows[pair], truth[pair]) for pair in wiring & found),
        "rank_correlation": _rank_correlation([(rows[p]["mean_strength"], truth[p].total) for p in sorted(wiring & set(rows))]),
        "misses": [_miss(program, pair, truth[pair], rows.get(pair), left_out) for pair in sorted(wiring - found)][:TOLD],
    }


def _size(effect: TrueEffect) -> float:
    return max(abs(getattr(effect, name)) for name in EFFECTS)


def _wrong_sign(row: Row, effect: TrueEffect) -> bool:
    name = max(EFFECTS, key=lambda n: abs(getattr(effect, n)))
    return bool(np.sign(row[EFFECTS[name]]) != np.sign(getattr(effect, name)))


def _rank_correlation(pairs: list[tuple[float, float]]) -> float | None:
    """Spearman; None where one side does not vary."""
    from scipy.stats import spearmanr

    if len(pairs) < 3 or any(len(set(side)) == 1 for side in zip(*pairs, strict=True)):
        return None
    return float(spearmanr(*zip(*pairs, strict=True)).statistic)


def _miss(program: CompiledProgram, pair: Pair, effect: TrueEffect, row: Row | None, left_out: Mapping[str, str]) -> dict[str, Any]:
    (site, i), (after, j) = pair
    told: dict[str, Any] = {"edge": f"{program.labels[i]}@{site} → {program.labels[j]}@{after}"}
    told |= {"total": effect.total, "later": effect.later}
    if row is None:
        return told | {"why": left_out.get(feature_id(site, i), "not measured")}
    return told | {"why": f"p = {row['p_value']:.2g}", "documents": int(row["n_documents"]), "se": float(row["se"])}
