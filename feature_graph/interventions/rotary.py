"""Rotary positions: tables of sines and cosines, and how they turn queries and keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class RotaryTable:
    """Sines and cosines of the positions a model reads, each [positions, dim]."""

    sin: Tensor
    cos: Tensor


@dataclass(frozen=True)
class Rotary:
    """What turns the first ``dim`` components of queries and keys.

    Attributes:
        table: For contexts of any length, or up to ``limit`` tokens.
        dim: Components that are turned.
        adjacent: Pairs are neighbours (GPT-J), not the two halves.
        limit: Contexts longer than this use ``beyond`` at every position (longrope); None: there is no such length.
        beyond: The table for longer contexts.
    """

    table: RotaryTable
    dim: int
    adjacent: bool = False
    limit: int | None = None
    beyond: RotaryTable | None = None

    @classmethod
    def of(cls, attn: Any, n_ctx: int) -> Self:
        """That of a TransformerLens attention."""
        sin, cos = attn.rotary_sin, attn.rotary_cos
        if len(sin) < n_ctx:
            sin, cos = attn.calculate_sin_cos_rotary(attn.cfg.rotary_dim, n_ctx, base=attn._rotary_base(), dtype=attn.cfg.dtype)
        device = attn.W_Q.device
        return cls(RotaryTable(sin.to(device), cos.to(device)), int(attn.cfg.rotary_dim), bool(attn.cfg.rotary_adjacent_pairs))

    def __call__(self, x: Tensor, positions: Tensor, context: int) -> Tensor:
        """Turn [..., heads, d_head] at ``positions`` [...] of contexts of ``context`` tokens."""
        table = self.beyond if self.beyond is not None and self.limit is not None and context > self.limit else self.table
        turned, rest = x[..., : self.dim], x[..., self.dim :]
        if self.adjacent:
            flipped = torch.stack([-turned[..., 1::2], turned[..., ::2]], dim=-1).flatten(-2)
        else:
            first, second = turned.chunk(2, dim=-1)
            flipped = torch.cat([-second, first], dim=-1)
        cos, sin = table.cos[positions].unsqueeze(-2), table.sin[positions].unsqueeze(-2)
        turned = turned * cos + flipped * sin
        return torch.cat([turned, rest], dim=-1) if rest.shape[-1] else turned
