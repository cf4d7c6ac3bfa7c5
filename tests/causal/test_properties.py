"""What must hold of every intervention, whatever the model, the sample or the batch."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_graph.activations import collect_activations
from feature_graph.artifacts import CandidateSet
from feature_graph.dictionaries.tokens import residual_norms
from feature_graph.evaluation.calibration.pairs import all_pairs
from feature_graph.evaluation.planted import planted_model
from feature_graph.interactions import measure_interactions
from feature_graph.interventions import (
    MEASURES,
    Clamps,
    Effects,
    InterventionError,
    ModelSlices,
    Reading,
    clamp_effects,
    jacobian_effects,
)
from feature_graph.interventions.reference import run_hooked
from feature_graph.interventions.reverse import reverse_is_cheaper
from feature_graph.loading.errors import LoadingError
from tests.support.clamping import assert_same, clamps_of, in_double, path_of, setting, sizes
from tests.support.tiny_models import SHAPES, Tiny, make_tiny

CONTEXT, HORIZON = 12, 3
#: Activations of these models reach 70, and the clamps may be next to nothing: float32 rounds differences by some 1e-4.
ROUNDING = 3e-4
shapes = st.sampled_from(sorted(SHAPES))
kinds = st.sampled_from(["standard", "jumprelu", "topk"])


@cache
def tiny(shape: str, kind: str = "standard") -> Tiny:
    return make_tiny(shape, kind)


@st.composite
def clamps(draw: st.DrawFn, model: Tiny) -> Clamps:
    """Up to six samples of any sources of layer 0, at any place, between any levels."""
    n = draw(st.integers(1, 6))
    documents, positions, sources = (
        torch.tensor(draw(st.lists(st.integers(0, top), min_size=n, max_size=n))) for top in (len(model.tokens) - 1, CONTEXT - 1, 39)
    )
    levels = st.lists(st.floats(-3, 3, width=32), min_size=n, max_size=n)
    return Clamps(documents, positions, model.codecs[0].w_dec[sources], torch.tensor(draw(levels)), torch.tensor(draw(levels)))


@settings(max_examples=15)
@given(st.data(), shapes, kinds)
def test_equal_levels_give_exactly_zero(data: st.DataObject, shape: str, kind: str) -> None:
    model = tiny(shape, kind)
    slices, clean, counted = setting(model)
    some = data.draw(clamps(model))
    for effects in clamp_effects(slices, clean, 1, replace(some, low=some.high), path_of(model), HORIZON, counted):
        for name in MEASURES:
            assert torch.count_nonzero(getattr(effects, name)) == 0, name


@settings(max_examples=10)
@given(st.data(), shapes)
def test_swapping_the_levels_turns_every_effect_round(data: st.DataObject, shape: str) -> None:
    model = tiny(shape)
    slices, clean, counted = setting(model)
    some = data.draw(clamps(model))
    one = clamp_effects(slices, clean, 1, some, path_of(model), HORIZON, counted)
    two = clamp_effects(slices, clean, 1, replace(some, high=some.low, low=some.high), path_of(model), HORIZON, counted)
    for a, b in zip(one, two, strict=True):
        for name in MEASURES:
            torch.testing.assert_close(getattr(a, name), -getattr(b, name), rtol=1e-4, atol=ROUNDING)


@settings(max_examples=15)
@given(shapes, st.integers(0, 3), st.integers(1, 4), st.integers(0, CONTEXT - 1), st.integers(1, 4))
def test_new_positions_behind_a_cached_prefix_are_those_of_a_full_run(shape: str, start: int, length: int, position: int, new: int) -> None:
    model = tiny(shape)
    slices = ModelSlices(model.model)
    stop, new = min(start + length, 4), min(new, CONTEXT - position)
    clean = slices.residuals(model.tokens, [start, stop], range(start, stop))
    documents = torch.arange(len(model.tokens))
    push = torch.randn(len(model.tokens), new, 32, generator=torch.Generator().manual_seed(position))
    whole = clean.residuals[start].clone()
    whole[:, position : position + new] += push
    moved = slices.advance((clean.residuals[start][:, position : position + new] + push)[:, None], start, stop, clean, documents,
                           torch.full_like(documents, position))  # fmt: skip
    truth = slices.run(whole, start, stop)[:, position : position + new]
    torch.testing.assert_close(moved[:, 0], truth, rtol=1e-4, atol=1e-4)


@settings(max_examples=10)
@given(st.data(), shapes, st.integers(1, 4))
def test_padding_on_the_right_changes_nothing(data: st.DataObject, shape: str, padding: int) -> None:
    model = tiny(shape)
    slices, clean, counted = setting(model)
    some = data.draw(clamps(model))
    pad = torch.randint(0, 50, (len(model.tokens), padding), generator=torch.Generator().manual_seed(1))
    padded = slices.residuals(torch.cat([model.tokens, pad], dim=1), [1, 2, 4], range(1, 4))
    mask = torch.cat([counted, torch.zeros_like(pad, dtype=torch.bool)], dim=1)
    for run in (clamp_effects, jacobian_effects):
        short = run(slices, clean, 1, some, path_of(model), HORIZON, counted)
        long = run(slices, padded, 1, some, path_of(model), HORIZON, mask)
        for a, b, size in zip(short, long, sizes(model, clean), strict=True):
            assert_same(a, b, size, ROUNDING)


@settings(max_examples=10)
@given(st.data(), shapes)
def test_order_and_company_change_nothing(data: st.DataObject, shape: str) -> None:
    model = tiny(shape)
    slices, clean, counted = setting(model)
    some = data.draw(clamps(model))
    order = torch.tensor(data.draw(st.permutations(range(len(some.documents)))))
    shuffled = Clamps(*(getattr(some, item.name)[order] for item in fields(Clamps)))
    whole = clamp_effects(slices, clean, 1, some, path_of(model), HORIZON, counted)
    again = clamp_effects(slices, clean, 1, shuffled, path_of(model), HORIZON, counted)
    for k in range(len(order)):
        alone = Clamps(*(getattr(some, item.name)[k : k + 1] for item in fields(Clamps)))
        single = clamp_effects(slices, clean, 1, alone, path_of(model), HORIZON, counted)
        for site, size in enumerate(sizes(model, clean)):
            assert_same(_sample(single[site], 0), _sample(whole[site], k), size, ROUNDING)
    for site, size in enumerate(sizes(model, clean)):
        assert_same(again[site], Effects(*(getattr(whole[site], name)[order] for name in MEASURES)), size, ROUNDING)


def _sample(effects: Effects, k: int) -> Effects:
    return Effects(*(getattr(effects, name)[k : k + 1] for name in MEASURES))


@pytest.mark.parametrize("kind", ["standard", "jumprelu", "topk"])
@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_forward_and_reverse_derivatives_are_the_same(shape: str, kind: str) -> None:
    model = tiny(shape, kind)
    slices, clean, counted = setting(model, exact=True)
    some, codecs = clamps_of(model), {layer: in_double(codec) for layer, codec in model.codecs.items()}
    first, second = Reading(codecs[1], torch.arange(0, 40, 5)), Reading(codecs[3], torch.arange(1, 40, 8))
    for path in ([first, second], [first, Reading(codecs[3], torch.arange(0))]):
        forward, reverse = (jacobian_effects(slices, clean, 1, some, path, HORIZON, counted, mode=m) for m in ("forward", "reverse"))
        for a, b in zip(forward, reverse, strict=True):
            for name in MEASURES:
                one, two = getattr(a, name), getattr(b, name)
                assert one.shape == two.shape
                scale = float(one.abs().max()) if one.numel() else 1.0
                torch.testing.assert_close(one, two, rtol=0, atol=1e-10 * max(scale, 1e-3))
    assert forward[0].total.abs().max() > 0.1
    assert not reverse[0].total.requires_grad


def test_the_cheaper_mode_is_chosen() -> None:
    model = tiny("gpt2")
    one, path = clamps_of(model, n=64), [Reading(model.codecs[1], torch.tensor([3]))]
    shared = replace(one, documents=torch.zeros_like(one.documents), positions=torch.full_like(one.positions, 5))
    assert reverse_is_cheaper(shared, path, 0)
    assert not reverse_is_cheaper(shared, [Reading(model.codecs[1], None), Reading(model.codecs[3], None)], HORIZON)
    apart = replace(one, documents=torch.arange(64) % 5, positions=torch.arange(64) % CONTEXT)
    assert not reverse_is_cheaper(apart, path, 0)
    slices, clean, counted = setting(model)
    for some in (shared, apart):
        chosen = jacobian_effects(slices, clean, 1, some, path, 0, counted)[0]
        forward = jacobian_effects(slices, clean, 1, some, path, 0, counted, mode="forward")[0]
        torch.testing.assert_close(chosen.total, forward.total, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("seed", [1, 2])
def test_total_is_the_sum_over_all_direct_paths_of_a_linear_model(seed: int, tmp_path: Path) -> None:
    planted = planted_model(seed)
    cfg = planted.config(layer_window=3, n_placebo=0, position_horizon=0, n_intervention_samples=12)
    store = collect_activations(planted.model, planted.saes, cfg, tokens=planted.tokens, path=tmp_path / "a.h5")
    frame = measure_interactions(planted.model, planted.saes, CandidateSet(all_pairs(planted, cfg), store), cfg, progress=False).frame
    direct = {(s, t): x for s, t, x in frame[["src_id", "tgt_id", "direct_strength"]].itertuples(index=False) if abs(x) > 1e-4}
    out: dict[str, dict[str, float]] = {}
    for (s, t), x in direct.items():
        out.setdefault(s, {})[t] = x

    def paths(source: str, target: str) -> float:
        return sum(x * (1.0 if nxt == target else paths(nxt, target)) for nxt, x in out.get(source, {}).items())

    linear = [(f"L{s}_F{i}", f"L{t}_F{j}") for (s, i), (t, j) in planted.edges if t > s + 1]
    totals = frame.set_index(["src_id", "tgt_id"])["mean_strength"]
    compared = pd.DataFrame([(paths(*pair), totals[pair]) for pair in linear if pair in totals.index], columns=["paths", "total"])
    assert len(compared) >= 5
    assert (compared["total"].abs() > 0.1).sum() >= 5
    pd.testing.assert_series_equal(compared["paths"], compared["total"], rtol=1e-3, atol=1e-3, check_names=False)


def test_a_hook_that_exists_and_does_not_fire_is_an_error() -> None:
    """``hook_q_input`` is among a model's hooks, but fires only where it is asked for."""
    model = tiny("gpt2")
    assert "blocks.1.hook_q_input" in model.model.hook_dict
    with pytest.raises(InterventionError, match=r"\['blocks.1.hook_q_input'\] did not fire"):
        run_hooked(model.model, model.tokens, {"blocks.1.hook_q_input": [lambda x: x * 2]}, [])
    with pytest.raises(LoadingError, match=r"\['blocks.1.hook_q_input'\] did not fire"):
        residual_norms(model.model, ["blocks.1.hook_resid_pre", "blocks.1.hook_q_input"])
