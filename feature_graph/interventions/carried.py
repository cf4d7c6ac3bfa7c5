"""What arrives of a write if nothing is computed between: the part of an effect that is copy.

What a source adds to the residual stream stays there. A target that reads the stream meets it as it is; one that reads the MLP's input
meets it through the norm before the MLP, which scales it and takes off what makes the stream longer; nothing is computed there, and it
counts as copy. What reads a component's output (MLP, attention, heads) meets nothing of it: there is only what the component computed.

A source on z adds what W_O and a norm after attention make of it. One on the MLP's input adds nothing: all that it does the MLP computes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from feature_graph.artifacts import Site
from feature_graph.interventions.clamp import Reading
from feature_graph.interventions.norms import Norm
from feature_graph.interventions.site_effects import clamped_at
from feature_graph.interventions.slices import CleanRun, ModelSlices
from feature_graph.interventions.taps import BlockTaps, Where

_STREAM = frozenset({"residual", "resid_mid"})
_BEFORE_MLP = frozenset({"mlp_in", "transcoder"})


def adds_at(source: Site) -> Where | None:
    """Where what the source adds to the stream is read, if that is another tensor than the one that it writes: for a source on z."""
    return (source.point, "attn_out") if source.kind == "hook_z" else None


@torch.no_grad()
def added_to_stream(slices: ModelSlices, clean: CleanRun, source: Site, documents: Tensor, positions: Tensor, change: Tensor) -> Tensor:
    """What a change of what the source writes adds to the residual stream at the same token, [S, d_model]; 0 for one on the MLP's input.

    Args:
        slices: The model.
        clean: Clean run with, for a source on z, the stream before and the keys and values of its block.
        source: Where is written.
        documents: int64 [S], rows of the clean run.
        positions: int64 [S].
        change: [S, d_out], in units of the tensor that the source writes.
    """
    if source.kind == "mlp_in":
        return torch.zeros(len(change), slices.d_model, dtype=change.dtype, device=change.device)
    where = adds_at(source)
    if where is None:
        return change

    def changed(x: Tensor) -> Tensor:
        return torch.cat([x[:, :1], x[:, 1:] + change.to(x.dtype)[:, None, None]], dim=1)

    taps = BlockTaps([where], {clamped_at(source): changed})
    x = clean.residuals[source.point][documents, positions][:, None, None].repeat(1, 2, 1, 1)
    slices.advance(x, source.point, source.point + 1, clean, documents, positions, taps)
    unchanged, now = taps.found[where][:, :, 0].unbind(1)
    return now - unchanged


def is_carried(source: Site, target: Site) -> bool:
    """Whether anything arrives without being computed."""
    return source.kind != "mlp_in" and target.kind in _STREAM | _BEFORE_MLP


def stream_at(target: Site) -> Where | None:
    """The stream that a target's norm takes; None for one that reads no normalised stream."""
    return (target.point, "mlp_stream") if target.kind in _BEFORE_MLP else None


def norm_of(slices: ModelSlices, target: Site) -> Norm | None:
    """The norm between the stream and what the target reads; None if it reads the stream itself."""
    norm = slices.block(target.point).norm2 if target.kind in _BEFORE_MLP and target.reads != "mlp_stream" else None
    return norm.without_gain() if norm is not None and target.reads == "mlp_normalized" else norm


def carried_clamps(reading: Reading, clean: Tensor, stream: Tensor | None, added: Tensor, norm: Norm | None) -> Tensor:
    """What arrives of a clamp, through the target's own non-linearity: [S, T], in target units for the whole clamp.

    Args:
        reading: The target site.
        clean: What it reads in the clean run, [S, d_in].
        stream: The stream before its norm there, [S, d_model]; None where it has none.
        added: What high and low add to the stream, [S, 2, d_model].
        norm: Between the stream and what is read.
    """
    codec, asked, dtype = reading.codec, reading.features, reading.codec.w_enc.dtype
    readers = codec.w_enc if asked is None else codec.w_enc.T[asked].T
    moved = carried_shift(stream, added, norm)
    f = codec.activate(codec.preactivation(clean.to(dtype), asked)[:, None] + moved.to(dtype) @ readers, asked)
    return f[:, 0] - f[:, 1]


def carried_shift(stream: Tensor | None, added: Tensor, norm: Norm | None) -> Tensor:
    """What arrives of a clamp at the tensor that a target reads, [S, 2, d_in]; arguments as in :func:`carried_clamps`."""
    return added if norm is None or stream is None else norm(stream[:, None] + added) - norm(stream[:, None])


def carried_tangents(stream: Tensor | None, added: Tensor, norm: Norm | None) -> Tensor:
    """The same of derivatives, before the reader: [n, d_in].

    Args:
        stream: The stream before the target's norm at the token of each direction, [n, d_model]; None where it has none.
        added: What each direction adds to the stream, [n, d_model].
        norm: Between the stream and what is read.
    """
    return added if norm is None or stream is None else norm.along(stream, added)


def nothing_of(reading: Reading, samples: int) -> Tensor:
    """Of a target that reads what a component computed, [S, T] zeros."""
    codec, asked = reading.codec, reading.features
    return torch.zeros(samples, codec.d_sae if asked is None else len(asked), dtype=codec.w_enc.dtype, device=codec.device)
