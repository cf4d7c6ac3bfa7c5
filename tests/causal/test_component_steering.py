"""Steering with dictionaries on components: what transformers' own model does when the tensor is changed, and what planted models do."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from torch import Tensor

from feature_graph.activations import collect_activations
from feature_graph.artifacts import CONFIRM, by_site, can_drive, feature_id, feature_key, id_site_of, key_of, layer_of
from feature_graph.dictionaries import SiteCodec, read_tensors, tensor_hook
from feature_graph.evaluation.forecasts import FORECASTERS, ComparisonOptions, compare_forecasts
from feature_graph.evaluation.forecasts.draw import TokenDraw
from feature_graph.evaluation.planted import PlantedComponents, component_effects, planted_model, with_components
from feature_graph.evaluation.planted.components import ComponentKind
from feature_graph.evaluation.planted.simulate import Simulation
from feature_graph.interventions import AnalysedModel, ModelSlices, Perturbation, PerturbedRun, Perturber, SamplePositions
from feature_graph.steering import predict_cascade
from tests.support.component_models import TOKENS, as_hooked, changed_at, own_tensors, transformers_model
from tests.support.component_sites import MODELS, SOURCES, all_codecs

HORIZON, FEATURE, DELTA = 3, 5, 0.8
SAMPLES = SamplePositions(np.array([0, 1, 0]), np.array([4, 9, 20]))


@pytest.fixture(scope="module")
def codecs_of() -> dict[str, dict[str, SiteCodec]]:
    return {}


def analysed_of(model: Any, codecs: dict[str, SiteCodec]) -> AnalysedModel:
    return AnalysedModel(ModelSlices(model), by_site(codecs))


def steered(model: Any, codecs: dict[str, SiteCodec], changes: dict[str, float]) -> tuple[AnalysedModel, PerturbedRun, PerturbedRun]:
    """One feature of some sites steered at once, everything read, and run to the output; the clean run beside it."""
    analysed = analysed_of(model, codecs)
    keys = {str(codec.site.name): key for key, codec in analysed.codecs.items()}
    variant = [Perturbation(keys[name], codecs[name].w_dec[FEATURE], delta) for name, delta in changes.items()]
    everything = {key: range(codec.d_sae) for key, codec in analysed.codecs.items()}
    clean, found = Perturber(analysed, TOKENS, to_output=True).run(SAMPLES, [[], variant], everything, HORIZON)
    return analysed, clean, found


def written(codec: SiteCodec) -> tuple[int, str]:
    """Block and tensor that a site writes, as transformers' modules give them."""
    return (codec.site.point - 1, "resid_post") if codec.site.kind == "residual" else (codec.site.point, codec.site.writes)


@torch.no_grad()
def truth(name: str, codecs: dict[str, SiteCodec], changes: dict[str, float], sample: int) -> tuple[dict[str, Tensor], Tensor]:
    """Activations of every site at the steered position, and logits from there on, by transformers' model with the tensors changed."""
    theirs, document, p = transformers_model(name), int(SAMPLES.documents[sample]), int(SAMPLES.positions[sample])
    with ExitStack() as stack:
        for site, delta in changes.items():
            stack.enter_context(changed_at(theirs, *written(codecs[site]), document, p, delta * codecs[site].w_dec[FEATURE]))
        seen = {layer: own_tensors(theirs, layer) for layer in (1, 2)}
        logits = theirs(TOKENS, use_cache=False).logits[document, p : p + HORIZON + 1]
    found = {}
    for site, codec in codecs.items():
        reads = codec.site.reads or "resid_post"
        tensor = seen[codec.site.layer]["mlp_stream" if reads == "resid_mid" else reads]
        found[site] = codec.encode(tensor[document, p])
    return found, logits


