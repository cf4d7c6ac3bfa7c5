"""Two ways for queries to meet keys: whole contexts, and a few new positions after a cached prefix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from feature_graph.interventions.blocks import SliceBlock


@dataclass(frozen=True)
class KeysValues:
    """Keys and values of one block in the clean run.

    Attributes:
        k: [n_docs, n_kv_heads, context, d_head], rotated where the model rotates.
        v: [n_docs, n_kv_heads, context, d_head].
    """

    k: Tensor
    v: Tensor

    @classmethod
    def joined(cls, parts: Sequence[KeysValues]) -> KeysValues:
        """Those of several groups of documents, one after another."""
        return parts[0] if len(parts) == 1 else cls(torch.cat([part.k for part in parts]), torch.cat([part.v for part in parts]))


def attend_contexts(block: SliceBlock, x: Tensor) -> tuple[Tensor, KeysValues]:
    """Causal attention over whole contexts.

    Args:
        block: The block.
        x: Normalised input [n_docs, context, d_model].

    Returns:
        What the heads gather [n_docs, context, n_heads * d_head], and the keys and values.
    """
    n, length = x.shape[:2]
    positions = torch.arange(length, device=x.device)
    heads = block.project(x, positions, length)
    k, v = heads.k.transpose(1, 2).contiguous(), heads.v.transpose(1, 2).contiguous()
    group = block.n_heads // block.n_kv
    q = heads.q.transpose(1, 2).reshape(n, block.n_kv, group * length, block.d_head)
    gap = positions[:, None] - positions[None, :]
    seen = (gap >= 0) if block.window is None else (gap >= 0) & (gap < block.window)
    scores = block.scores(q, k).unflatten(2, (group, length)).masked_fill(~seen, -torch.inf)
    gathered = scores.softmax(-1).flatten(2, 3) @ v
    gathered = gathered.unflatten(2, (group, length)).flatten(1, 2).transpose(1, 2)
    return gathered.flatten(2), KeysValues(k, v)


@dataclass(frozen=True)
class Prefix:
    """Where new positions lie after cached ones.

    Samples of one document share its keys and values: where a batch has several samples per document they are laid out as
    [documents, samples per document], so that one product serves them all and nothing is read twice.

    Attributes:
        documents: int64 [D], rows of the clean run.
        slots: int64 [D, G], the samples of each document; where it has fewer than G, sample 0 fills up and nobody reads it.
        places: int64 [samples], where each sample lies in ``slots``, flat.
        positions: int64 [samples, new], consecutive positions; those at or after the context's end are repeats of the last
            one, whose results nobody reads.
        seen: bool [D, 1, G, 1, new, 1, cached], cached positions before the first new one (and inside the window).
        own: bool [new, new], new positions that a new position sees.
        context: Tokens of the whole context.
    """

    documents: Tensor
    slots: Tensor
    places: Tensor
    positions: Tensor
    seen: Tensor
    own: Tensor
    context: int

    @classmethod
    def of(cls, documents: Tensor, starts: Tensor, new: int, context: int, window: int | None) -> Prefix:
        """Lay ``new`` consecutive positions from ``starts`` [samples] after the cache."""
        rows, slots, places = _share(documents)
        steps = torch.arange(new, device=starts.device)
        positions = starts[:, None] + steps
        cached = torch.arange(int(starts.max()) if len(starts) else 0, device=starts.device)
        seen = (cached < starts[:, None])[:, None, :].expand(-1, new, -1)
        own = steps[:, None] >= steps
        if window is not None:
            seen = seen & (positions[..., None] - cached < window)
            own = own & (steps[:, None] - steps < window)
        seen = seen[slots][:, None, :, None, :, None, :]
        return cls(rows, slots, places, positions.clamp(max=context - 1), seen, own, context)


def _share(documents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Documents, slots and places (see :class:`Prefix`); one sample per row where sharing would mostly fill up."""
    alone = torch.arange(len(documents), device=documents.device)
    rows, group, counts = documents.unique(return_inverse=True, return_counts=True)
    most = int(counts.max()) if len(counts) else 0
    if not len(rows) or len(rows) * most > 2 * len(documents) or most == 1:
        return documents, alone[:, None], alone
    order = group.argsort(stable=True)
    rank = torch.empty_like(order)
    rank[order] = alone - (counts.cumsum(0) - counts)[group[order]]
    places = group * most + rank
    slots = torch.zeros(len(rows) * most, dtype=torch.long, device=documents.device)
    slots[places] = alone
    return rows, slots.view(len(rows), most), places


def attend_prefix(block: SliceBlock, x: Tensor, cache: KeysValues, prefix: Prefix) -> Tensor:
    """Attention of new positions to the cached prefix of their document and to each other.

    The variants of a sample (high, low, …) and the samples of a document share its prefix.

    Args:
        block: The block.
        x: Normalised input [samples, variants, new, d_model].
        cache: Keys and values of the clean run.
        prefix: Where the new positions lie.

    Returns:
        What the heads gather [samples, variants, new, n_heads * d_head].
    """
    new = x.shape[2]
    group, n_kv = block.n_heads // block.n_kv, block.n_kv
    heads = block.project(x, prefix.positions[:, None, :], prefix.context)
    # [D, kv, G, variants, new, group, d_head]: queries that share a key head lie together
    q = heads.q[prefix.slots].unflatten(4, (n_kv, group)).permute(0, 4, 1, 2, 3, 5, 6).contiguous()
    k, v = (t[prefix.slots].permute(0, 4, 1, 2, 3, 5) for t in (heads.k, heads.v))  # [D, kv, G, variants, new, d_head]
    own = block.scores(q.flatten(4, 5), k).unflatten(4, (new, group)).masked_fill(~prefix.own[:, None, :], -torch.inf)
    length = prefix.seen.shape[-1]
    if length == 0:
        gathered = (own.softmax(-1).flatten(4, 5) @ v).unflatten(4, (new, group))
        return _to_samples(gathered, prefix)
    past_k, past_v = (t[:, :, :length].index_select(0, prefix.documents) for t in (cache.k, cache.v))
    past = block.scores(q.flatten(2, 5), past_k).unflatten(2, q.shape[2:6]).masked_fill(~prefix.seen, -torch.inf)
    weights = torch.cat([past, own], dim=-1).softmax(-1)
    gathered = (weights[..., :length].flatten(2, 5) @ past_v).unflatten(2, q.shape[2:6])
    gathered = gathered + (weights[..., length:].flatten(4, 5) @ v).unflatten(4, (new, group))
    return _to_samples(gathered, prefix)


def _to_samples(gathered: Tensor, prefix: Prefix) -> Tensor:
    """[D, kv, G, variants, new, group, d_head] → [samples, variants, new, n_heads * d_head]."""
    return gathered.permute(0, 2, 3, 4, 1, 5, 6).flatten(0, 1)[prefix.places].flatten(3)
