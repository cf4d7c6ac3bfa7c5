"""Holding a site's features at their clean values, so that what bypasses them can be measured: the direct effect.

What moves the residual stream at a site, x, moves its features. Features overlap: taking from x what each of them has gained, along its
own direction (:func:`restore_clean`), moves the others again, and over-corrects. So the features are held together:

1. A = the features that are active in the clean stream or in one of the variants. A feature that writes nothing carries nothing, and is
   never in A. Rows of E_A are their encoders, rows of D_A their decoders.
2. Each variant loses D_Aᵀ c, where (E_A D_Aᵀ) c = E_A (x − x_clean): re-encoded, the features of A are as in the clean stream.
3. Where that switches a feature outside A on, it joins A, for all variants of the sample; and again, until none does.
4. If E_A D_Aᵀ has the rank of the stream, no change is left: x is the clean stream, and a direct effect is 0 by arithmetic.

Small changes (:func:`hold_change`) switch nothing: A is what is active in the clean stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from scipy import linalg
from torch import Tensor

from feature_graph.dictionaries import SiteCodec

#: A pivot of E_A D_Aᵀ (encoder rows taken to norm 1) below this share of the largest counts as 0. Two features whose float32 encoders
#: and decoders differ by rounding alone leave one of 1e-14.
RANK_TOLERANCE = 1e-9
#: An activation up to this share of ‖x‖ · ‖encoder‖ is rounding: whether a feature is on must not hang on it.
ROUNDING = 1e-6
#: Condition number up to which elimination of float32 products gives features to 1e-4.
ELIMINATED = 1e3
#: Samples that are solved together.
_SAMPLES = 64
#: Sets of features are solved together up to this ratio of their sizes, where both are above ``_FEW``.
_ALIKE, _FEW = 1.25, 32


@dataclass(frozen=True)
class HeldStats:
    """How the features of a site were held, per sample; all [S].

    Attributes:
        features: int64, size of A.
        rank: int64, rank of E_A D_Aᵀ; that of the stream where nothing is left of the change.
        condition: float32, condition number of E_A D_Aᵀ in the 1-norm, encoder rows taken to norm 1, without what counts as 0; estimated.
        error: float32, largest |re-encoded − clean| of a feature that writes, activation units.
    """

    features: Tensor
    rank: Tensor
    condition: Tensor
    error: Tensor

    def largest(self, other: HeldStats | None) -> HeldStats:
        """The larger of each, of two sites."""
        if other is None:
            return self
        return HeldStats(*(torch.maximum(getattr(self, item.name), getattr(other, item.name)) for item in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[HeldStats]) -> Self:
        """Those of several batches of samples."""
        return cls(*(torch.cat([getattr(part, item.name) for part in parts]) for item in fields(cls)))


@dataclass(frozen=True)
class Held:
    """Variants of a residual stream whose features are held.

    Attributes:
        x: [S, V, d_model].
        stats: How.
    """

    x: Tensor
    stats: HeldStats


@torch.no_grad()
def hold_clean(codec: SiteCodec, now: Tensor, clean: Tensor) -> Held:
    """Hold a site's features at their clean values; the dictionary's error, and what no feature of A reads, runs free.

    Features are those of the SAE itself (for TopK: after the competition), since they make up the reconstruction.

    Args:
        codec: The site's dictionary.
        now: Residual stream [S, V, d_model]: V variants of each sample, whose features are held by one set A.
        clean: The clean one, [S, d_model].
    """
    parts = [_hold(codec, *some) for some in zip(now.split(_SAMPLES), clean.split(_SAMPLES), strict=True)]
    return Held(torch.cat([part.x for part in parts]), HeldStats.joined([part.stats for part in parts]))


def hold_change(codec: SiteCodec, clean: Tensor, change: Tensor) -> Tensor:
    """What is left of small changes of the stream if the features that are active in it are held; linear in ``change``.

    Args:
        codec: The site's dictionary.
        clean: Residual stream [S, d_model].
        change: [S, V, d_model].
    """
    left = []
    for at, moved in zip(clean.split(_SAMPLES), change.split(_SAMPLES), strict=True):
        _, on = _encoded(codec, at)
        left.append(_without(codec, on, moved).change)
    return torch.cat(left)


def restore_clean(codec: SiteCodec, now: Tensor, clean: Tensor) -> Tensor:
    """The plain sum, for comparison: x + Σ (f_clean − f_now) d, as if no feature overlapped with another.

    Args:
        codec: The site's dictionary.
        now: Residual stream [..., d_model].
        clean: The clean one, broadcast against it.
    """
    change = codec.record(clean.to(codec.w_enc.dtype)) - codec.record(now.to(codec.w_enc.dtype))
    return now + (change @ codec.w_dec).to(now.dtype)


def _encoded(codec: SiteCodec, x: Tensor) -> tuple[Tensor, Tensor]:
    """Activations of the features that write, 0 for others, and which are on by more than rounding; [..., d_sae] each."""
    here = x.to(codec.w_enc.dtype)
    values = codec.record(here) * codec.writes
    return values, values > ROUNDING * here.norm(dim=-1, keepdim=True) * codec.encoder_norm


def _hold(codec: SiteCodec, now: Tensor, clean: Tensor) -> Held:
    (before, on), (_, moved) = _encoded(codec, clean), _encoded(codec, now)
    members, x = on | moved.any(1), now.clone()
    rank = torch.zeros(len(now), dtype=torch.long, device=now.device)
    condition, error = torch.ones(2, len(now), device=now.device)
    todo = torch.arange(len(now), device=now.device)
    while len(todo):
        here = clean[todo, None]
        left = _without(codec, members[todo], x[todo] - here)
        x[todo], rank[todo], condition[todo] = here + left.change, left.rank, left.condition
        values, on = _encoded(codec, x[todo])
        error[todo] = (values - before[todo, None]).abs().flatten(1).amax(1).to(error.dtype)
        joining = on.any(1) & ~members[todo]
        members[todo] |= joining
        todo = todo[joining.any(1)]
    return Held(x, HeldStats(members.sum(1), rank, condition, error))


@dataclass(frozen=True)
class _Left:
    """What is left of a change of the stream without what a set of features of each sample carries.

    Attributes:
        change: [S, V, d]; 0 where the set has the rank of the stream.
        rank: int64 [S].
        condition: float32 [S].
    """

    change: Tensor
    rank: Tensor
    condition: Tensor


def _without(codec: SiteCodec, members: Tensor, change: Tensor) -> _Left:
    """Take what the sets ``members``, bool [S, d_sae], carry off ``change`` [S, V, d].

    Elimination serves most sets; where it is not safe, orthogonal factors do, all in float64.
    """
    groups = _alike(members.sum(1))
    parts = [_by_elimination(_FeatureRows.of(codec, members[at]), change[at]) for at in groups]
    back = torch.cat(groups).argsort()
    found = _Left(*(torch.cat([getattr(part, item.name) for part in parts])[back] for item in fields(_Left)))
    near = (~(found.condition < ELIMINATED)).nonzero()[:, 0]
    if len(near):
        exact = [_by_orthogonal_factors(codec, members[k], change[k]) for k in near]
        joined = {item.name: torch.cat([getattr(one, item.name) for one in exact]) for item in fields(_Left)}
        found = _Left(**{name: getattr(found, name).index_copy(0, near, value) for name, value in joined.items()})
    full = (found.rank == change.shape[-1]).view(-1, 1, 1)
    return _Left(torch.where(full, torch.zeros_like(change), found.change), found.rank, found.condition)


def _alike(counts: Tensor) -> list[Tensor]:
    """Rows in groups of about the same count, int64 each: a group is padded to its largest, and elimination takes the cube of that."""
    order = counts.argsort()
    starts: list[int] = []
    for k, count in enumerate(ordered := counts[order].tolist()):
        if not starts or count > _ALIKE * max(ordered[starts[-1]], _FEW):
            starts.append(k)
    return list(order.tensor_split(starts[1:]))


def _exact(x: Tensor) -> Tensor:
    """In float64, where there is such a thing."""
    return (x.cpu() if x.device.type == "mps" else x).double()


@dataclass(frozen=True)
class _FeatureRows:
    """Encoders and decoders of a set of features of each sample, padded to the largest set.

    Attributes:
        readers: [S, a, d], encoder rows.
        writers: [S, a, d], decoder rows.
        real: bool [S, a], what is not padding.
        scale: [S, a], 1 / norm of the encoder row; 0 in padding.
    """

    readers: Tensor
    writers: Tensor
    real: Tensor
    scale: Tensor

    @classmethod
    def of(cls, codec: SiteCodec, members: Tensor, *, exact: bool = False) -> Self:
        """Rows of the sets ``members``, bool [S, d_sae]; in float64 if ``exact``."""
        counts = members.sum(1)
        row, feature = members.nonzero(as_tuple=True)
        place = torch.arange(len(row), device=row.device) - (counts.cumsum(0) - counts)[row]
        index = feature.new_zeros(len(members), max([1, *counts.tolist()]))
        index[row, place] = feature
        real = torch.arange(index.shape[1], device=row.device) < counts[:, None]
        rows = [codec.w_enc.T[index], codec.w_dec[index], real / codec.encoder_norm.clamp(min=1e-12)[index]]
        readers, writers, scale = map(_exact, rows) if exact else rows
        return cls(readers, writers, real.to(scale.device), scale)

    @property
    def matrix(self) -> Tensor:
        """E_A D_Aᵀ with encoder rows taken to norm 1, [S, a, a]; 0 in padding."""
        return self.readers @ self.writers.mT * self.scale.unsqueeze(2) * self.real.unsqueeze(1)

    def read(self, change: Tensor) -> Tensor:
        """What the features read of [S, V, d]: [S, a, V]."""
        return self.readers @ change.to(self.readers).mT * self.scale.unsqueeze(2)

    def written(self, amounts: Tensor) -> Tensor:
        """What they write: [S, a, V] → [S, V, d]."""
        return amounts.to(self.writers).mT @ self.writers


def _by_elimination(rows: _FeatureRows, change: Tensor) -> _Left:
    matrix = _exact(rows.matrix)
    factors = torch.linalg.lu_factor_ex(matrix + torch.diag_embed((~rows.real).to(matrix)))[:2]
    left = change.to(rows.writers)
    for _ in range(2):  # the second time takes off what float32 has left
        left = left - rows.written(torch.linalg.lu_solve(*factors, _exact(rows.read(left))))
    condition = _condition(matrix, *factors).to(change.device, torch.float32)
    return _Left(left.to(change), rows.real.sum(1), condition)


def _condition(matrix: Tensor, lu: Tensor, pivots: Tensor) -> Tensor:
    """Condition number in the 1-norm of each of [S, a, a], by Hager's estimate, as LAPACK has it; NaN or infinite where singular."""
    a = matrix.shape[-1]
    first = torch.linalg.lu_solve(lu, pivots, matrix.new_full((len(matrix), a, 1), 1 / a))
    slope = torch.linalg.lu_solve(lu, pivots, first.sign(), adjoint=True)
    second = torch.linalg.lu_solve(lu, pivots, torch.nn.functional.one_hot(slope.abs().argmax(1), a).mT.to(matrix))
    return torch.maximum(first.abs().sum((1, 2)), second.abs().sum((1, 2))) * matrix.abs().sum(1).amax(1)


