"""The fast path: one clamp, the effects on all targets of all later sites of the window.

A source of site s has residual x = Σ f_i d_i + b + ε. Clamping it at position p to level α adds (α − f_i(p)) d_i at p, so the
error ε survives. High and low run in one batch, and equal levels give a difference of exactly 0.

1. Positions p..p+h of the blocks up to the next site are run after the clean prefix, high and low together.
2. The targets asked for are read there: before and after their non-linearity, at p and summed over p+1..p+h.
3. For the direct effect a second stream, position p only (later positions cannot reach back), has its features held at their
   clean values at every site that it passes (:mod:`feature_graph.interventions.holding`), high and low alike. For comparison a
   third one has the plain sum taken off: x += Σ_k (f_k(clean) − f_k(now)) d_k.
4. On to the next site of the window.

Effects are in target units for the whole clamp; dividing by (high − low) makes them slopes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from feature_graph.dictionaries import SiteCodec
from feature_graph.interventions.holding import HeldStats, hold_clean, restore_clean
from feature_graph.interventions.slices import CleanRun, ModelSlices


@dataclass(frozen=True)
class Reading:
    """Targets to read at one site.

    Attributes:
        codec: The site's dictionary.
        features: int64 [T], indices of the targets; may be empty. None reads all.
    """

    codec: SiteCodec
    features: Tensor | None

    @property
    def point(self) -> int:
        """Blocks run before the site."""
        return self.codec.site.point

    @property
    def asked(self) -> bool:
        """Whether anything is read here."""
        return self.features is None or len(self.features) > 0


@dataclass(frozen=True)
class Clamps:
    """Samples of one or several sources of one site.

    Attributes:
        documents: int64 [S], rows of the clean run.
        positions: int64 [S].
        directions: float [S, d_model], the source's decoder row in residual units.
        high: float [S], α_high − f_i(p): what is added along the direction.
        low: float [S], α_low − f_i(p).
    """

    documents: Tensor
    positions: Tensor
    directions: Tensor
    high: Tensor
    low: Tensor

    @property
    def shift(self) -> Tensor:
        """What is added to the residual stream at p: [S, 2, d_model], high first."""
        return torch.stack([self.high, self.low], dim=1).unsqueeze(-1) * self.directions.unsqueeze(1)


#: The effects of :class:`Effects`, each a tensor.
MEASURES = ("total", "direct", "later", "preactivation", "on", "copy")


@dataclass(frozen=True)
class Passed:
    """What was done at the sites between source and target, for the direct effect.

    Attributes:
        direct_sum: [S, T], the direct effect with each site's change taken off by the plain sum.
        held: How the features were held, [S]; of several sites between, the largest of each.
    """

    direct_sum: Tensor
    held: HeldStats

    @classmethod
    def joined(cls, parts: Sequence[Passed]) -> Self:
        """That of several batches of samples."""
        return cls(torch.cat([part.direct_sum for part in parts]), HeldStats.joined([part.held for part in parts]))


@dataclass(frozen=True)
class Effects:
    """Effects of each sample on each target of one site; all [S, T], in target units for the whole clamp.

    Attributes:
        total: f(high) − f(low) at the same position.
        direct: The same with the features of the sites between held at their clean values.
        later: Differences summed over the counted positions p+1..p+h.
        preactivation: As total, before the non-linearity.
        on: Active under high minus active under low: −1, 0 or 1.
        copy: As total, if only the delta itself arrived at the target's site, through a norm that the target reads through.
        passed: What was done at the sites between; None where there is none, and for derivatives.
    """

    total: Tensor
    direct: Tensor
    later: Tensor
    preactivation: Tensor
    on: Tensor
    copy: Tensor
    passed: Passed | None = None

    @classmethod
    def joined(cls, parts: Sequence[Effects]) -> Self:
        """Those of several batches of samples on the same targets."""
        passed = [part.passed for part in parts if part.passed is not None]
        measures: dict[str, Tensor] = {name: torch.cat([getattr(part, name) for part in parts]) for name in MEASURES}
        return cls(**measures, passed=Passed.joined(passed) if passed else None)


@torch.no_grad()
def clamp_effects(
    slices: ModelSlices,
    clean: CleanRun,
    point: int,
    clamps: Clamps,
    path: Sequence[Reading],
    horizon: int,
    counted: Tensor,
    *,
    direct: bool = True,
) -> list[Effects]:
    """Effects of the clamps on every target of the path.

    Args:
        slices: The model.
        clean: Clean run with the residual at ``point`` and at every site of the path, and the blocks between.
        point: Point of the source's site.
        clamps: The samples.
        path: Every analysed site after the source's, in order, as far as the window reaches.
        horizon: Later positions h.
        counted: bool [n_docs, context], positions that count as later ones.
        direct: Whether the direct effect is wanted; without, the field repeats the total.

    Returns:
        One entry per site of the path.
    """
    later = later_mask(clamps, horizon, counted)
    free = window_of(clean.residuals[point], clamps, horizon + 1).unsqueeze(1).repeat(1, 2, 1, 1)
    free[:, :, 0] += clamps.shift
    held, effects, stats = free[:, :, :1], [], None
    for k, reading in enumerate(path):
        free = slices.advance(free, point, reading.point, clean, clamps.documents, clamps.positions)
        moved = free[:, :, :1]
        if direct and k:
            moved = slices.advance(held, point, reading.point, clean, clamps.documents, clamps.positions)
        point, here = reading.point, window_of(clean.residuals[reading.point], clamps, 1)
        effects.append(_read(reading, free, moved[:, :, 0], here[:, 0], clamps, later, stats))
        if not any(r.asked for r in path[k + 1 :]):
            effects.extend(_read(r, free, moved[:, :, 0], here[:, 0], clamps, later, stats) for r in path[k + 1 :])
            break
        if direct:
            held, stats = _held(reading.codec, moved[:, :, 0], here[:, 0], stats)
    return effects


def _held(codec: SiteCodec, moved: Tensor, clean: Tensor, before: HeldStats | None) -> tuple[Tensor, HeldStats]:
    """High and low with the site's features held, then with the plain sum taken off, [S, 4, 1, d_model]; and how they were held so far.

    ``moved`` is [S, 2, d_model] at the first site passed, and [S, 4, d_model] later on.
    """
    held = hold_clean(codec, moved[:, :2], clean)
    summed = restore_clean(codec, moved[:, -2:], clean.unsqueeze(1))
    return torch.cat([held.x, summed], dim=1).unsqueeze(2), held.stats.largest(before)


def window_of(residual: Tensor, clamps: Clamps, new: int) -> Tensor:
    """Positions p..p+new-1 of each sample, [S, new, d_model]; beyond the context's end the last one is repeated."""
    return windows(residual, clamps.documents, clamps.positions, new)


