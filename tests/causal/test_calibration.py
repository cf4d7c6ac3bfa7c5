"""Calibration: the truth is independent, a wrong engine would be noticed, and the command can be resumed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from feature_graph.calibration.variants import judge, run_stages
from feature_graph.loading.planted import VARIANTS, planted_model, simulated_effects


def test_the_simulation_agrees_with_linear_algebra() -> None:
    planted = planted_model(3, n_docs=60, context=12)
    half = np.arange(60) < 30
    simulated = simulated_effects(planted, planted.config(), half, ~half)
    for pair, effect in planted.edges.items():
        assert vars(simulated[pair]) == pytest.approx(vars(effect), abs=1e-9)
    strange = {p for p, e in simulated.items() if max(map(abs, vars(e).values())) > 1e-9} - set(planted.edges) - set(planted.nonlinear)
    assert strange == set()


def test_a_wrong_sign_or_size_lowers_the_score() -> None:
    variant = VARIANTS["relu"]
    planted = variant.build(0)
    cfg = variant.config(planted)
    candidates, measured = run_stages(planted, cfg)
    good = judge(variant, planted, cfg, candidates, measured)
    assert (good["n_missed"], good["n_false"], good["n_signs"]) == (0, 0, good["n_planted"])
    wires = tuple(replace(w, slope=-w.slope) if w.read == "excite" else w for w in planted.wiring.wires)
    other = replace(planted, wiring=replace(planted.wiring, wires=wires))
    wrong = judge(variant, other, cfg, candidates, measured)
    assert wrong["n_signs"] == good["n_planted"] - 1
    assert max(wrong["errors"]["total"]) == pytest.approx(2)
