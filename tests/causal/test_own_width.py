"""Compiled programs in their own width: every wire is found in either basis, the truth is the weights' own, and misses are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from feature_graph.activations import collect_activations
from feature_graph.artifacts import InteractionSet
from feature_graph.evaluation.calibration.own_width import compare_own_width, measure_own_width
from feature_graph.evaluation.calibration.own_width_report import own_width_aims, pool_own_width
from feature_graph.evaluation.calibration.pairs import all_pairs
from feature_graph.evaluation.planted import TrueEffect
from feature_graph.evaluation.planted.compiled import LIBRARY, PROGRAMS, CompiledProgram, load_program
from feature_graph.evaluation.planted.compiled_inputs import ENOUGH, MOST, SEARCHED, inputs
from feature_graph.evaluation.planted.compiled_model import as_hooked
from feature_graph.evaluation.planted.compiled_truth import run_program, step_effects
from feature_graph.interactions import measure_exhaustive
from feature_graph.utils import without_progress


@pytest.mark.parametrize(("name", "basis"), [("shift_by", "original"), ("shift_by", "rotated"), ("repeats", "original")])
def test_wiring_comes_back_in_the_programs_own_width(name: str, basis: Any) -> None:
    found = measure_own_width(name, basis, documents=300)
    assert found["width"] == len(load_program(name).labels)
    assert (found["wiring_found"], found["copies_found"]) == (found["wiring"], found["copies"])
    assert found["wiring"] >= 14
    assert (found["false"], found["wrong_signs"], found["misses"]) == (0, 0, [])
    assert found["rank_correlation"] > 0.95


@pytest.mark.parametrize(("name", "n"), [("sort_freq", 300), ("count_less_freq", 200), ("sort_unique", 100)])
def test_rare_directions_get_inputs_in_which_they_are_active(name: str, n: int) -> None:
    """All are random inputs; none is added that holds nothing rare; what stays rare was hardly to be had."""
    program = load_program(name)
    text, more = inputs(program, n), program.random_tokens(40_000, seed=9)
    assert np.array_equal(text[:n], program.random_tokens(n, seed=0))
    assert n <= len(text) <= MOST * n
    assert np.array_equal(text, inputs(program, n))
    first, count, often = (active_in(program, some) for some in (text[:n], text, more))
    expected = often * SEARCHED * n / len(more)  # in all inputs that were searched
    assert (count[first > 0] >= np.minimum(ENOUGH, expected[first > 0] / 2)).all()
    rare = (first < ENOUGH) & (expected > 3 * ENOUGH)
    assert rare.any() == (len(text) > n)
    assert (count[rare] >= ENOUGH).all()


def active_in(program: CompiledProgram, tokens: np.ndarray) -> np.ndarray:
    """In how many of the inputs each direction is active at each site but the last."""
    return np.concatenate([(stream > 1e-4).any(1).sum(0) for stream in run_program(program, tokens)[:-1]])


def test_a_rare_source_is_found_for_the_inputs_that_were_added() -> None:
    program = load_program("count_less_freq")
    found = measure_own_width(program, "original", documents=400)
    assert found["documents"] > 400
    assert (found["wiring_found"], found["false"]) == (found["wiring"], 0)


@pytest.mark.long
@pytest.mark.parametrize("basis", ["original", "rotated"])
@pytest.mark.parametrize("name", [*PROGRAMS, *LIBRARY])
def test_every_program_comes_back(name: str, basis: Any) -> None:
    aims = own_width_aims(pool_own_width({name: measure_own_width(name, basis)}), 0.05)
    assert [aim.name for aim in aims if not aim.met] == []


def test_calibration_measures_what_a_run_with_the_shipped_configuration_does(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    program = load_program("shift_by")
    loaded = as_hooked(program, None, basis="original")
    tokens = inputs(program, 300)
    cfg = loaded.own_width_config(int(tokens.size))
    with without_progress():
        store = collect_activations(loaded.model, loaded.saes, cfg, tokens=tokens)
        done = measure_exhaustive(
            loaded.model, loaded.saes, store, cfg, tmp_path / "edges.parquet", parts_dir=tmp_path / "parts", progress=False
        )
        wide = measure_exhaustive(
            *(
                loaded.model,
                loaded.saes,
                store,
                cfg.model_copy(update={"layer_window": 2, "sample_doublings": 1}),
                tmp_path / "wide.parquet",
            ),
            parts_dir=tmp_path / "wide",
            progress=False,
        )
    assert sum("sample_doublings is not used with targets = all" in record.message for record in caplog.records) == 1
    assert cfg.targets == "all"
    assert wide.n_edges > done.n_edges  # with direct effects, in a model of float64
    assert (done.n_edges, done.n_tests) == tuple(measure_own_width("shift_by", "original", documents=300)[k] for k in ("found", "tests"))


@pytest.mark.parametrize("basis", ["original", "rotated"])
def test_the_model_computes_what_the_weights_do(basis: Any) -> None:
    program = load_program("sort_unique")
    loaded, tokens = as_hooked(program, None, basis=basis), program.random_tokens(20, seed=1)
    assert all(len(set(row)) == len(row) for row in tokens.tolist())
    _, cache = loaded.model.run_with_cache(torch.as_tensor(tokens))
    for site, stream in enumerate(run_program(program, tokens)[1:], start=1):
        sae: Any = loaded.saes[site]
        assert sae.cfg.d_in == len(program.labels) == loaded.model.cfg.d_model
        read = cache[sae.cfg.metadata.hook_name].float() @ sae.W_enc
        np.testing.assert_allclose(read.detach().numpy(), stream, atol=1e-4)


def test_true_effects_are_averaged_within_documents_first() -> None:
    """By hand: the mean of the documents' means, from clamps of one direction in the weights' own basis."""
    program = load_program("frac_prevs")
    tokens = program.random_tokens(12, seed=2)
    cfg = as_hooked(program, None, basis="original").own_width_config(int(tokens.size))
    select = np.arange(12) < 6
    truth = step_effects(program, tokens, cfg, select, ~select)
    assert max(abs(effect.copy) for (s, t), effect in truth.items() if s[1] != t[1]) == 0
    label = {name: i for i, name in enumerate(program.labels)}
    source, target = (1, label["tokens:x"]), (2, label[next(n for n in program.labels if n.startswith("map"))])
    assert truth[source, target].total == pytest.approx(1)
    assert truth[source, (2, source[1])].copy == pytest.approx(1)
    assert truth[source, (2, source[1])].computed == pytest.approx(0)
    # Attention averages over the tokens so far, so what one x gives depends on its position, and documents hold several.
    source, target = (2, target[1]), (3, label[next(n for n in program.labels if n.startswith("frac"))])
    places = [np.flatnonzero(row == program.vocabulary["x"]) for row in tokens[~select]]
    expected = [np.mean(1 / where) for where in places if len(where)]  # position 0 is BOS, which is not averaged over
    assert truth[source, target].total == pytest.approx(np.mean(expected), rel=1e-3)


def row(source: tuple[int, int], target: tuple[int, int], **values: Any) -> dict[str, Any]:
    known = {"mean_strength": 1.0, "direct_strength": 1.0, "later_strength": 0.0, "computed_strength": 1.0, "p_value": 0.2}
    ids = {"src_id": "L{}_F{}".format(*source), "tgt_id": "L{}_F{}".format(*target)}
    return known | ids | {"se": 0.5, "n_documents": 9, "significant": True, "significant_by": "total"} | values


def test_misses_and_false_edges_are_counted() -> None:
    program = load_program("shift_by")
    true = {((0, 0), (1, 1)): 0.5, ((0, 0), (1, 2)): 0.4, ((0, 3), (1, 2)): 0.3, ((0, 0), (1, 0)): 1.0, ((0, 4), (1, 4)): 0.005}
    truth = {pair: TrueEffect(value, value, 0.0) for pair, value in true.items()}
    rows = [
        row((0, 0), (1, 1), mean_strength=-0.5),
        row((0, 0), (1, 2), significant=False, significant_by=""),
        row((0, 0), (1, 0)),
        row((0, 4), (1, 4)),
        row((0, 4), (1, 5)),
    ]
    measured = InteractionSet(pd.DataFrame(rows), {"left_out": {"L0_F3": "never active"}})
    found = compare_own_width(program, measured, truth, 0.01)
    assert (found["wiring"], found["wiring_found"], found["copies"], found["copies_found"]) == (3, 1, 1, 1)
    assert (found["found"], found["false"], found["discoveries"]["total"], found["wrong_signs"]) == (4, 2, [4, 2], 1)
    assert [(miss["why"], miss["total"]) for miss in found["misses"]] == [("p = 0.2", 0.4), ("never active", 0.3)]
    aims = {aim.name: aim for aim in own_width_aims(pool_own_width({"one": found}), 0.05)}
    assert not any(aim.met for aim in aims.values())
    assert aims["own width: recall, all programs"].value == pytest.approx(1 / 3)
    good = replace(measured, frame=measured.frame[:1].assign(mean_strength=0.5))
    assert compare_own_width(program, good, truth, 0.01)["wrong_signs"] == 0


def test_what_a_width_must_hold() -> None:
    program = load_program("shift_by")
    with pytest.raises(ValueError, match="the original basis of shift_by has 19 directions"):
        as_hooked(program, 64, basis="original")
    with pytest.raises(ValueError, match="got 4"):
        as_hooked(program, 4)
    loaded = as_hooked(program, None)
    assert len(all_pairs(loaded, loaded.config(100))) == 2 * 19 * 19
