"""The engine's own check: float32 is forgiven its rounding, a wrong function nothing; and it comes before anything is collected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers.pre_tokenizers import Whitespace
from transformer_lens import HookedTransformer, HookedTransformerConfig
from typer.testing import CliRunner

from feature_graph.activations import collect_activations
from feature_graph.config import Config
from feature_graph.interventions import InterventionError, ModelSlices
from feature_graph.interventions.check import in_float64
from feature_graph.loading.agreement import relative
from tests.architectures import write
from tests.support.tiny_models import make_tiny, tiny_saes
from tests.support.tiny_tokenizer import tokenizer

TOKENS = torch.randint(0, 50, (4, 16), generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def cancelling_program(size: float) -> HookedTransformer:
    """As compiled programs do: one block writes ``size`` times what is there, the next takes it away, in a rotated basis.

    What remains carries the rounding of what was taken away, so that two orders of summing differ by far more than 1e-5.
    """
    width, half = 32, 16
    cfg = HookedTransformerConfig(
        n_layers=3, d_model=width, n_ctx=16, d_head=8, n_heads=4, d_mlp=48, d_vocab=50, act_fn="relu", normalization_type=None,
        seed=0, device="cpu", default_prepend_bos=False,
    )  # fmt: skip
    model, generator = HookedTransformer(cfg), torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.zero_()
    turn = torch.linalg.qr(torch.randn(width, width, generator=generator))[0]
    model.W_E[:, :half] = torch.randn(50, half, generator=generator)
    model.W_E.copy_(model.W_E @ turn)
    for block, factor in ((0, size), (1, -size)):  # heads that look everywhere alike, and read what no block writes
        generator.manual_seed(2)
        read, written = torch.zeros(4, width, 8), torch.zeros(4, 8, width)
        read[:, :half] = torch.randn(4, half, 8, generator=generator)
        written[:, :, half:] = torch.randn(4, 8, half, generator=generator)
        model.blocks[block].attn.W_V.copy_(turn.T @ read)
        model.blocks[block].attn.W_O.copy_(factor * written @ turn)
    for parameter in (model.blocks[2].attn.W_Q, model.blocks[2].attn.W_V, model.blocks[2].attn.W_O, model.W_U):
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model.eval()


def test_float32_s_own_error_is_forgiven() -> None:
    slices = ModelSlices(cancelling_program(3.0))
    assert 1e-5 < slices.check(TOKENS) < 1e-3


@pytest.mark.parametrize(("size", "wrong"), [(3.0, 3e-3), (0.0, 3e-5)])
def test_a_wrong_function_is_not_forgiven_whatever_float32_rounds(size: float, wrong: float) -> None:
    model = cancelling_program(size)
    model.blocks[1].hook_resid_post.add_hook(lambda x, hook: x * (1 + wrong), is_permanent=True)
    with pytest.raises(InterventionError, match=r"disagree with model.run_with_cache at blocks.2.hook_resid_pre: relative error"):
        ModelSlices(model).check(TOKENS)


def test_more_noise_than_signal_is_refused() -> None:
    with pytest.raises(InterventionError, match="disagree"):
        ModelSlices(cancelling_program(1e5)).check(TOKENS)


@pytest.mark.parametrize("shape", ["gpt2", "pythia", "llama", "gemma2", "gptj", "no_norm"])
def test_the_float64_slices_are_the_model_in_float64(shape: str) -> None:
    tiny = make_tiny(shape)
    exact = in_float64(ModelSlices(tiny.model)).residuals(tiny.tokens, range(5))
    _, cache = tiny.model.double().run_with_cache(tiny.tokens)
    for point in range(4):
        truth = cache[f"blocks.{point}.hook_resid_pre"]
        assert exact.residuals[point].dtype == truth.dtype == torch.float64
        assert float((exact.residuals[point] - truth).norm() / truth.norm()) < 1e-6  # rotary tables and eps are rounded once


def run_folder(tmp_path: Path, name: str) -> Path:
    """A model that cannot be intervened on, dictionaries for it that explain everything, text, and a configuration."""
    write(name, tmp_path / "model")
    words = tokenizer()
    words.backend_tokenizer.pre_tokenizer = Whitespace()
    words.save_pretrained(tmp_path / "model")
    for layer, sae in tiny_saes([0, 1, 2], d_sae=64).items():
        with torch.no_grad():
            sae.W_enc.copy_(torch.cat([torch.eye(32), -torch.eye(32)], dim=1))
            sae.W_dec.copy_(sae.W_enc.T)
            sae.b_enc.zero_(), sae.b_dec.zero_()
        sae.save_model(tmp_path / "saes" / f"blocks.{layer}.hook_resid_post")
    text = [f"t{1 + i % 49}" for i in range(49 * 50)]
    (tmp_path / "text.jsonl").write_text("\n".join(json.dumps({"text": " ".join(text[i:] + text[:i])}) for i in range(12)))
    cfg = Config(
        model_name=str(tmp_path / "model"), sae_release=str(tmp_path / "saes"), dataset=str(tmp_path / "text.jsonl"), layers=[0, 1, 2],
        context_length=16, n_tokens=1600, position_horizon=2, prepend_bos=False, output_dir=str(tmp_path / "out"), behaviors=[],
    )  # fmt: skip
    cfg.save(tmp_path / "run.json")
    return tmp_path / "run.json"


@pytest.mark.parametrize(("name", "said"), [("bloom", "alibi"), ("falcon", "architecture FalconForCausalLM not supported")])
def test_a_run_that_could_not_go_on_is_refused_before_collecting(name: str, said: str, tmp_path: Path) -> None:
    from feature_graph.cli import app

    done = CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, ["run", str(run_folder(tmp_path, name))])
    assert done.exit_code == 1
    assert said in done.output + (done.stderr or "")
    assert "Traceback" not in done.output
    assert not list((tmp_path / "out").glob("*.h5"))
    assert not list((tmp_path / "out").rglob("*.npz"))


def test_half_precision_given_by_the_api_is_refused_before_collecting(tmp_path: Path) -> None:
    tiny: Any = make_tiny("gpt2")
    cfg = Config(layers=[0, 1, 3], context_length=12, position_horizon=2)
    with pytest.raises(InterventionError, match=r"dtype = torch.bfloat16 not supported .*; load it with dtype=torch.float32"):
        collect_activations(tiny.model.to(torch.bfloat16), tiny.saes, cfg, tiny.tokens, path=tmp_path / "a.h5")
    assert not list(tmp_path.iterdir())


def test_a_vector_that_is_nothing_but_rounding_is_measured_by_the_others() -> None:
    truth = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1e-14, 0.0]])
    rounded = truth + torch.tensor([[0.0, 0.0], [0.0, 0.0], [1e-15, 1e-15]])
    assert relative(rounded, truth) < 1e-11
    assert relative(truth * 1.01, truth) == pytest.approx(0.01)
    assert relative(truth + torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.01, 0.0]]), truth) > 1
