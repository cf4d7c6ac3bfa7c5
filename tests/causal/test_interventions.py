"""The fast path gives the numbers of the plain one, on every supported shape of model."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from feature_graph.interventions import (
    MEASURES,
    AnalysedModel,
    BlocksBetween,
    Clamps,
    CleanSweep,
    InterventionError,
    ModelSlices,
    Perturbation,
    Perturber,
    Reading,
    SamplePositions,
    SourceSamples,
    ablate,
    achieved_levels,
    clamp_effects,
    cosine_alignment,
    jacobian_effects,
    later_jacobian_alignment,
    next_token_loss,
    plain_effects,
    residual_gradients,
    source_jacobian_alignment,
    spill,
)
from feature_graph.interventions.reference import run_hooked
from tests.support.clamping import assert_same, clamps_of, path_of, setting, sizes
from tests.support.tiny_models import SHAPES, make_tiny, tiny_model

HORIZON = 3


@pytest.mark.parametrize("shape", SHAPES)
def test_slices_agree_with_the_model(shape: str) -> None:
    tiny = make_tiny(shape)
    slices = ModelSlices(tiny.model)
    assert slices.check(tiny.tokens) < 1e-5
    logits = slices.logits_from(0, slices.embed(tiny.tokens))
    torch.testing.assert_close(logits, tiny.model(tiny.tokens), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", ["standard", "jumprelu", "topk", "gated"])
@pytest.mark.parametrize("shape", ["gpt2", "pythia", "llama", "gemma2", "no_norm"])
def test_fast_path_equals_plain_path(shape: str, kind: str) -> None:
    tiny = make_tiny(shape, kind)
    slices, clean, counted = setting(tiny)
    clamps = clamps_of(tiny)
    fast = clamp_effects(slices, clean, 1, clamps, path_of(tiny), HORIZON, counted)
    plain = plain_effects(tiny.model, tiny.tokens, tiny.codecs[0].site, clamps, path_of(tiny), HORIZON, counted)
    for one, two, size in zip(fast, plain, sizes(tiny, clean), strict=True):
        assert_same(one, two, size)
    assert fast[1].total.abs().max() > 0.1
    assert (fast[1].total - fast[1].direct).abs().max() > 0.01


@pytest.mark.parametrize("shape", ["gpt2", "llama", "gemma2"])
def test_zero_delta_gives_exactly_zero(shape: str) -> None:
    tiny = make_tiny(shape)
    slices, clean, counted = setting(tiny)
    clamps = clamps_of(tiny, n=13)
    same = Clamps(clamps.documents, clamps.positions, clamps.directions, clamps.high, clamps.high)
    for effects in clamp_effects(slices, clean, 1, same, path_of(tiny), HORIZON, counted):
        for name in MEASURES:
            assert torch.count_nonzero(getattr(effects, name)) == 0, name


def test_a_batch_of_many_equals_one_at_a_time_in_any_order() -> None:
    tiny = make_tiny("llama")
    slices, clean, counted = setting(tiny)
    clamps = clamps_of(tiny, n=9)
    whole = clamp_effects(slices, clean, 1, clamps, path_of(tiny), HORIZON, counted)
    for order in (torch.arange(9).split(1), (torch.arange(8, -1, -1),)):
        parts = [clamp_effects(slices, clean, 1, _take(clamps, index), path_of(tiny), HORIZON, counted) for index in order]
        for site in range(2):
            for name in MEASURES:
                joined = torch.cat([getattr(p[site], name) for p in parts])
                torch.testing.assert_close(joined, getattr(whole[site], name)[torch.cat(tuple(order))], rtol=1e-4, atol=1e-4)


def _take(clamps: Clamps, index: torch.Tensor) -> Clamps:
    return Clamps(*(getattr(clamps, item.name)[index] for item in fields(Clamps)))


def test_only_asked_targets_are_read_and_the_rest_agrees() -> None:
    tiny = make_tiny("gpt2")
    slices, clean, counted = setting(tiny)
    few = torch.tensor([3, 17, 20])
    all_ = clamp_effects(slices, clean, 1, clamps_of(tiny), [Reading(tiny.codecs[1], None), Reading(tiny.codecs[3], None)], 2, counted)
    some = clamp_effects(slices, clean, 1, clamps_of(tiny), [Reading(tiny.codecs[1], few[:0]), Reading(tiny.codecs[3], few)], 2, counted)
    torch.testing.assert_close(some[1].direct, all_[1].direct[:, few], rtol=1e-4, atol=1e-4)
    assert some[0].total.shape == (7, 0)


@pytest.mark.parametrize("kind", ["standard", "jumprelu", "topk", "gated"])
@pytest.mark.parametrize("shape", ["gpt2", "pythia", "llama", "gemma2"])
def test_jacobian_equals_finite_difference_where_on_and_is_zero_where_off(shape: str, kind: str) -> None:
    torch.manual_seed(0)
    tiny = make_tiny(shape, kind, dtype=torch.float64)
    tiny.codecs = {layer: _double(codec) for layer, codec in tiny.codecs.items()}
    slices, clean, counted = setting(tiny)
    step = 1e-6
    clamps = clamps_of(tiny)
    small = Clamps(clamps.documents, clamps.positions, clamps.directions, torch.full((7,), step), torch.full((7,), -step))
    exact = jacobian_effects(slices, clean, 1, clamps, path_of(tiny), HORIZON, counted)
    finite = clamp_effects(slices, clean, 1, small, path_of(tiny), HORIZON, counted)
    for k, (one, two) in enumerate(zip(exact, finite, strict=True)):
        for name in ("total", "direct", "later", "preactivation", "copy"):
            torch.testing.assert_close(getattr(one, name), getattr(two, name) / (2 * step), rtol=1e-4, atol=1e-4, msg=f"{name} {k}")
    reading = path_of(tiny)[0]
    here = clean.residuals[2][clamps.documents, clamps.positions]
    off = ~tiny.codecs[1].gate(tiny.codecs[1].preactivation(here))
    assert off.any()
    assert (~off).any()
    assert reading.features is None
    assert torch.count_nonzero(exact[0].total[off]) == 0


def _double(codec: object) -> object:
    from dataclasses import replace

    names = ("w_enc", "b_enc", "w_dec", "b_dec", "threshold", "shipped_scale", "activity_threshold")
    return replace(codec, **{n: None if getattr(codec, n) is None else getattr(codec, n).double() for n in names})  # type: ignore[type-var]


def test_alignment_is_the_normalised_derivative_before_the_gate() -> None:
    tiny = make_tiny("llama")
    slices, clean, counted = setting(tiny)
    features = torch.tensor([4, 11])
    samples = SourceSamples(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 2]), torch.tensor([3, 5, 7]))
    found = source_jacobian_alignment(
        BlocksBetween(slices, clean, tiny.codecs[0], tiny.codecs[3]), features, samples, torch.arange(10), rows=2
    )
    zero = torch.zeros(3)
    clamps = Clamps(samples.documents, samples.positions, tiny.codecs[0].w_dec[features[samples.source]], zero, zero)
    slopes = jacobian_effects(slices, clean, 1, clamps, [*path_of(tiny)[:1], Reading(tiny.codecs[3], torch.arange(10))], 0, counted)[1]
    each = slopes.preactivation / tiny.codecs[3].w_enc[:, :10].norm(dim=0)
    torch.testing.assert_close(torch.tensor(found.signed[0]), each[:2].mean(0).double(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.tensor(found.absolute[0]), each[:2].abs().mean(0).double(), rtol=1e-4, atol=1e-5)
    assert found.n_samples.tolist() == [2, 1]
    cosine = cosine_alignment(tiny.codecs[0], tiny.codecs[3], features, torch.arange(10))
    assert cosine.shape == (2, 10)
    assert (abs(cosine) <= 1 + 1e-6).all()


def test_alignment_at_later_positions_is_what_a_push_at_the_source_brings_there() -> None:
    tiny = make_tiny("llama")
    slices, clean, counted = setting(tiny)
    counted = counted.clone()
    counted[0, 5] = False  # not a token that counts: nothing is read there
    features, context = torch.tensor([4, 11]), tiny.tokens.shape[1]
    samples = SourceSamples(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 2]), torch.tensor([3, context - 2, context - 1]))
    between = BlocksBetween(slices, clean, tiny.codecs[0], tiny.codecs[3])
    found = later_jacobian_alignment(between, features, samples, 3, counted, torch.arange(10), rows=2)
    w = tiny.codecs[3].w_enc[:, :10]
    seen: dict[int, list[torch.Tensor]] = {1: [], 2: [], 3: []}
    step = 1e-2
    for source, document, position in zip(samples.source[:2], samples.documents[:2], samples.positions[:2], strict=True):
        ends = []
        for sign in (1, -1):
            x = clean.residuals[1][document : document + 1].clone()
            x[0, position] += sign * step * tiny.codecs[0].w_dec[features[source]]
            ends.append(slices.run(x, 1, tiny.codecs[3].site.point)[0])
        slope = (ends[0] - ends[1]) / (2 * step) @ w / w.norm(dim=0)
        for distance in seen:
            at = int(position) + distance
            if at < context and counted[document, at]:
                seen[distance].append(slope[at].abs())
    expected = torch.stack([torch.stack(values).mean(0) for values in seen.values() if values]).amax(0)
    assert [len(values) for values in seen.values()] == [2, 0, 1]
    torch.testing.assert_close(torch.tensor(found[0]).float(), expected, rtol=1e-2, atol=1e-3)
    assert (found[1] == 0).all()  # its only sample is the last token


def test_alignment_of_a_source_without_samples_is_nan() -> None:
    tiny = make_tiny("gpt2")
    slices, clean, _ = setting(tiny)
    none = torch.zeros(0, dtype=torch.long)
    between = BlocksBetween(slices, clean, tiny.codecs[0], tiny.codecs[1])
    found = source_jacobian_alignment(between, torch.tensor([3]), SourceSamples(none, none, none))
    assert (found.signed != found.signed).all()


def test_the_sweep_gives_what_a_run_from_the_start_gives() -> None:
    tiny = make_tiny("pythia", n_docs=9)
    slices = ModelSlices(tiny.model)
    sweep = CleanSweep(slices, tiny.tokens)
    whole = slices.residuals(tiny.tokens, range(5), range(4))
    for first, last in ((0, 2), (1, 4), (2, 4)):
        run = sweep.window(first, last, range(first, last + 1))
        torch.testing.assert_close(run.residuals[last], whole.residuals[last])
        assert sorted(run.caches) == list(range(first, last))
        torch.testing.assert_close(run.caches[first].k, whole.caches[first].k)
    with pytest.raises(InterventionError, match="ascending order"):
        sweep.window(1, 4, [1])


def test_achieved_level_and_spill() -> None:
    tiny = make_tiny("gpt2")
    _, clean, _ = setting(tiny)
    codec, sources = tiny.codecs[0], torch.tensor([2, 2, 9])
    documents, positions = torch.tensor([0, 1, 2]), torch.tensor([4, 5, 6])
    clamps = Clamps(documents, positions, codec.w_dec[sources], torch.full((3,), 2.0), torch.zeros(3))
    levels = achieved_levels(codec, clean, clamps, sources)
    x = clean.residuals[1][documents, positions]
    expected = torch.stack([codec.encode(x + 2 * codec.w_dec[sources]), codec.encode(x)], 1)
    torch.testing.assert_close(levels, expected[torch.arange(3), :, sources], rtol=1e-4, atol=1e-5)
    change = codec.w_dec[9] @ codec.w_enc
    change[9] = 0
    torch.testing.assert_close(spill(codec, torch.tensor([9]))[0], change.norm())


def test_gradients_equal_autograd_through_hooks() -> None:
    tiny = make_tiny("llama")
    found = residual_gradients(tiny.model, tiny.tokens, [1, 3], next_token_loss(tiny.tokens))
    leaf = found.residuals[3].clone().requires_grad_()
    logits = tiny.model.run_with_hooks(tiny.tokens, fwd_hooks=[("blocks.2.hook_resid_post", lambda x, hook: leaf)])
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tiny.tokens[:, 1:].flatten(), reduction="sum")
    torch.testing.assert_close(found.gradients[3], torch.autograd.grad(loss, leaf)[0], rtol=1e-3, atol=1e-4)
    assert float(found.values.sum()) == pytest.approx(loss.item(), rel=1e-4)
    assert found.gradients[1].abs().sum() > 0
    last = torch.full((5,), 6)
    at_last = residual_gradients(tiny.model, tiny.tokens, [2], lambda logits: logits[:, 3], last)
    assert torch.count_nonzero(at_last.gradients[2][:, 7:]) == 0


def test_ablation_equals_hooks() -> None:
    tiny = make_tiny("gemma2", "topk")
    slices = ModelSlices(tiny.model)
    codec, features, mask = tiny.codecs[1], [2, 5, 8], torch.ones_like(tiny.tokens, dtype=torch.bool)
    mask[:, 0] = False

    def remove(x: torch.Tensor) -> torch.Tensor:
        return x - (codec.record(x)[..., features] @ codec.w_dec[features]) * mask[..., None]

    plain = tiny.model.run_with_hooks(tiny.tokens, fwd_hooks=[(codec.site.hook, lambda x, hook: remove(x))])
    torch.testing.assert_close(ablate(slices, tiny.codecs, tiny.tokens, {1: features}, mask=mask), plain, rtol=1e-4, atol=1e-3)
    read = torch.tensor([3, 4, 5, 6, 7])
    at = ablate(slices, tiny.codecs, tiny.tokens, {1: features}, positions=read, mask=mask)
    torch.testing.assert_close(at, plain[torch.arange(5), read], rtol=1e-4, atol=1e-3)


def test_steering_equals_hooks() -> None:
    tiny = make_tiny("gpt2")
    analysed = AnalysedModel(ModelSlices(tiny.model), tiny.codecs)
    positions = torch.tensor([2, 5, 8, 1, 3])
    samples = SamplePositions(np.arange(5), positions.numpy())
    perturber = Perturber(analysed, tiny.tokens, to_output=True)
    variants = [[], [Perturbation(0, tiny.codecs[0].w_dec[7], 1.5)]]
    clean, found = perturber.run(samples, variants, {1: [0, 4], 3: range(tiny.codecs[3].d_sae)}, horizon=2)

    def perturb(x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        x[torch.arange(5), positions] += 1.5 * tiny.codecs[0].w_dec[7]
        return x

    read, last = tiny.codecs[3].site.hook, f"blocks.{tiny.model.cfg.n_layers - 1}.hook_resid_post"
    plain = run_hooked(tiny.model, tiny.tokens, {tiny.codecs[0].site.hook: [perturb]}, [read, last])
    expected = tiny.codecs[3].encode(plain[read][torch.arange(5), positions])
    torch.testing.assert_close(found.activations[3], expected, rtol=1e-4, atol=1e-4)
    steps = positions[:, None] + torch.arange(3)
    torch.testing.assert_close(found.final, plain[last][torch.arange(5)[:, None], steps], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(clean.activations[1], perturber.clean_activations(1, [0, 4], samples), rtol=1e-5, atol=1e-5)
    assert found.activations[1].shape == (5, 2)
    assert found.amounts[0].tolist() == [1.5] * 5


def test_what_the_clean_run_does_not_hold_is_not_perturbed() -> None:
    tiny = make_tiny("gpt2")
    perturber = Perturber(AnalysedModel(ModelSlices(tiny.model), tiny.codecs), tiny.tokens, first=1)
    samples = SamplePositions(np.arange(2), np.array([2, 3]))
    with pytest.raises(InterventionError, match=r"perturbations of layers \[0\]; expected some, of layers \[1, "):
        perturber.run(samples, [[Perturbation(0, tiny.codecs[0].w_dec[7], 1.5)]], {})
    with pytest.raises(InterventionError, match="perturbations of none"):
        perturber.run(samples, [[]], {3: [0]})


def test_a_feature_with_a_floor_is_turned_off_and_not_further() -> None:
    tiny = make_tiny("gpt2")
    perturber = Perturber(AnalysedModel(ModelSlices(tiny.model), tiny.codecs), tiny.tokens)
    samples = SamplePositions(np.arange(5), np.array([2, 5, 7, 1, 3]))
    (run,) = perturber.run(samples, [[Perturbation(0, tiny.codecs[0].w_dec[7], -100.0, feature=7)]], {})
    torch.testing.assert_close(run.amounts[0], -perturber.clean_activations(0, [7], samples)[:, 0])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"positional_embedding_type": "alibi"}, "positional_embedding_type = 'alibi'"),
        ({"attention_dir": "bidirectional"}, "attention_dir"),
        ({"act_fn": "solu_ln"}, "act_fn = 'solu_ln'"),
        ({"num_experts": 2, "experts_per_token": 1}, "num_experts = 2"),
        ({"dtype": torch.float16}, "dtype=torch.float32"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(changes: dict[str, object], named: str) -> None:
    with pytest.raises(InterventionError, match=named):
        ModelSlices(tiny_model("gpt2", **changes))


def test_bad_requests_are_refused() -> None:
    slices = ModelSlices(tiny_model("gpt2"))
    with pytest.raises(InterventionError, match="at most 16"):
        slices.embed(torch.zeros(1, 17, dtype=torch.long))
    with pytest.raises(InterventionError, match="vocabulary has 50"):
        slices.embed(torch.full((1, 4), 50))
    with pytest.raises(InterventionError, match="points 0 to 4"):
        slices.residuals(torch.zeros(1, 4, dtype=torch.long), [5])
    with pytest.raises(InterventionError, match="HookedTransformer"):
        ModelSlices(torch.nn.Linear(2, 2))


def test_check_notices_a_hook_that_changes_the_model() -> None:
    tiny = make_tiny("gpt2")
    tiny.model.add_hook("blocks.2.hook_mlp_out", lambda x, hook: x * 1.01, is_permanent=True)
    with pytest.raises(InterventionError, match=r"disagree with model.run_with_cache at blocks\.3"):
        ModelSlices(tiny.model).check(tiny.tokens)


def test_a_hook_that_does_not_exist_is_an_error() -> None:
    tiny = make_tiny("gpt2")
    with pytest.raises(InterventionError, match="do not exist"):
        run_hooked(tiny.model, tiny.tokens, {}, ["blocks.9.hook_resid_post"])