def windows(residual: Tensor, documents: Tensor, positions: Tensor, new: int) -> Tensor:
    """As :func:`window_of`, of samples given by document and position, int64 [S] each."""
    steps = torch.arange(new, device=residual.device)
    window = (positions[:, None] + steps).clamp(max=residual.shape[1] - 1)
    return residual[documents[:, None], window]


def later_mask(clamps: Clamps, horizon: int, counted: Tensor) -> Tensor:
    """Which of the positions p+1..p+h lie in the context and count, bool [S, h]."""
    positions = clamps.positions[:, None] + torch.arange(1, horizon + 1, device=counted.device)
    inside = positions < counted.shape[1]
    return inside & counted[clamps.documents[:, None], positions.clamp(max=counted.shape[1] - 1)]


def _read(reading: Reading, free: Tensor, held: Tensor, clean: Tensor, clamps: Clamps, later: Tensor, stats: HeldStats | None) -> Effects:
    """Effects at one site; ``held`` is [S, 2 or 4, d_model], and ``stats`` is there where a site lies between."""
    codec, asked, dtype = reading.codec, reading.features, reading.codec.w_enc.dtype
    pre = codec.preactivation(free.to(dtype), asked)
    f = codec.activate(pre, asked)
    change = f[:, 0] - f[:, 1]
    f_held = codec.encode(held.to(dtype), asked)
    on = codec.is_active(f[:, :, 0], asked)
    return Effects(
        total=change[:, 0],
        direct=f_held[:, 0] - f_held[:, 1],
        later=(change[:, 1:] * later.unsqueeze(-1)).sum(1),
        preactivation=pre[:, 0, 0] - pre[:, 1, 0],
        on=on[:, 0].to(dtype) - on[:, 1].to(dtype),
        copy=_copy(reading, clean, clamps),
        passed=None if stats is None else Passed(f_held[:, 2] - f_held[:, 3], stats),
    )


def _copy(reading: Reading, clean: Tensor, clamps: Clamps) -> Tensor:
    codec, asked = reading.codec, reading.features
    pre = codec.preactivation(clean.to(codec.w_enc.dtype), asked)
    along = overlap(reading, clamps.directions)
    return codec.activate(pre + clamps.high[:, None] * along, asked) - codec.activate(pre + clamps.low[:, None] * along, asked)


def overlap(reading: Reading, directions: Tensor) -> Tensor:
    """⟨w_enc_j, d⟩ for each direction [S, d_model] and target: [S, T]."""
    codec = reading.codec
    w = codec.w_enc.T if reading.features is None else codec.w_enc.T[reading.features]
    return directions.to(w.dtype) @ w.T


def achieved_levels(codec: SiteCodec, clean: CleanRun | Tensor, clamps: Clamps, features: Tensor) -> Tensor:
    """The source's own activation after the clamp, re-encoded: [S, 2], high first.

    Args:
        codec: Dictionary of the source's site.
        clean: Clean run with the residual there; or what it reads in the clean run, [S, d_in].
        clamps: The samples.
        features: int64 [S], the source of each sample.
    """
    here = clean[:, None] if isinstance(clean, Tensor) else window_of(clean.residuals[codec.site.point], clamps, 1)
    x = here + clamps.shift
    w, b = codec.w_enc.T[features], codec.b_enc[features]
    pre = torch.einsum("svd,sd->vs", x.to(w.dtype), w) + b
    return codec.activate(pre, features).T


def spill(codec: SiteCodec, features: Tensor) -> Tensor:
    """Norm of the change of the other features of the site per unit of the source, before non-linearity: ‖d_i · W_enc‖ without i.

    Args:
        codec: Dictionary of the source's site.
        features: int64 [K].

    Returns:
        [K].
    """
    change = codec.w_dec[features] @ codec.w_enc
    change[torch.arange(len(features), device=change.device), features] = 0
    return change.norm(dim=-1)
