"""Compiled programs: the engine's edges compared with the expressions that were compiled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch

from feature_graph.activations import collect_activations
from feature_graph.artifacts import SELECT, TEST
from feature_graph.candidates import identify_candidates
from feature_graph.coactivation import build_coactivation_atlas
from feature_graph.evaluation.planted import Pair, TrueEffect
from feature_graph.evaluation.planted.compiled import CONSTANT, CompiledProgram, load_program
from feature_graph.evaluation.planted.compiled_model import LoadedProgram, as_hooked
from feature_graph.evaluation.planted.compiled_truth import results, run_program, step_effects
from feature_graph.evaluation.planted.score import EFFECTS, pair_of
from feature_graph.interactions import measure_interactions
from feature_graph.interventions import AnalysedModel
from feature_graph.utils import without_progress

DOCUMENTS = 100
#: Largest difference between a result and what the interpreter gives.
CLOSE = 1e-3
MAX_ERROR = 0.01


def measure_program(name: str) -> dict[str, Any]:
    """Run the stages over a compiled program and compare: its results, its wiring, the size of every effect found."""
    program = load_program(name)
    loaded = as_hooked(program)
    tokens = program.random_tokens(DOCUMENTS, seed=0)
    cfg = loaded.config(int(tokens.size))
    with without_progress():
        model = AnalysedModel.of(loaded.model, loaded.saes, cfg)
        store = collect_activations(model, loaded.saes, cfg, tokens=tokens)
        atlas = build_coactivation_atlas(store, cfg)
        candidates = identify_candidates(atlas, loaded.saes, cfg, activation_store=store, model=model)
        frame = measure_interactions(model, loaded.saes, candidates, cfg, progress=False).frame
    truth = step_effects(program, tokens, cfg, np.asarray(store.splits == SELECT), np.asarray(store.splits == TEST))
    right, stream_error = _fidelity(program, loaded)
    return compare(program, frame, truth, cfg.min_effect) | {"results_right": right, "stream_error": stream_error}


def compare(program: CompiledProgram, frame: pd.DataFrame, truth: Mapping[Pair, TrueEffect], min_effect: float) -> dict[str, Any]:
    """Wiring found, missed and added, and the error of each effect found.

    An edge between variables is found if any of their directions have a significant edge one step apart. A variable's edge onto itself
    (it stays in the stream) and the compiler's constant are no wiring.
    """
    rows: list[Any] = frame[frame["significant"]].to_dict("records")
    found = {edge for row in rows if (edge := _edge(program, pair_of(row))) is not None}
    union = found | program.wiring
    errors, wrong, false = [], 0, 0
    for row in rows:
        effect = truth.get(pair_of(row), TrueEffect(0.0, 0.0, 0.0))
        for kind, value in ((k, getattr(effect, k)) for k in row["significant_by"].split("+")):
            if abs(value) < min_effect:
                false += 1
                continue
            errors.append(abs(row[EFFECTS[kind]] - value) / abs(value))
            wrong += bool(np.sign(row[EFFECTS[kind]]) != np.sign(value))
    agreement = len(found & program.wiring) / len(union) if union else 1.0
    largest = float(max(errors, default=0.0))
    return {
        "text": program.text,
        "wiring": [list(edge) for edge in sorted(program.wiring)],
        "missing": [list(edge) for edge in sorted(program.wiring - found)],
        "added": [list(edge) for edge in sorted(found - program.wiring)],
        "agreement": agreement,
        "tests": len(frame),
        "found": len(rows),
        "effects_compared": len(errors),
        "effects_false": false,
        "wrong_signs": wrong,
        "max_error": largest,
        "came_back": agreement == 1 and not wrong and not false and largest < MAX_ERROR,
    }


def _edge(program: CompiledProgram, pair: Pair) -> tuple[str, str] | None:
    source, target = (program.owner(index) for _, index in pair)
    return None if source in (target, CONSTANT) else (target, source)


def _fidelity(program: CompiledProgram, loaded: LoadedProgram) -> tuple[float, float]:
    """Share of the examples' results that the transformer gives, and its largest difference from Tracr's weights in their own basis."""
    tokens = program.tokens([text for text, _ in program.examples])
    streams = run_program(program, tokens)
    with torch.no_grad():
        _, cache = loaded.model.run_with_cache(torch.as_tensor(tokens))
    last: Any = loaded.saes[len(streams) - 1]
    read = (cache[last.cfg.metadata.hook_name].float() @ last.W_enc).detach().double().numpy()
    pairs = [
        (g, w) for (_, want), got in zip(program.examples, results(program, read), strict=True) for w, g in zip(want, got, strict=True)
    ]
    told = [_same(got, want) for got, want in pairs if want is not None]  # the interpreter says nothing where nothing is selected
    return float(np.mean(told)), float(np.abs(read - streams[-1]).max())


def _same(got: str | float, want: Any) -> bool:
    return got == str(want) if isinstance(got, str) else abs(got - float(want)) < CLOSE
