"""Derivatives at one token, written out: what :func:`arrivals` computes, at a fraction of its time, and the same inside blocks.

At one position the keys and values of the prefix are fixed, so a block is linear in the tangent once its clean activations there are known:

1. The clean pass runs once over the tokens, however many directions each of them carries, and leaves what the derivative needs: the
   norms' scale and output, attention weights, the slope of the activation function.
2. A tangent then passes two norms, the fused projection, a product with the prefix's keys and one with its values, and the MLP: matrix
   products over all directions of all tokens, and element-wise steps between them.
3. Directions at tokens of one document share its keys and values: they are laid out in rows of :data:`_ROW` directions a document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import linear

from feature_graph.dictionaries import TensorName
from feature_graph.interventions.attention import KeysValues
from feature_graph.interventions.blocks import Heads, SliceBlock, SliceMlp, Tap, go_on
from feature_graph.interventions.norms import Norm
from feature_graph.interventions.slices import CleanRun, ModelSlices

#: Directions of a document that are multiplied with its keys and values together; the last row of a document is filled up.
_ROW = 32
#: Carries tangents [n, …], one per direction.
Push = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class DirectionTokens:
    """Tokens at which directions are put in.

    Attributes:
        documents: int64 [S], rows of the clean run.
        positions: int64 [S].
        owner: int64 [n], the token of each direction.
    """

    documents: Tensor
    positions: Tensor
    owner: Tensor

    @classmethod
    def distinct(cls, documents: Tensor, positions: Tensor) -> DirectionTokens:
        """One direction a (document, position) pair [n]; pairs that occur several times share their clean pass."""
        pairs, owner = torch.stack([documents, positions], dim=1).unique(dim=0, return_inverse=True)
        return cls(pairs[:, 0], pairs[:, 1], owner)


@torch.no_grad()
def carry_directions(
    slices: ModelSlices, clean: CleanRun, point: int, tokens: DirectionTokens, directions: Tensor, points: Sequence[int]
) -> Iterator[Tensor]:
    """Derivative of the residual stream at later points along directions at ``point``, at the same position, everything free.

    Args:
        slices: The model.
        clean: Clean run with the residual at ``point`` and the keys and values of the blocks up to the last of ``points``.
        point: Where the directions are put in.
        tokens: The token of each direction.
        directions: [n, d_model], residual units.
        points: Later points, ascending.

    Yields:
        For each point [n, d_model]: residual units there per unit of the direction.
    """
    x = clean.residuals[point][tokens.documents, tokens.positions]
    tangent, layout, at = directions.to(x.dtype), DirectionLayout.of(tokens, clean.tokens.shape[1]), point
    for stop in points:
        for index in range(at, stop):
            block = block_derivative(slices.block(index), x, clean.caches[index], layout)
            x, tangent = block.after, block.along(tangent)
        at = stop
        yield tangent


@dataclass(frozen=True)
class _Rows:
    """Items of a document side by side: ``slots`` [R, G] are items (item 0 fills up), ``places`` [n] where each item lies, flat."""

    documents: Tensor
    slots: Tensor
    places: Tensor

    @classmethod
    def of(cls, documents: Tensor) -> _Rows:
        order = documents.argsort(stable=True)
        found, counts = documents[order].unique_consecutive(return_counts=True)
        width = max(1, min(_ROW, int(counts.max()) if len(counts) else 1))
        rank = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts).repeat_interleave(counts)
        rows = -(-counts // width)
        first = (rows.cumsum(0) - rows).repeat_interleave(counts)
        places = torch.empty_like(order)
        places[order] = (first + rank // width) * width + rank % width
        slots = torch.zeros(int(rows.sum()) * width, dtype=torch.long, device=order.device)
        slots[places] = torch.arange(len(order), device=order.device)
        return cls(found.repeat_interleave(rows), slots.view(-1, width), places)

    def lay(self, x: Tensor) -> Tensor:
        """[n, kv, group, d] → [R, kv, G · group, d]."""
        return x[self.slots].transpose(1, 2).flatten(2, 3)

    def back(self, x: Tensor, group: int) -> Tensor:
        """The inverse of :meth:`lay`."""
        return x.unflatten(2, (-1, group)).transpose(1, 2).flatten(0, 1)[self.places]


@dataclass(frozen=True)
class DirectionLayout:
    """Where the tokens lie, and how tokens and directions are grouped by document."""

    tokens: DirectionTokens
    context: int
    of_tokens: _Rows
    of_directions: _Rows

    @classmethod
    def of(cls, tokens: DirectionTokens, context: int) -> DirectionLayout:
        """Group them, for contexts of so many tokens."""
        return cls(tokens, context, _Rows.of(tokens.documents), _Rows.of(tokens.documents[tokens.owner]))


@dataclass(frozen=True)
class BlockDerivative:
    """A block at the tokens of some directions.

    Attributes:
        after: The clean residual stream after the block, [S, d_model].
        parallel: Whether the MLP reads what attention reads.
        heads: From the stream before the block to what the heads gather.
        attn_out: From there to what attention adds.
        norm2: From the stream before the MLP to what the MLP reads, in one or more steps, each with the name of the tensor that it gives.
        mlp_out: From there to what the MLP adds; None without an MLP.
    """

    after: Tensor
    parallel: bool
    heads: Push
    attn_out: Push
    norm2: Sequence[tuple[TensorName, Push]] = ()
    mlp_out: Push | None = None

    def along(self, t: Tensor, tap: Tap | None = None) -> Tensor:
        """The derivative along tangents before the block [n, d_model]; ``tap`` as in :class:`SliceBlock`, of tangents."""
        at = tap or go_on
        t = at("resid_pre", t)
        moved = t + at("attn_out", self.attn_out(at("z", self.heads(t))))
        if self.mlp_out is None:
            return at("resid_post", moved)
        moved = moved if self.parallel else at("resid_mid", moved)
        read = at("mlp_stream", t if self.parallel else moved)
        for name, push in self.norm2:
            read = at(name, push(read))
        return at("resid_post", moved + at("mlp_out", self.mlp_out(read)))


def block_derivative(block: SliceBlock, x: Tensor, cache: KeysValues, layout: DirectionLayout, tap: Tap | None = None) -> BlockDerivative:
    """Run a block once at the tokens, and keep what its derivative there needs.

    Args:
        block: The block.
        x: Residual stream before it at the tokens, [S, d_model].
        cache: Its keys and values in the clean run.
        layout: The tokens and their directions.
        tap: As in :class:`SliceBlock`, of clean tensors [S, width].
    """
    owner, at = layout.tokens.owner, tap or go_on
    x = at("resid_pre", x)
    normed, push_norm1 = _norm(block.norm1, x, owner)
    gathered, push_attention = _attention(block, normed, cache, layout)
    attn_out, push_post1 = _norm(block.post1, linear(at("z", gathered), block.w_o.T, block.b_o), owner)
    after = x + at("attn_out", attn_out)

    def heads(t: Tensor) -> Tensor:
        return push_attention(push_norm1(t))

    def written(t: Tensor) -> Tensor:
        return push_post1(linear(t, block.w_o.T))

    if block.mlp is None:
        return BlockDerivative(at("resid_post", after), block.parallel, heads, written)
    after = after if block.parallel else at("resid_mid", after)
    read = at("mlp_stream", x if block.parallel else after)
    steps: list[tuple[TensorName, Push]] = []
    for name, norm in _norm_steps(block.norm2, tap):
        read, push = norm(read, owner)
        read = at(name, read)
        steps.append((name, push))
    hidden, push_mlp = _mlp(block.mlp, read, owner)
    mlp_out, push_post2 = _norm(block.post2, hidden, owner)
    return BlockDerivative(
        at("resid_post", after + at("mlp_out", mlp_out)), block.parallel, heads, written, steps, lambda t: push_post2(push_mlp(t))
    )


def _norm_steps(norm: Norm | None, tap: Tap | None) -> list[tuple[TensorName, Callable[[Tensor, Tensor], tuple[Tensor, Push]]]]:
    """The norm before an MLP; in two steps where what it gives before its gain is asked for."""
    if norm is None or tap is None or not tap.wants("mlp_normalized"):
        return [("mlp_in", partial(_norm, norm))]
    gain = 1.0 if norm.w is None else norm.w
    return [("mlp_normalized", partial(_norm, norm.without_gain())), ("mlp_in", lambda x, _: (norm.scaled(x), lambda t: t * gain))]


def _norm(norm: Norm | None, x: Tensor, owner: Tensor) -> tuple[Tensor, Push]:
    """A norm over the last axis, and its derivative: s (δ − x̂⟨x̂,δ⟩/D), centred first where the norm centres."""
    if norm is None:
        return x, lambda t: t
    centred = x - x.mean(-1, keepdim=True) if norm.centre else x
    scale = (centred.square().mean(-1, keepdim=True) + norm.eps).rsqrt()
    unit, gain = centred * scale, scale if norm.w is None else scale * norm.w

    def push(t: Tensor) -> Tensor:
        t = t - t.mean(-1, keepdim=True) if norm.centre else t
        here = unit[owner]
        return (t - here * (t * here).mean(-1, keepdim=True)) * gain[owner]

    return norm(x), push


def _mlp(mlp: SliceMlp, x: Tensor, owner: Tensor) -> tuple[Tensor, Push]:
    """A plain or gated MLP, and its derivative through the slope of its activation function."""
    into, out = mlp.w_in.T, mlp.w_out.T
    if mlp.w_gate is None:
        slope = _slope(mlp.act, linear(x, into, mlp.b_in))
        return mlp(x), lambda t: linear(linear(t, into) * slope[owner], out)
    gate = mlp.w_gate.T
    before = linear(x, gate, mlp.b_gate)
    opened, turned = mlp.act(before), _slope(mlp.act, before) * linear(x, into, mlp.b_up)

    def push(t: Tensor) -> Tensor:
        return linear(linear(t, gate) * turned[owner] + linear(t, into) * opened[owner], out)

    return mlp(x), push


def _slope(act: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Derivative of an element-wise function."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(act(x).sum(), x)[0]


def _attention(block: SliceBlock, x: Tensor, cache: KeysValues, layout: DirectionLayout) -> tuple[Tensor, Push]:
    """What the heads gather at the tokens [S, n_heads · d_head], and its derivative.

    With weights w over the prefix and the token itself, scores s, values v and z = Σ w v: dz = Σ w ds v − z Σ w ds + w_own dv_own.
    """
    owner, group = layout.tokens.owner, block.n_heads // block.n_kv
    heads, push_heads = _projection(block, x, layout)
    q, k, v = heads.q.unflatten(1, (block.n_kv, group)), heads.k[:, :, None], heads.v[:, :, None]
    length = int(layout.tokens.positions.max()) if len(owner) else 0

    def past(rows: _Rows) -> tuple[Tensor, Tensor]:
        return cache.k[rows.documents, :, :length], cache.v[rows.documents, :, :length]

    keys, values = past(layout.of_tokens)
    scores = layout.of_tokens.back(block.scores(layout.of_tokens.lay(q), keys), group)
    scores = torch.cat([scores.masked_fill(~_seen(block, layout, length), -torch.inf), block.scores(q, k)], dim=-1)
    weights = scores.softmax(-1)  # [S, kv, group, length + 1]
    bent = _bent(block, weights, scores)
    z = layout.of_tokens.back(layout.of_tokens.lay(weights[..., :length]) @ values, group) + weights[..., length:] * v

    def push(t: Tensor) -> Tensor:
        d, rows = push_heads(t), layout.of_directions
        dq, dk, dv = d.q.unflatten(1, (block.n_kv, group)), d.k[:, :, None], d.v[:, :, None]
        keys, values = past(rows)
        moved = rows.lay(bent[..., :length][owner]) * (rows.lay(dq) @ keys.transpose(-1, -2))  # w ds over the prefix
        own = bent[..., length:][owner] * ((dq * k[owner]).sum(-1, keepdim=True) + (q[owner] * dk).sum(-1, keepdim=True))
        shift = rows.back(moved.sum(-1, keepdim=True), group) + own
        dz = rows.back(moved @ values, group) + own * v[owner] + weights[..., length:][owner] * dv - shift * z[owner]
        return dz.flatten(1)

    return z.flatten(1), push


def _bent(block: SliceBlock, weights: Tensor, scores: Tensor) -> Tensor:
    """Weights times the slope of the (capped) scores by the product of query and key; 0 where a token does not look."""
    if block.soft_cap is None:
        return weights / block.scale
    slope = 1 - (scores / block.soft_cap).square()
    return torch.where(weights > 0, weights * slope, 0.0) / block.scale


def _seen(block: SliceBlock, layout: DirectionLayout, length: int) -> Tensor:
    """bool [S, 1, 1, length]: earlier positions that a token sees."""
    cached, at = torch.arange(length, device=layout.tokens.positions.device), layout.tokens.positions[:, None]
    seen = cached < at
    return (seen if block.window is None else seen & (at - cached < block.window))[:, None, None, :]


def _projection(block: SliceBlock, x: Tensor, layout: DirectionLayout) -> tuple[Heads, Callable[[Tensor], Heads]]:
    """Queries, keys and values at the tokens, and their derivative: linear but for norms of heads and clipping."""
    owner, positions = layout.tokens.owner, layout.tokens.positions
    sizes = [block.n_heads * block.d_head, block.n_kv * block.d_head, block.n_kv * block.d_head]
    flat = linear(x, block.w_qkv.T, block.b_qkv).split(sizes, dim=-1)
    bends = [_head_norm(block, norm, part, owner) for norm, part in zip((block.q_norm, block.k_norm, None), flat, strict=True)]

    def push(t: Tensor) -> Heads:
        moved = linear(t, block.w_qkv.T).split(sizes, dim=-1)
        q, k, v = (bend(part) for bend, part in zip(bends, moved, strict=True))
        if block.rotary is not None:
            q, k = (block.rotary(part, positions[owner], layout.context) for part in (q, k))
        return Heads(q, k, v)

    return block.project(x, positions, layout.context), push


def _head_norm(block: SliceBlock, norm: Norm | None, flat: Tensor, owner: Tensor) -> Push:
    """Derivative of the norm of each head, or of all heads together where its weights are that long, and of clipping."""
    whole = norm is None or norm.w is None or len(norm.w) == flat.shape[-1]
    shaped = flat if whole else flat.unflatten(-1, (-1, block.d_head))
    value, push = _norm(norm, shaped, owner)
    kept = None if block.clip is None else (value.abs() <= block.clip).flatten(1)[owner]

    def bend(t: Tensor) -> Tensor:
        t = push(t if whole else t.unflatten(-1, (-1, block.d_head))).flatten(1)
        return (t if kept is None else t * kept).unflatten(-1, (-1, block.d_head))

    return bend