def check(model: Any, name: str, codecs: dict[str, SiteCodec], changes: dict[str, float]) -> None:
    analysed, clean, found = steered(model, codecs, changes)
    keys = {codec.site.name: key for key, codec in analysed.codecs.items()}
    first = min(analysed.in_order.index(keys[site]) for site in changes)
    read = [analysed.codecs[key].site.name for key in analysed.in_order[first:]]
    assert {analysed.codecs[key].site.name for key in found.activations} == set(read)
    logits = analysed.slices.logits(found.final)
    for sample in range(len(SAMPLES)):
        expected, outputs = truth(name, codecs, changes, sample)
        for site in read:
            scale = float(expected[site].abs().max())
            torch.testing.assert_close(found.activations[keys[site]][sample], expected[site], rtol=0, atol=1e-5 * scale, msg=site)
        torch.testing.assert_close(logits[sample], outputs, rtol=0, atol=1e-5 * float(outputs.abs().max()))
    assert [amount.tolist() for amount in found.amounts] == [[pytest.approx(delta)] * len(SAMPLES) for delta in changes.values()]
    for site in read:
        moved = float((found.activations[keys[site]] - clean.activations[keys[site]]).abs().max())
        driven = any(can_drive(codecs[one].site.place, codecs[site].site.place) for one in changes)
        same_tensor = codecs[site].site.place.reads in {codecs[one].site.place.writes for one in changes}
        assert (moved > 1e-3) == (driven or same_tensor), site


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("form", "name"), MODELS)
def test_steering_is_what_the_changed_model_does(form: Any, name: str, source: str, codecs_of: Any) -> None:
    model, codecs = all_codecs(form, name, codecs_of)
    check(model, name, codecs, {source: DELTA})


@pytest.mark.parametrize(("form", "name"), [MODELS[0], MODELS[2]])
def test_features_of_several_sites_are_steered_at_once(form: Any, name: str, codecs_of: Any) -> None:
    """Two of them write the same tensor."""
    model, codecs = all_codecs(form, name, codecs_of)
    check(model, name, codecs, {"L1.z": 0.5, "L1.tc": -0.7, "L1.mlp": 0.4, "L2.attn": 0.6})


@torch.no_grad()
def test_the_middle_of_the_stream_is_steered_for_what_follows(codecs_of: Any) -> None:
    """No module of transformers' model gives the stream there; TransformerLens' hook does."""
    model, codecs = all_codecs(as_hooked, "gpt2", codecs_of)
    _, _, found = steered(model, codecs, {"L1.mid": DELTA})
    targets = ["L1.mid", "L1.mlpin", "L1.tc", "L1.mlp", "L1", "L2.z", "L2.mid", "L2"]
    hooks = {name: tensor_hook(model, codecs[name].site.reads or "resid_post", codecs[name].site.layer) for name in targets}  # type: ignore[arg-type]
    for sample, (document, p) in enumerate(zip(SAMPLES.documents.tolist(), SAMPLES.positions.tolist(), strict=True)):
        change = torch.zeros(*TOKENS.shape, int(model.cfg.d_model))
        change[document, p] = DELTA * codecs["L1.mid"].w_dec[FEATURE]
        with model.hooks(fwd_hooks=[("blocks.1.hook_resid_mid", lambda x, hook, change=change: x + change)]):
            read = read_tensors(model, TOKENS, hooks.values())
        for name, hook in hooks.items():
            expected = codecs[name].encode(read[hook][document, p])
            key = key_of(codecs[name].site.layer, codecs[name].site.kind)
            torch.testing.assert_close(found.activations[key][sample], expected, rtol=0, atol=1e-5 * float(expected.abs().max()), msg=name)