def _by_orthogonal_factors(codec: SiteCodec, members: Tensor, change: Tensor) -> _Left:
    """Of one sample, bool [d_sae] and [V, d]: the solution of least norm, by a complete orthogonal factorisation with pivoting."""
    rows = _FeatureRows.of(codec, members[None], exact=True)
    q, r, pivots = linalg.qr(rows.matrix[0].cpu().numpy(), pivoting=True)
    sizes = np.abs(np.diag(r))
    rank = int((sizes > RANK_TOLERANCE * sizes[0]).sum())
    if not rank:
        return _Left(change[None], torch.tensor([0], device=change.device), torch.ones(1, device=change.device))
    basis, upper = linalg.qr(r[:rank].T, mode="economic")
    reading = rows.read(change[None])[0]
    first, second, third = (torch.as_tensor(part, device=reading.device) for part in (q[:, :rank].T.copy(), upper.T.copy(), basis))
    amounts = third @ torch.linalg.solve_triangular(second, first @ reading, upper=False)  # by torch: derivatives go through it
    placed = torch.zeros_like(amounts).index_copy(0, torch.as_tensor(pivots, dtype=torch.long, device=reading.device), amounts)
    left = change.to(rows.writers) - rows.written(placed[None])[0]
    condition = torch.tensor([1 / linalg.lapack.dtrcon(upper)[0]], dtype=torch.float32, device=change.device)
    return _Left(left.to(change)[None], torch.tensor([rank], device=change.device), condition)
