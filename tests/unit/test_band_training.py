"""Training the bundled band, on a random model of four blocks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from feature_graph.dictionaries import build_site_codecs
from scripts.band import publishing, recording, stages, texts, training
from scripts.band.arrivals import Arrivals, CleanText, EarlierDictionary
from scripts.band.directions import MlpDerivative, ResponseSamples, decoder_rows, through_norm
from scripts.band.linear import linear_map
from scripts.band.registers import documents
from scripts.band.responses import explained, explained_variance, response_figures
from scripts.band.settings import REGISTERS, BandSettings
from scripts.band.tables import tables
from scripts.train_bundled_saes import held_out
from tests.support.component_dictionaries import copying_sae
from tests.support.tiny_models import tiny_model

D = 32
SETTINGS = BandSettings(blocks=(1, 2), d_sae=96, k=8, samples=19_200, batch=128, responses=64, lr=5e-3)


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model("llama")


def rows(n: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 50, (n, 16)).astype(np.int32)


@pytest.fixture(scope="module")
def tokens(model: Any) -> dict[int, recording.MlpTokens]:
    return recording.read_mlps(model, rows(400), (1, 2))


def before() -> dict[str, Any]:
    """A dictionary of 64 features on the stream after block 0."""
    return {"L0": copying_sae(D, metadata={"hook_name": "blocks.0.hook_resid_post"})}


@pytest.fixture(scope="module")
def source(model: Any) -> EarlierDictionary:
    return EarlierDictionary("s", build_site_codecs(model, before(), rows(8))["L0"])


def clean(model: Any, some: Any) -> CleanText:
    return CleanText(model, some, [(1, "resid_pre")], (1, 2))


# --- derivatives


@torch.no_grad()
def test_a_direction_goes_through_the_norm_and_the_mlp_as_the_models_own_difference_says(model: Any, tokens: Any) -> None:
    block, at = 2, slice(0, 20)
    _, cache = model.run_with_cache(torch.as_tensor(rows(400)[:2].astype(np.int64)))
    stream = cache["blocks.2.hook_resid_mid"][:, 1:].flatten(0, 1)[at]
    directions = torch.nn.functional.normalize(torch.randn(20, D, generator=torch.Generator().manual_seed(1)))
    parts, step = model.blocks[block], 0.01

    def after(x: Tensor) -> Tensor:
        return parts.mlp(parts.ln2(x[:, None]))[:, 0]

    expected = (after(stream + step * directions) - after(stream - step * directions)) / (2 * step)
    mlp = MlpDerivative.of(model, block)
    some = tokens[block].take(torch.arange(20))
    found = ResponseSamples.of(mlp, some.x, some.s, 3 * directions)
    assert torch.allclose(found.dy, expected, rtol=5e-3, atol=5e-3 * float(expected.abs().max()))


def test_a_norm_that_centres_takes_the_mean_off() -> None:
    g = torch.Generator().manual_seed(0)
    x, d = torch.randn(5, 8, generator=g, dtype=torch.float64), torch.randn(5, 8, generator=g, dtype=torch.float64)

    def norm(v: Tensor) -> Tensor:
        v = v - v.mean(1, keepdim=True)
        return v * v.square().mean(1, keepdim=True).rsqrt()

    s = (x - x.mean(1, keepdim=True)).square().mean(1).rsqrt()
    expected = torch.func.jvp(norm, (x,), (d,))[1]
    assert torch.allclose(through_norm(norm(x), s, d, centred=True), expected, atol=1e-12)


def test_arrivals_are_what_the_whole_model_carries_to_later_mlps(model: Any, source: EarlierDictionary) -> None:
    text = clean(model, rows(6))
    found = text.arrivals(source, 30, seed=0)
    documents, positions, features = text.active(source, 30, seed=0)
    assert set(found) == {1, 2}
    assert torch.equal(features, found[2].features)
    for i in range(0, len(features), 7):
        row, at, direction = rows(6)[int(documents[i])], int(positions[i]), source.codec.w_dec[features[i]]
        above, below = (_stream(model, row, at, by * direction) for by in (0.005, -0.005))
        for block in (1, 2):
            norm = model.blocks[block].ln2
            change = (above[block] - below[block]) / 0.01
            scaled = [one[block] / (one[block].square().mean() + norm.eps).sqrt() for one in (above, below)]
            expected = (scaled[0] - scaled[1]) / 0.01 / change.norm()
            assert torch.allclose(found[block].dx[i], expected, rtol=0.02, atol=0.02 * float(expected.norm()))


def _stream(model: Any, row: Any, position: int, change: Tensor) -> dict[int, Tensor]:
    """Stream before each MLP at a position where something is added after block 0."""

    def add(x: Tensor, hook: Any) -> Tensor:
        x[0, position] += change
        return x

    with model.hooks([("blocks.0.hook_resid_post", add)]):
        _, cache = model.run_with_cache(torch.as_tensor(row[None].astype(np.int64)))
    return {block: cache[f"blocks.{block}.hook_resid_mid"][0, position] for block in (1, 2)}


def test_every_fifth_direction_is_held_out() -> None:
    decoder = torch.eye(10) * 3
    train, held = (decoder_rows([decoder], evaluation=evaluation) for evaluation in (False, True))
    assert torch.equal(held, torch.eye(10)[[0, 5]])
    assert torch.equal(train, torch.eye(10)[[1, 2, 3, 4, 6, 7, 8, 9]])
    one = Arrivals(torch.zeros(10, 4), torch.zeros(10, 4), torch.arange(10))
    assert one.part(evaluation=True).features.tolist() == [0, 5]
    assert len(Arrivals.joined([one, one]).part(evaluation=False).x) == 16


def test_the_linear_map_is_exact_where_outputs_and_derivatives_are_linear() -> None:
    g = torch.Generator().manual_seed(3)
    x, w, dx = torch.randn(200, 8, generator=g), torch.randn(8, 6, generator=g), torch.randn(100, 8, generator=g)
    samples = ResponseSamples(x[:100], dx, dx @ w)
    for inputs in (x, x[:0]):
        found, bias = linear_map(inputs, inputs @ w + 2.0 * bool(len(inputs)), [samples], ridge=1e-9)
        assert torch.allclose(found, w, atol=1e-4)
        assert torch.allclose(bias, torch.full((6,), 2.0 * bool(len(inputs))), atol=1e-4)


# --- recording


def test_a_recording_that_was_killed_goes_on_as_if_it_had_not(model: Any, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    recording.record(model, rows(80), (1, 2), whole)
    recording.record(model, rows(80)[:32], (1, 2), cut)
    recording._append(cut, 1, recording.read_mlps(model, rows(8, seed=9), (1,))[1], recording.read_state(cut)["tokens"])  # then killed
    recording.record(model, rows(80), (1, 2), cut)
    for name in ("x-1.f16", "y-1.f16", "s-1.f32", "x-2.f16", "y-2.f16", "s-2.f32"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes()
    again, exact = recording.recorded(whole, 2, D), recording.read_mlps(model, rows(80), (2,))[2]
    assert len(again) == 80 * 15
    assert explained(again.y.float(), exact.y) > 0.999


# --- training


@pytest.fixture(scope="module")
def trained(model: Any, tokens: Any, source: EarlierDictionary, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Trainings of block 2 with and without the response loss."""
    folder = tmp_path_factory.mktemp("band")
    arrived = clean(model, rows(64)).arrivals(source, 600, seed=0)[2]
    directions = training.Directions.of([source.codec.w_dec], [arrived], evaluation=False)
    found = {}
    for name, weight in (("responses", 1.0), ("outputs", 0.0), ("again", 1.0)):
        settings = replace(SETTINGS, response_weight=weight)
        trainer = training.BandTrainer(settings, 2, tokens[2], MlpDerivative.of(model, 2), directions)
        made = trainer.run()
        training.save_weights(folder / name / "2", made.in_units_of_the_model(trainer.scale))
        training.save_record(folder / name / "2", settings, {"seconds": 1.0})
        publishing.publish(replace(settings, blocks=(2,)), folder / name, folder / f"{name}-published")
        found[name] = folder / f"{name}-published"
    return found