@pytest.mark.parametrize("name", ["L1.tc", "L1.z", "L1.mlp", "L2.attn", "L1"])
def test_a_feature_with_a_floor_is_turned_off_by_what_it_reads(name: str, codecs_of: Any) -> None:
    model, codecs = all_codecs(as_hooked, "gpt2", codecs_of)
    analysed = analysed_of(model, codecs)
    key = key_of(codecs[name].site.layer, codecs[name].site.kind)
    perturber = Perturber(analysed, TOKENS)
    best = int(perturber.clean_activations(key, range(codecs[name].d_sae), SAMPLES).min(dim=0).values.argmax())
    (run,) = perturber.run(SAMPLES, [[Perturbation(key, codecs[name].w_dec[best], -100.0, feature=best)]], {key: [best]})
    before = perturber.clean_activations(key, [best], SAMPLES)
    assert float(before.min()) > 0
    torch.testing.assert_close(run.amounts[0], -before[:, 0], rtol=1e-4, atol=1e-5)
    after = before if name == "L1.tc" else torch.zeros_like(before)  # a transcoder does not read what it writes
    torch.testing.assert_close(run.activations[key], after, rtol=1e-4, atol=1e-4)


def planted_graph(planted: PlantedComponents) -> nx.DiGraph:
    """The graph of true effects, by the simulation."""
    half = np.arange(len(planted.tokens)) % 2 == 0
    G = nx.DiGraph()
    for (source, target), e in component_effects(planted, planted.config(activity_threshold=1e-3, layer_window=4), half, ~half).items():
        if max(map(abs, (e.total, e.direct, e.later))) > 1e-9:
            span = layer_of(target[0]) - layer_of(source[0])
            structural = span <= 1 or bool(e.direct)
            G.add_edge(feature_id(*source), feature_id(*target), strength=e.total, total=e.total, direct=e.direct, structural=structural)
    return G


def simulated(planted: PlantedComponents, rows: Any, at: Any, index: int, delta: float) -> dict[str, Any]:
    """Activations at one position of some documents with a feature of the first site steered: float64, from the plan alone."""
    simulation, first = Simulation(planted.base), min(planted.base.dictionaries)
    state, found = simulation.embedded(planted.tokens[rows]), {}
    for block in sorted(planted.base.dictionaries):
        mid = simulation.attend(state, np.concatenate([state[:, :1], state[:, :-1]], axis=1), block)
        added = simulation.mlp(mid, block)
        read = added @ simulation.gram if planted.kind == "mlp_out" else simulation.normalised(mid)
        for j, f in enumerate(planted.features.get(block, ())):
            along = sum(read[np.arange(len(rows)), at, simulation.number[name]] for name in f.reads)
            found[feature_id(planted.key(block), j)] = np.maximum(along - f.threshold, 0) * f.scale
        state = mid + added
        if block == first:
            state[np.arange(len(rows)), at, simulation.direction((first, index))] += delta
    return found


@pytest.mark.parametrize(("kind", "normalization"), [("transcoder", "RMS"), ("skip", "RMS"), ("mlp_out", "RMS"), ("mlp_out", None)])
def test_planted_cascades_come_true(kind: ComponentKind, normalization: Any) -> None:
    """Steering is what the plan says; and so is the forecast from paths of features, up to what a norm differs by between tokens."""
    planted = with_components(planted_model(3, n_docs=40, context=10, normalization=normalization), kind)
    analysed = AnalysedModel.of(planted.model, planted.saes, planted.config(), components=True)
    G, start, seen = planted_graph(planted), min(analysed.codecs), 0
    codec, tokens = analysed.codecs[start], torch.from_numpy(planted.tokens)
    parts = {n: range(analysed.codecs[n].d_sae) for n in analysed.later(start) if id_site_of(n)}
    for name, delta in product(("chain", "inhibit", "branch", "excite", "twin"), (0.3, -0.3)):
        _, index = planted.base.key(0, name)
        active = codec.encode(analysed.slices.residuals(tokens, [codec.site.point]).residuals[codec.site.point], [index])[..., 0]
        rows = torch.nonzero((active > 1.2).any(dim=1)).flatten()[:12].numpy()
        at = active[rows].argmax(dim=1).numpy()
        variants = [[], [Perturbation(start, codec.w_dec[index], delta)]]
        clean, moved = Perturber(analysed, planted.tokens[rows]).run(SamplePositions(np.arange(len(rows)), at), variants, parts)
        known, base = simulated(planted, rows, at, index, delta), simulated(planted, rows, at, index, 0.0)
        forecast = predict_cascade(G, feature_id(start, index), delta, n_hops=4, min_effect=0, by="paths").effects
        for n, j in [(n, j) for n, members in parts.items() for j in members]:
            target = feature_id(n, j)
            change = (moved.activations[n] - clean.activations[n])[:, j].numpy()
            np.testing.assert_allclose(change, known[target] - base[target], atol=1e-4, err_msg=target)
            if kind != "skip" and abs(change.mean()) > 0.1:
                assert forecast[target] == pytest.approx(change.mean(), rel=0.4 if normalization else 1e-3), target
                seen += 1
    assert seen >= 14 or kind == "skip"


