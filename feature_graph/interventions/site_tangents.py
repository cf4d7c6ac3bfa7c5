"""Tensors of a clean run, and what a small change of one of them at one token does to others: the derivative, everything free.

Forward mode through the blocks themselves, at one position after the clean prefix: any tensor can be moved, any later one read, inside a
block or many blocks on. Moved at the stream before a component and read at what the component gives, it is the component's derivative.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.func import jvp

from feature_graph.artifacts import Site
from feature_graph.dictionaries import TensorName
from feature_graph.interventions.attention import KeysValues
from feature_graph.interventions.jacobian import load_forward_rules
from feature_graph.interventions.slices import CleanRun, ModelSlices, contexts_a_pass
from feature_graph.interventions.taps import BlockTaps, Where


@dataclass(frozen=True)
class TensorTangent:
    """One tensor at one token of each sample.

    Attributes:
        value: In the clean run [S, width].
        tangent: Its derivative along the sample's direction [S, width].
    """

    value: Tensor
    tangent: Tensor


def read_at(site: Site, n_blocks: int) -> Where:
    """Block and tensor that a site's dictionary reads."""
    return stream_point(site.point, n_blocks) if site.kind == "residual" else (site.point, cast("TensorName", site.reads))


def write_at(site: Site, n_blocks: int) -> Where:
    """Block and tensor that it writes."""
    return stream_point(site.point, n_blocks) if site.kind == "residual" else (site.point, cast("TensorName", site.writes))


def stream_before(site: Site) -> Where | None:
    """The residual stream that the site's component begins with; None for dictionaries of the stream itself and of the MLP's input."""
    if site.kind in ("transcoder", "mlp_out"):
        return site.point, "mlp_stream"
    return (site.point, "resid_pre") if site.kind in ("attn_out", "hook_z") else None


def stream_point(point: int, n_blocks: int) -> Where:
    """Block and tensor of the residual stream at a point; the last one is the last block's ``resid_post``."""
    return (point, "resid_pre") if point < n_blocks else (point - 1, "resid_post")


@torch.no_grad()
def tapped_run(slices: ModelSlices, tokens: Any, read: Iterable[Where], blocks: Iterable[int] = ()) -> tuple[CleanRun, dict[Where, Tensor]]:
    """Run whole contexts once.

    Args:
        slices: The model.
        tokens: int64 [n, context].
        read: Tensors to keep.
        blocks: Blocks whose keys and values, and the stream before them, the clean run is to hold.

    Returns:
        The clean run, and block and tensor → [n, context, width].
    """
    ids, wanted, kept = slices.tokens(tokens), set(read), sorted(set(blocks))
    seen: set[Where] = {*wanted, *((block, "resid_pre") for block in kept)}
    stop = max((block for block, _ in seen), default=-1) + 1
    parts: dict[Where, list[Tensor]] = {where: [] for where in seen}
    caches: dict[int, list[KeysValues]] = {block: [] for block in kept}
    for rows in slices.embed(ids).split(contexts_a_pass(ids)):
        taps = BlockTaps(seen)
        slices.run(rows, 0, stop, caches, taps)
        for where, x in taps.found.items():
            parts[where].append(x)
    found = {where: torch.cat(each) if len(each) > 1 else each[0] for where, each in parts.items()}
    streams = {block: found[block, "resid_pre"] for block in kept}
    return CleanRun(ids, streams, {block: KeysValues.joined(each) for block, each in caches.items()}), {at: found[at] for at in wanted}


@torch.no_grad()
def site_tangents(
    slices: ModelSlices,
    clean: CleanRun,
    documents: Tensor,
    positions: Tensor,
    at: Where,
    directions: Tensor,
    read: Sequence[Where],
) -> list[TensorTangent]:
    """Derivatives of tensors at the same token along one direction of another tensor for each sample.

    Args:
        slices: The model.
        clean: From :func:`tapped_run`, with the blocks from that of ``at`` to the last that has to be run.
        documents: int64 [S], rows of the clean run.
        positions: int64 [S].
        at: Block and tensor that is moved.
        directions: [S, width], in units of that tensor.
        read: Block and tensor of each that is read, none before ``at``.

    Returns:
        One entry per tensor read, per unit of the direction.
    """
    load_forward_rules()
    wanted: list[Where] = [(block - 1, "resid_post") if name == "resid_pre" and block > at[0] else (block, name) for block, name in read]
    first, last = at[0], max(block for block, _ in wanted) + 1
    start = clean.residuals[first][documents, positions][:, None, None, :]
    along = directions.to(start.dtype)[:, None, None, :]

    def moved(delta: Tensor) -> tuple[Tensor, ...]:
        taps = BlockTaps(wanted, {at: lambda x: x + delta})
        slices.advance(start, first, last, clean, documents, positions, taps)
        return tuple(taps.found[where][:, 0, 0] for where in wanted)

    found = jvp(moved, (torch.zeros_like(along),), (along,))
    return [TensorTangent(value, tangent) for value, tangent in zip(found[0], found[1], strict=True)]