def test_the_response_loss_explains_derivatives_that_outputs_alone_do_not(
    model: Any, source: EarlierDictionary, trained: dict[str, Path]
) -> None:
    some = rows(40, seed=5)
    arrived = clean(model, some).arrivals(source, 400, seed=3)[2]
    tokens = recording.read_mlps(model, some, (2,))[2]
    directions = training.Directions.of([source.codec.w_dec], [arrived], evaluation=True)
    samples = directions.draw(MlpDerivative.of(model, 2), tokens, 800, SETTINGS.shares, torch.Generator().manual_seed(0))
    codecs = {name: published_codec(model, folder) for name, folder in trained.items()}
    figures = {name: response_figures(codec, samples) for name, codec in codecs.items()}
    for kind in ("decoders", "arrivals", "random"):
        assert figures["responses"][kind].whole > figures["outputs"][kind].whole + 0.05
    for codec in codecs.values():
        assert explained_variance(codec.reconstruct(tokens.x), tokens.y) > 0.3
        assert 4 < float((codec.record(tokens.x) > 0).sum(1).float().mean()) < 16


def published_codec(model: Any, folder: Path) -> Any:
    return build_site_codecs(model, {"L2.tc": publishing.load_published(folder, 2)}, rows(40))["L2.tc"]


def test_the_same_seed_gives_the_same_weights(trained: dict[str, Path]) -> None:
    first, second = (publishing.load_published(trained[name], 2) for name in ("responses", "again"))
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name


