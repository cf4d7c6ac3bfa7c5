"""Trained transcoders in SAELens' layout (``jumprelu_skip_transcoder``), weights in float16; and read back by SAELens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from feature_graph.loading.bundled import MODEL_NAME
from feature_graph.utils import whole_file, write_json
from scripts.band.recording import hooks_of
from scripts.band.settings import BandSettings

if TYPE_CHECKING:
    from sae_lens import JumpReLUSkipTranscoder

TEXT = "builtin:sotu, Moby-Dick, documentation, glosses of WordNet, and text sampled from the model"


def folder_name(block: int) -> str:
    """Id of a block's transcoder."""
    return f"blocks.{block}.transcoder"


def transcoder_of(trained: Path, block: int, context: int) -> JumpReLUSkipTranscoder:
    """The transcoder of a trained folder as SAELens' class, float32."""
    from sae_lens import JumpReLUSkipTranscoder, JumpReLUSkipTranscoderConfig
    from sae_lens.saes.sae import SAEMetadata

    weights = load_file(trained / "weights.safetensors")
    reads, writes, _ = hooks_of(block)
    (d_in, d_sae), d_out = weights["W_enc"].shape, weights["W_dec"].shape[1]
    metadata = SAEMetadata(
        model_name=MODEL_NAME,
        hook_name=reads,
        hook_name_out=writes,
        context_size=context,
        prepend_bos=False,
        model_from_pretrained_kwargs={},
        exclude_special_tokens=True,
        exclude_first_position=True,
        dataset_path=TEXT,
    )
    made = JumpReLUSkipTranscoder(
        JumpReLUSkipTranscoderConfig(d_in=d_in, d_out=d_out, d_sae=d_sae, apply_b_dec_to_input=False, metadata=metadata)
    )
    with torch.no_grad():
        for name, tensor in weights.items():
            getattr(made, name).copy_(tensor)
    return made.eval()


def publish(settings: BandSettings, trained: Path, target: Path) -> None:
    """Write ``target/blocks.B.transcoder`` for every block of the settings."""
    for block in settings.blocks:
        folder = target / folder_name(block)
        transcoder_of(trained / str(block), block, settings.context).save_model(folder)
        file = folder / "sae_weights.safetensors"
        halves = {name: tensor.to(torch.float16).contiguous() for name, tensor in load_file(file).items()}
        with whole_file(file) as temporary:
            save_file(halves, temporary)
        record = json.loads((trained / str(block) / "record.json").read_text())
        cfg = json.loads((folder / "cfg.json").read_text())
        cfg["metadata"] |= {"training": record["settings"]}
        write_json(folder / "cfg.json", {**cfg, "dtype": "float32", "device": "cpu"})


def state_figures(target: Path, block: int, figures: Mapping[str, Any]) -> None:
    """Write what was measured on held-out text into a published transcoder, as other releases state their figures."""
    path = target / folder_name(block) / "cfg.json"
    cfg = json.loads(path.read_text())
    stated = {"expected_l0": figures["l0"], "expected_explained_variance": figures["explained_variance_typical"]}
    cfg["metadata"] |= {name: round(figure["value"], 4) for name, figure in stated.items()}
    write_json(path, cfg)


def load_published(folder: Path, block: int) -> Any:
    """A published transcoder, read by SAELens, float32."""
    from sae_lens import SAE

    return SAE.load_from_disk(folder / folder_name(block), device="cpu").eval().requires_grad_(False)
