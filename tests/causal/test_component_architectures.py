"""Runs with dictionaries on components on other architectures: parallel blocks, norms after attention, bridges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from feature_graph.activations import collect_activations
from feature_graph.artifacts import key_of
from feature_graph.candidates import identify_candidates
from feature_graph.candidates.attribution.gradients import site_gradients
from feature_graph.coactivation import build_coactivation_atlas
from feature_graph.config import Config
from feature_graph.dictionaries import TensorName, read_tensors, tensor_hook, width_of
from feature_graph.interactions import measure_interactions
from feature_graph.interventions import AnalysedModel, Clamps, MeasurementContext, ModelSlices, Reading, clean_for, site_effects
from feature_graph.responses import measure_responses, plan_responses
from tests.architectures import VOCABULARY
from tests.support.component_dictionaries import copying_sae, linear_transcoder
from tests.support.component_models import TOKENS, added_to, as_bridge, as_hooked, transformers_model
from tests.support.component_sites import MODELS, all_codecs

CONTEXT = 16
TEXT = torch.randint(3, VOCABULARY, (30, CONTEXT), generator=torch.Generator().manual_seed(5))
KINDS: dict[str, tuple[Any, TensorName]] = {
    "L0": ("residual", "resid_post"),
    "L1.z": ("hook_z", "z"),
    "L1.attn": ("attn_out", "attn_out"),
    "L1.mlpin": ("mlp_in", "mlp_in"),
    "L2.mlp": ("mlp_out", "mlp_out"),
    "L2": ("residual", "resid_post"),
}


@pytest.mark.parametrize(
    ("form", "name"), [(as_bridge, "gpt_neox"), (as_hooked, "gemma2"), (as_bridge, "llama head_dim"), (as_bridge, "olmo2 head_dim")]
)
def test_a_run_on_any_architecture(form: Any, name: str, tmp_path: Path) -> None:
    model = form(name)
    saes: dict[str, Any] = {site: copying_sae(width_of(model, reads), scale=1.0) for site, (_, reads) in KINDS.items()}
    hooks = [tensor_hook(model, "mlp_in", 1), tensor_hook(model, "mlp_out", 1)]
    found = read_tensors(model, TEXT[:20], hooks)
    saes["L1.tc"] = linear_transcoder(*(found[hook].flatten(0, 1) for hook in hooks))
    cfg = Config(
        model_name="tiny",
        sites=[{"layer": int(site[1]), "kind": kind} for site, (kind, _) in KINDS.items()] + [{"layer": 1, "kind": "transcoder"}],
        context_length=CONTEXT,
        n_tokens=TEXT.numel(),
        outlier_norm=None,
        top_k_features=2,
        min_coactivation=1,
        rescue_fraction=0.0,
        n_intervention_samples=3,
        min_documents=2,
        specificity_directions=2,
        specificity_samples=2,
        position_horizon=1,
        response_samples=2,
        response_documents=2,
    )
    store = collect_activations(model, saes, cfg, TEXT, path=tmp_path / "activations.h5")
    chosen = identify_candidates(build_coactivation_atlas(store, cfg), saes, cfg, activation_store=store, model=model)
    frame = measure_interactions(model, saes, chosen, cfg, progress=False).frame
    parallel = name == "gpt_neox"
    into_the_mlp = frame["src_id"].str.match(r"L1\.(?:z|attn)_F") & frame["tgt_id"].str.match(r"L1\.(?:tc|mlpin)_F")
    assert into_the_mlp.any() != parallel
    np.testing.assert_allclose(frame.loc[into_the_mlp, "computed_strength"], 0, atol=1e-5)
    through_the_mlp = frame["src_id"].str.match(r"L1\.mlpin_F")
    assert through_the_mlp.any()
    assert (frame.loc[through_the_mlp, "copy_strength"] == 0).all()
    assert np.isfinite(frame[["mean_strength", "direct_strength", "copy_strength", "specific_strength"]]).all().all()
    _responses_are_slopes(AnalysedModel.of(model, saes, cfg, components=True), saes, store, cfg, tmp_path)


def _responses_are_slopes(model: AnalysedModel, saes: dict[str, Any], store: Any, cfg: Config, folder: Path) -> None:
    """Of the copying SAEs' features of one source, by small clamps through the engine that transformers' own model was compared with."""
    chosen = {key: [0] for key in model.codecs}
    responses = measure_responses(model, saes, store, cfg, folder / "responses.h5", sources=chosen, progress=False)
    plan = plan_responses(MeasurementContext.open(model, store, cfg), chosen)
    source, target = key_of(1, "hook_z"), model.codecs[key_of(2, "mlp_out")]
    one = plan.samples[source].part(0, 1)
    site = model.codecs[source].site
    clean = clean_for(model.slices, torch.as_tensor(store.tokens), site, [target.site])
    documents, positions = torch.as_tensor(one.documents), torch.as_tensor(one.positions)
    step = torch.full((len(documents),), 0.02)
    clamps = Clamps(documents, positions, model.codecs[source].w_dec[one.index[0]].expand(len(documents), -1), step, -step)
    [moved] = site_effects(model.slices, clean, site, clamps, [Reading(target, None)], 0, torch.ones(*store.tokens.shape, dtype=torch.bool))
    slopes = (moved.preactivation / 0.04).double().numpy()
    _, of = np.unique(one.documents, return_inverse=True)
    expected = np.mean([slopes[of == k].mean(axis=0) for k in range(of.max() + 1)], axis=0)
    found = responses.means(source, key_of(2, "mlp_out"))[0] @ target.w_enc.numpy()
    np.testing.assert_allclose(found, expected, atol=5e-3)


@pytest.mark.parametrize(("form", "name"), MODELS)
def test_importance_is_by_the_gradient_of_what_is_written_alone(form: Any, name: str) -> None:
    """Also where the MLP reads the very stream that goes past it (OLMo 2): transformers' model, torch's autograd."""
    model, codecs = all_codecs(form, name, {})
    names = ("L1.z", "L1.attn", "L1.mlpin", "L1.tc")
    counted = torch.ones_like(TOKENS, dtype=torch.bool)
    found = site_gradients(ModelSlices(model), {site: codecs[site].site for site in names}, TOKENS, counted)  # type: ignore[misc]
    theirs = transformers_model(name)
    for site in names:
        push = torch.zeros(*TOKENS.shape, codecs[site].w_dec.shape[1], requires_grad=True)
        with added_to(theirs, 1, codecs[site].site.writes, push):
            logits = theirs(TOKENS, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten(), reduction="sum")
        (expected,) = torch.autograd.grad(loss, push)
        torch.testing.assert_close(found.gradients[site], expected, rtol=0, atol=2e-5 * float(expected.abs().max()))  # type: ignore[index]
