"""Features that a training made twice: found, and made one.

Many tokens of a text are alike (the first ones of a chat, a repeated phrase), and features that begin at two of them stay alike for good.
Such features contribute what one feature could: one of them is left, and the others are never on again.
"""

from __future__ import annotations

from collections.abc import Mapping

import networkx as nx
import torch
from torch import Tensor

#: Cosine of encoder columns, and of decoder rows, above which two features are one.
ALIKE = 0.99
#: Cosine of inputs above which only one of two tokens begins a feature.
SAME_INPUT = 0.95


def alike(w_enc: Tensor, w_dec: Tensor, least: float = ALIKE) -> Tensor:
    """Pairs i < j [n, 2] of features whose encoder columns and decoder rows both have a cosine above ``least``."""
    encoders, decoders = _unit(w_enc.T), _unit(w_dec)
    both = torch.minimum(encoders @ encoders.T, decoders @ decoders.T)
    return torch.nonzero(both.triu(1) > least)


def merged(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], int]:
    """SAELens' tensors with each group of features that are alike made one; and how many features were left without a part.

    The first of a group takes the decoder rows of all, each times what its feature is on by per unit of the first, brought back to length 1
    by its encoder, bias and threshold.
    """
    found = {name: tensor.clone() for name, tensor in weights.items()}
    w_enc, w_dec = weights["W_enc"], weights["W_dec"]
    gone: list[int] = []
    for together in nx.connected_components(nx.Graph(alike(w_enc, w_dec).tolist())):
        group = sorted(together)
        first, others = group[0], group[1:]
        size = w_enc[:, group].norm(dim=0) / w_enc[:, first].norm()
        row = size @ w_dec[group]
        length = row.norm()
        found["W_dec"][first] = row / length
        for name in ("W_enc", "b_enc", "threshold"):
            found[name][..., first] = weights[name][..., first] * length
        found["W_enc"][:, others], found["b_enc"][others] = 0.0, 0.0
        gone += others
    return found, len(gone)


def distinct(x: Tensor, n: int, least: float = SAME_INPUT) -> Tensor:
    """Indices of up to ``n`` of the vectors [m, D], no two of which have a cosine above ``least``, in order; filled up with others."""
    unit = _unit(x)
    kept: list[int] = []
    left: list[int] = []
    rows = torch.empty(n, x.shape[1], dtype=unit.dtype)
    for k, vector in enumerate(unit):
        if len(kept) == n:
            break
        if kept and float((rows[: len(kept)] @ vector).max()) > least:
            left.append(k)
            continue
        rows[len(kept)] = vector
        kept.append(k)
    return torch.tensor(kept + left[: n - len(kept)])


def _unit(rows: Tensor) -> Tensor:
    return rows.float() / rows.float().norm(dim=1, keepdim=True).clamp_min(1e-12)
