"""SAELens dictionaries made by hand that reconstruct what they are put on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from sae_lens import (
    SAE,
    JumpReLUSAE,
    JumpReLUSAEConfig,
    JumpReLUSkipTranscoder,
    JumpReLUSkipTranscoderConfig,
    JumpReLUTranscoder,
    JumpReLUTranscoderConfig,
    SkipTranscoder,
    SkipTranscoderConfig,
    StandardSAE,
    StandardSAEConfig,
    TopKSAE,
    TopKSAEConfig,
    Transcoder,
    TranscoderConfig,
)
from sae_lens.saes.sae import SAEMetadata
from torch import Tensor

from feature_graph.dictionaries import read_tensors, tensor_hook

SAE_CLASSES: dict[str, Any] = {
    "standard": (StandardSAE, StandardSAEConfig),
    "jumprelu": (JumpReLUSAE, JumpReLUSAEConfig),
    "topk": (TopKSAE, TopKSAEConfig),
}
TRANSCODER_CLASSES: dict[str, Any] = {
    "transcoder": (Transcoder, TranscoderConfig),
    "skip_transcoder": (SkipTranscoder, SkipTranscoderConfig),
    "jumprelu_transcoder": (JumpReLUTranscoder, JumpReLUTranscoderConfig),
    "jumprelu_skip_transcoder": (JumpReLUSkipTranscoder, JumpReLUSkipTranscoderConfig),
}


def mirrored(width: int) -> Tensor:
    """[width, 2 × width]: each coordinate and its negative, so that ReLUs of both keep the vector."""
    return torch.cat([torch.eye(width), -torch.eye(width)], dim=1)


@torch.no_grad()
def copying_sae(width: int, kind: str = "standard", scale: float = 2.0, **more: Any) -> SAE[Any]:
    """An SAE that gives back what it takes, exactly; its decoder rows have the length ``scale``.

    Args:
        width: Length of its vectors.
        kind: SAELens' architecture.
        scale: Length of the decoder rows.
        more: Fields of its configuration and, by ``metadata``, records.
    """
    made, cfg = SAE_CLASSES[kind]
    extra = {"k": more.pop("k", 2 * width)} if kind == "topk" else {}
    metadata = SAEMetadata(**more.pop("metadata", {}))
    sae: SAE[Any] = made(cfg(d_in=width, d_sae=2 * width, metadata=metadata, **extra, **more))
    sae.W_enc.copy_(mirrored(width) / scale)
    sae.W_dec.copy_(mirrored(width).T * scale)
    sae.b_enc.zero_()
    sae.b_dec.zero_()
    if kind == "jumprelu":
        sae.threshold.zero_()
    return sae


@torch.no_grad()
def linear_transcoder(reads: Tensor, writes: Tensor, kind: str = "transcoder", skip: Tensor | None = None, **metadata: Any) -> Any:
    """A transcoder whose features are the coordinates and their negatives, decoded by the best affine map from ``reads`` to ``writes``.

    Args:
        reads: [n, d_in].
        writes: [n, d_out].
        kind: SAELens' architecture.
        skip: [d_out, d_in], the skip connection of a skip transcoder; the features make up for it.
        metadata: Records.
    """
    width = reads.shape[1]
    ones = torch.cat([reads, torch.ones(len(reads), 1)], dim=1)
    solved = torch.linalg.lstsq(ones.double(), writes.double(), rcond=1e-4, driver="gelsd").solution.float()
    matrix = solved[:-1] if skip is None else solved[:-1] - skip.T
    encoder, decoder = mirrored(width), torch.cat([matrix, -matrix])
    return transcoder_of(kind, encoder, torch.zeros(2 * width), decoder, solved[-1], skip, **metadata)


def skip_transcoders(model: Any, ids: Tensor, blocks: Iterable[int]) -> dict[str, Any]:
    """Name of the site → a :func:`linear_transcoder` of each block's MLP on a text, with a random skip connection."""
    made = {}
    for block in blocks:
        hooks = [tensor_hook(model, name, block) for name in ("mlp_in", "mlp_out")]
        reads, writes = (read_tensors(model, ids, [hook])[hook].flatten(0, 1) for hook in hooks)
        skip = 0.1 * torch.randn(writes.shape[1], reads.shape[1], generator=torch.Generator().manual_seed(block))
        made[f"L{block}.tc"] = linear_transcoder(reads, writes, "skip_transcoder", skip)
    return made


@torch.no_grad()
def transcoder_of(
    kind: str,
    w_enc: Tensor,
    b_enc: Tensor,
    w_dec: Tensor,
    b_dec: Tensor,
    skip: Tensor | None = None,
    **metadata: Any,
) -> Any:
    """A transcoder with these weights; thresholds are 0."""
    made, cfg = TRANSCODER_CLASSES[kind]
    sizes = {"d_in": w_enc.shape[0], "d_sae": w_enc.shape[1], "d_out": w_dec.shape[1]}
    transcoder = made(cfg(**sizes, apply_b_dec_to_input=False, metadata=SAEMetadata(**metadata)))
    for name, value in (("W_enc", w_enc), ("b_enc", b_enc), ("W_dec", w_dec), ("b_dec", b_dec)):
        getattr(transcoder, name).copy_(value)
    if skip is not None:
        transcoder.W_skip.copy_(skip)
    return transcoder


def mlp_as_transcoder(block: Any, kind: str = "transcoder", skip: Tensor | None = None, **metadata: Any) -> Any:
    """The MLP of a HookedTransformer's block with a ReLU: exactly a transcoder of its own input.

    Args:
        block: Of a HookedTransformer whose activation function is ReLU.
        kind: SAELens' architecture.
        skip: [d_model, d_model], the skip connection; pairs of features more take off what it adds.
        metadata: Records.
    """
    mlp = block.mlp
    w_enc, b_enc, w_dec = mlp.W_in, mlp.b_in, mlp.W_out
    if skip is not None:
        both = mirrored(len(skip))
        w_enc, b_enc = torch.cat([w_enc, both], dim=1), torch.cat([b_enc, torch.zeros(both.shape[1])])
        w_dec = torch.cat([w_dec, -(both.T @ skip.T)])
    return transcoder_of(kind, w_enc, b_enc, w_dec, mlp.b_out, skip, **metadata)