def test_what_is_published_is_read_as_a_dictionary_of_its_site(model: Any, trained: dict[str, Path]) -> None:
    transcoder, codec = publishing.load_published(trained["responses"], 2), published_codec(model, trained["responses"])
    assert transcoder.cfg.architecture() == "jumprelu_skip_transcoder"
    assert (codec.site.reads, codec.site.writes) == ("mlp_normalized", "mlp_out")
    assert torch.allclose(codec.decoder_norm, torch.ones(96), atol=1e-3)
    x = recording.read_mlps(model, rows(4), (2,))[2].x
    assert torch.allclose(codec.reconstruct(x), transcoder(x), atol=1e-4)


def test_all_stages_one_after_the_other_and_again_after_a_kill(model: Any, tmp_path: Path) -> None:
    """Block 2 is trained on what block 1's transcoder sends; a second call trains only what is not done, with the same result."""
    texts.save_rows(tmp_path / "rows.npy", rows(200))
    settings = replace(SETTINGS, samples=6_400, arrival_rows=16)
    work = stages.Work(tmp_path, settings, (1, 2), "band", "band", lambda: model, before)
    stages.record(work)
    stages.train(work)
    assert (tmp_path / "arrivals-band-1-2.safetensors").exists()
    weights = tmp_path / "trained" / "band" / "2" / "weights.safetensors"
    first = weights.read_bytes()
    (tmp_path / "trained" / "band" / "2" / "record.json").unlink()
    stages.train(stages.Work(tmp_path, settings, (1, 2), "band", "band", lambda: model, before))
    assert weights.read_bytes() == first
    record = json.loads((tmp_path / "trained" / "band" / "2" / "record.json").read_text())
    assert set(record["responses"]) == {"decoders", "arrivals", "random"}
    stages.controls(work)
    linear = json.loads((tmp_path / "trained" / "band" / "2" / "controls.json").read_text())
    assert set(linear) == {"outputs", "derivatives", "both"}
    assert linear["derivatives"]["responses"]["random"] > linear["outputs"]["responses"]["random"]
    assert linear["outputs"]["explained_variance"] > linear["derivatives"]["explained_variance"]
    stages.publish(work)
    for k, name in enumerate([*REGISTERS, texts.SAMPLED]):
        texts.save_rows(tmp_path / f"heldout-{name}.npy", rows(24, seed=8 + k))
    stages.measure(work)
    path = work.published / "metrics.json"
    metrics = json.loads(path.read_text())
    assert list(metrics["texts"]) == list(metrics["shares"]) == [*REGISTERS, texts.SAMPLED]
    figures = metrics["texts"]["speeches"]["L2.tc"]
    assert figures["response_ev"]["arrivals"]["n"] > 100
    assert figures["response_ev_held_out"]["decoders"] == pytest.approx(figures["response_ev"]["decoders"]["value"], abs=0.2)
    assert figures["explained_variance"]["value"] > 0.3
    stated = publishing.load_published(work.published, 2).cfg.metadata
    assert stated.expected_l0 == pytest.approx(figures["l0"]["value"], abs=1e-4)
    assert stated.expected_explained_variance == pytest.approx(figures["explained_variance_typical"]["value"], abs=1e-4)
    said = tables(path).splitlines()
    assert said[0] == "speeches (384 tokens):"
    assert [line.split(" | ")[0] for line in said[2:6]] == ["| block", "|---" * 13 + "|", "| 1", "| 2"]
    assert f"{figures['explained_variance']['value']:.3f}" in said[5]
    before_it = path.stat().st_mtime_ns
    stages.measure(work)  # all texts are there
    assert path.stat().st_mtime_ns == before_it
    stages.publish(work)
    assert not path.exists()


# --- texts


def test_documentation_comes_from_installed_packages() -> None:
    found = documents("documentation")
    assert {title.split(":")[0] for title, _ in found} == {"python", "numpy", "scipy", "pandas", "networkx"}
    assert len({title for title, _ in found}) == len(found)


@pytest.mark.slow
def test_no_held_out_text_is_part_of_the_text_that_is_read() -> None:
    """A package may hold a text twice, in parts and as a whole."""
    for register in ("novel", "dictionary"):
        found = documents(register)
        held = [text for title, text in found if held_out(title, SETTINGS.text_seed)]
        read = "\n".join(text for title, text in found if not held_out(title, SETTINGS.text_seed))
        assert 0.02 < len(held) / len(found) < 0.2
        assert not [text for text in held if text[len(text) // 2 :][:300] in read]
