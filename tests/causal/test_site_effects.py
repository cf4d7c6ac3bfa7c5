"""Clamps at components and their effects on components: what transformers' own model does when the tensor is changed."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from feature_graph.artifacts import can_drive, is_weight
from feature_graph.dictionaries import SiteCodec, read_tensors, tensor_hook
from feature_graph.interventions import (
    Clamps,
    InterventionError,
    ModelSlices,
    Reading,
    clamp_effects,
    clean_for,
    site_activations,
    site_effects,
)
from tests.support.component_models import TOKENS, as_hooked, changed_at, own_tensors, transformers_model
from tests.support.component_sites import MODELS, SOURCES, all_codecs

HORIZON = 3
COUNTED = torch.ones_like(TOKENS, dtype=torch.bool)
DOCUMENTS, POSITIONS, FEATURES = torch.tensor([0, 1, 0]), torch.tensor([4, 9, 22]), torch.tensor([1, 5, 17])


@pytest.fixture(scope="module")
def codecs_of() -> dict[str, dict[str, SiteCodec]]:
    return {}


def clamps_of(codec: SiteCodec) -> Clamps:
    return Clamps(DOCUMENTS, POSITIONS, codec.w_dec[FEATURES], torch.tensor([0.5, 1.0, 0.7]), torch.tensor([-0.5, 0.2, -1.0]))


def truth(name: str, codecs: dict[str, SiteCodec], source: str, targets: list[str], sample: int) -> dict[str, list[Tensor]]:
    """Tensors that the targets read, high and low, from transformers' model with the source's tensor changed: [1 + horizon, d_in]."""
    theirs, site, clamps = transformers_model(name), codecs[source].site, clamps_of(codecs[source])
    document, p = int(DOCUMENTS[sample]), int(POSITIONS[sample])
    found: dict[str, list[Tensor]] = {target: [] for target in targets}
    for level in range(2):
        block, tensor = (site.point - 1, "resid_post") if site.kind == "residual" else (site.point, site.writes)
        with changed_at(theirs, block, tensor, document, p, clamps.shift[sample, level]):
            seen = {layer: own_tensors(theirs, layer) for layer in (1, 2)}
        for target in targets:
            reads = codecs[target].site.reads or "resid_post"
            kept = seen[codecs[target].site.layer]["mlp_stream" if reads == "resid_mid" else reads]
            found[target].append(kept[document, p : p + HORIZON + 1])
    return found


@torch.no_grad()
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("form", "name"), MODELS)
def test_effects_are_those_of_the_changed_model(form: Any, name: str, source: str, codecs_of: Any) -> None:
    model, codecs = all_codecs(form, name, codecs_of)
    slices, site = ModelSlices(model), codecs[source].site
    targets = [target for target, codec in codecs.items() if can_drive(site.place, codec.site.place)]
    clean = clean_for(slices, TOKENS, site, [codecs[target].site for target in targets])
    readings = [Reading(codecs[target], None) for target in targets]
    found = site_effects(slices, clean, site, clamps_of(codecs[source]), readings, HORIZON, COUNTED)
    for sample in range(len(DOCUMENTS)):
        expected = truth(name, codecs, source, targets, sample)
        for target, effects in zip(targets, found, strict=True):
            codec, (high, low) = codecs[target], expected[target]
            acts = codec.encode(high) - codec.encode(low)
            scale = float((codec.encode(high)).abs().max())
            assert torch.allclose(effects.total[sample], acts[0], atol=2e-5 * scale), target
            assert torch.allclose(effects.later[sample], acts[1:].sum(0), atol=1e-4 * scale), target
            pre = codec.preactivation(high[0]) - codec.preactivation(low[0])
            assert torch.allclose(effects.preactivation[sample], pre, atol=2e-5 * scale), target
    moved = {target: float(effects.total.abs().max()) for target, effects in zip(targets, found, strict=True)}
    assert min(moved.values()) > 1e-3
    assert len(targets) >= 6


@torch.no_grad()
def test_the_middle_of_the_stream_is_changed_for_what_follows_and_carried_on(codecs_of: Any) -> None:
    """No module of transformers' model gives the stream there; TransformerLens' hook does."""
    model, codecs = all_codecs(as_hooked, "gpt2", codecs_of)
    slices, site, clamps = ModelSlices(model), codecs["L1.mid"].site, clamps_of(codecs["L1.mid"])
    targets = ["L1.mlpin", "L1.tc", "L1.mlp", "L1", "L2.z", "L2.mid", "L2"]
    clean = clean_for(slices, TOKENS, site, [codecs[target].site for target in targets])
    found = site_effects(slices, clean, site, clamps, [Reading(codecs[target], None) for target in targets], 0, COUNTED)
    reads: dict[str, Any] = {target: codecs[target].site.reads or "resid_post" for target in targets}
    hooks = {target: tensor_hook(model, tensor, codecs[target].site.layer) for target, tensor in reads.items()}
    for sample in range(len(DOCUMENTS)):
        document, p, acts = int(DOCUMENTS[sample]), int(POSITIONS[sample]), []
        for level in range(2):
            change = torch.zeros(*TOKENS.shape, slices.d_model)
            change[document, p] = clamps.shift[sample, level]
            with model.hooks(fwd_hooks=[("blocks.1.hook_resid_mid", lambda x, hook, change=change: x + change)]):
                read = read_tensors(model, TOKENS, hooks.values())
            acts.append({target: codecs[target].encode(read[hook][document, p]) for target, hook in hooks.items()})
        for target, effects in zip(targets, found, strict=True):
            expected = acts[0][target] - acts[1][target]
            assert torch.allclose(effects.total[sample], expected, atol=2e-5 * float(acts[0][target].abs().max())), target
    assert min(float(effects.total.abs().max()) for effects in found) > 1e-3


@torch.no_grad()
@pytest.mark.parametrize(("form", "name"), MODELS)
def test_what_a_block_adds_to_its_own_stream_is_one_weight(form: Any, name: str, codecs_of: Any) -> None:
    model, codecs = all_codecs(form, name, codecs_of)
    slices = ModelSlices(model)
    for source, target in product(("L1.mlp", "L1.tc"), ("L1",)):
        assert is_weight(codecs[source].site.place, codecs[target].site.place)
        clean = clean_for(slices, TOKENS, codecs[source].site, [codecs[target].site])
        clamps = clamps_of(codecs[source])
        (found,) = site_effects(slices, clean, codecs[source].site, clamps, [Reading(codecs[target], None)], 0, COUNTED)
        weight = codecs[source].w_dec[FEATURES] @ codecs[target].w_enc
        assert torch.allclose(found.preactivation, weight * (clamps.high - clamps.low)[:, None], atol=1e-4)


@torch.no_grad()
def test_between_residual_sites_the_numbers_are_those_of_the_clamp(codecs_of: Any) -> None:
    model, codecs = all_codecs(as_hooked, "gpt2", codecs_of)
    slices, clamps = ModelSlices(model), clamps_of(codecs["L1"])
    clean = slices.residuals(TOKENS, [2, 3], range(2, 3))
    (plain,) = clamp_effects(slices, clean, 2, clamps, [Reading(codecs["L2"], None)], HORIZON, COUNTED)
    (found,) = site_effects(slices, clean, codecs["L1"].site, clamps, [Reading(codecs["L2"], None)], HORIZON, COUNTED)
    for measure in ("total", "later", "preactivation", "on"):
        assert torch.equal(getattr(found, measure), getattr(plain, measure)), measure


@torch.no_grad()
@pytest.mark.parametrize("name", ["gpt2", "gpt_neox"])
def test_activations_of_the_clean_run_are_those_of_the_tensors(name: str, codecs_of: Any) -> None:
    model, codecs = all_codecs({other: form for form, other in MODELS}[name], name, codecs_of)
    slices = ModelSlices(model)
    for codec in codecs.values():
        reads = codec.site.reads or "resid_post"
        hook = tensor_hook(model, reads, codec.site.layer)  # type: ignore[arg-type]
        x = read_tensors(model, TOKENS, [hook])[hook][DOCUMENTS, POSITIONS]
        found = site_activations(slices, clean_for(slices, TOKENS, codec.site, []), codec, DOCUMENTS, POSITIONS)
        assert torch.allclose(found, codec.record(x), atol=1e-5 * float(x.abs().max())), codec.site.name


def test_what_lies_before_cannot_be_driven(codecs_of: Any) -> None:
    model, codecs = all_codecs(as_hooked, "gpt2", codecs_of)
    slices = ModelSlices(model)
    for source, target in (("L1.mlp", "L1.attn"), ("L1.tc", "L1.mlp"), ("L2", "L1"), ("L1.mlp", "L1.mlp")):
        clean = clean_for(slices, TOKENS, codecs[source].site, [])
        with pytest.raises(InterventionError, match=rf"^{source} → {target}: what the source writes does not lie before"):
            site_effects(slices, clean, codecs[source].site, clamps_of(codecs[source]), [Reading(codecs[target], None)], 0, COUNTED)