def test_forecasts_are_compared_between_transcoders(tmp_path: Path) -> None:
    """Paths over features carry what was planted; the truth is what perturbing the model gives."""
    planted = with_components(planted_model(3, n_docs=120, normalization="RMS"), "transcoder")
    cfg = planted.config(n_tokens=120 * 24, response_samples=20, response_documents=3)
    store = collect_activations(planted.model, planted.saes, cfg, planted.tokens, path=tmp_path / "activations.h5")
    model = AnalysedModel.of(planted.model, planted.saes, cfg, components=True)
    options = ComparisonOptions(n_sources=30, multiple=0.3, min_documents=3, rare_targets=5, jacobian_tokens=16)
    pairs = compare_forecasts(model, planted.saes, store, cfg, None, options).pairs
    names = [*FORECASTERS, *(f"{name} computed" for name in FORECASTERS)]
    assert np.isfinite(pairs[names].to_numpy(dtype=float)).all()
    assert set(pairs["crossed"]) == {1, 2, 3}
    strong = pairs[(pairs["measured"].abs() > 0.2) & (pairs["on"] > 0.9)]
    assert len(strong) >= 10
    for name in ("response", "edge", "paths"):
        np.testing.assert_allclose(strong[name], strong["measured"], rtol=0.35, err_msg=name)
    far = strong[strong["crossed"] > 1]
    assert (far["virtual weight"].abs() < 0.1 * far["measured"].abs()).any()  # through the MLP between, and nothing of it in the stream
    one = pairs[(pairs["crossed"] == 1) & (pairs["source"].str.startswith("L1.tc")) & (pairs["target"].str.startswith("L2.tc"))]
    np.testing.assert_allclose(one["paths"], one["virtual weight"])
    name = pairs["source"].iloc[0]
    layer, index = feature_key(name, model.codecs)
    (samples,) = TokenDraw(store, cfg, CONFIRM, options.most_documents).of_layer(layer, np.array([index]), options.n_tokens)
    delta = options.multiple * float(store.mean_activations[layer][index])
    rows, documents = np.unique(samples.documents, return_inverse=True)
    mine = pairs[pairs["source"] == name]
    targets = [feature_key(target, model.codecs) for target in mine["target"]]
    read = {n: sorted(j for m, j in targets if m == n) for n, _ in targets}
    variants = [[], [Perturbation(layer, model.codecs[layer].w_dec[index], delta)]]
    where = SamplePositions(documents.astype(np.int64), samples.positions)
    clean, moved = Perturber(model, store.tokens[rows]).run(where, variants, read)
    for row, (n, j) in zip(mine.itertuples(), targets, strict=True):
        change = (moved.activations[n] - clean.activations[n])[:, read[n].index(j)].double().numpy() / delta
        expected = np.mean([change[documents == d].mean() for d in range(len(rows))])
        assert row.measured == pytest.approx(expected, abs=1e-4)
