"""The loading code of the worked example, unchanged, on a folder in the hub's cache layout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import hublayout

pytestmark = [pytest.mark.slow, pytest.mark.model]

WORKED_EXAMPLE = """
import logging
import torch
from feature_graph.config import Config
from feature_graph.utils import setup_logging, set_seed

setup_logging("INFO")
set_seed(42)
device = "cuda" if torch.cuda.is_available() else "cpu"
cfg = Config(
    model_name="gpt2-small",
    sae_release="gpt2-small-res-jb",
    sae_id_template="blocks.{layer}.hook_resid_post",
    layers=[0, 1, 2],
    device=device,
    n_tokens=10_000,
    context_length=128,
    batch_size=8,
)
from feature_graph.loading import load_model_and_saes, get_sae_dict_size

model, saes = load_model_and_saes(cfg)
print(f"d_model: {model.cfg.d_model}")
print(f"n_layers: {model.cfg.n_layers}")
for layer in sorted(saes.keys()):
    print(f"  Layer {layer}: {get_sae_dict_size(saes[layer])} features")

from feature_graph.loading import describe_sites
from feature_graph.dictionaries.build import build_codecs
from feature_graph.loading.text import resolve_prepend_bos
for layer, site in describe_sites(model, saes, cfg).items():
    print(site.hook, site.point, site.release, site.sae_id, site.neuronpedia_id)
print("mean of W_out", float(model.blocks[0].mlp.W_out.mean(-1).abs().max()) < 1e-6)
print("bos", resolve_prepend_bos(saes, cfg))
build_codecs(model, saes, cfg)
"""


def run(code: str, env: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], env=hublayout.apply(env), cwd=cwd, capture_output=True, text=True, check=False)


def test_the_worked_example_loads_all_layers(hub_env: dict[str, str], tmp_path: Path) -> None:
    """Without HF_HUB_OFFLINE, and without network: what is cached is used, nothing else is asked for."""
    done = run(WORKED_EXAMPLE, {**hub_env, "HF_HUB_OFFLINE": "0", "HTTPS_PROXY": "http://127.0.0.1:9"}, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "d_model: 768",
        "n_layers: 12",
        "  Layer 0: 24576 features",
        "  Layer 1: 24576 features",
        "  Layer 2: 24576 features",
        "blocks.1.hook_resid_pre 1 gpt2-small-res-jb blocks.1.hook_resid_pre gpt2-small/1-res-jb",
        "blocks.2.hook_resid_pre 2 gpt2-small-res-jb blocks.2.hook_resid_pre gpt2-small/2-res-jb",
        "blocks.3.hook_resid_pre 3 gpt2-small-res-jb blocks.3.hook_resid_pre gpt2-small/3-res-jb",
        "mean of W_out True",
        "bos True",
    ]
    log = " ".join(done.stderr.split())
    assert log.count("blocks.0.hook_resid_post -> blocks.1.hook_resid_pre") == 1


def test_what_is_not_in_the_cache_is_refused_at_once(hub_env: dict[str, str], tmp_path: Path) -> None:
    done = run(WORKED_EXAMPLE.replace("[0, 1, 2]", "[0, 1, 8]"), hub_env, tmp_path)
    assert done.returncode == 1
    assert "blocks.9.hook_resid_pre is not in the cache" in done.stderr
    assert "HF_HUB_OFFLINE is set" in done.stderr


@pytest.mark.long  # in `make test` with a small model: tests/unit/test_activations.py
def test_dictionaries_at_the_wrong_hook_are_found_out(hub_env: dict[str, str], tmp_path: Path) -> None:
    """The first block's residual, read by a dictionary whose directions were measured on other text with BOS elsewhere."""
    folder = Path(hub_env["HF_HUB_CACHE"]) / "models--jbloom--GPT2-Small-SAEs-Reformatted" / "snapshots"
    release = next(folder.iterdir())
    local = tmp_path / "swapped"
    for layer in (0, 1):
        source = release / f"blocks.{layer + 1}.hook_resid_pre"
        target = local / f"blocks.{9 + layer}.hook_resid_post"
        target.mkdir(parents=True)
        (target / "sae_weights.safetensors").symlink_to(source / "sae_weights.safetensors")
        (target / "cfg.json").write_text(
            (source / "cfg.json").read_text().replace(f"blocks.{layer + 1}.hook_resid_pre", f"blocks.{9 + layer}.hook_resid_post")
        )
    code = WORKED_EXAMPLE.replace('"gpt2-small-res-jb"', repr(str(local))).replace("[0, 1, 2]", "[9, 10]")
    done = run(code, hub_env, tmp_path)
    assert done.returncode == 1
    assert "explain less than 0.5" in " ".join(done.stderr.split())
