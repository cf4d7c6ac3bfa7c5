"""Specificity: is a source's computed effect larger than that of any direction put in at the same tokens?

Random unit directions are carried through the blocks beside the source's own, at the source's own tokens: a direction that is put in where
the target is on moves it, and elsewhere it does not. All of it by derivatives through the target's gate g, as for the source:

    K(d) = E[g ⟨v(d) − d, w⟩] − E[g] ⟨J̄ d, w⟩

v(d) is what arrives of d, w the target's reader, and J̄ d what any direction would have computed there (0 where the run has no responses).
An isotropic random direction has K ~ N(0, σ²): σ comes from a few of them, with the variance shrunk over targets
(:func:`feature_graph.stats.moderated_t`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph import stats
from feature_graph.interactions.directions import RandomDirections
from feature_graph.interactions.plan import Source
from feature_graph.interactions.probes import ROUNDING
from feature_graph.interventions import DirectionTokens, Reading, Setting, carry_directions

Floats = NDArray[np.float64]
#: Directions that are carried together.
_BATCH = 2048


@dataclass(frozen=True)
class Specific:
    """One source on the targets of one site; all float64 [T].

    Attributes:
        strength: K of the source, target units per source unit.
        p: Of "any direction does as much there".
        gate: Share of the tokens at which the target is on.
    """

    strength: Floats
    p: Floats
    gate: Floats


def specific_effects(
    setting: Setting, sources: Sequence[Source], path: Sequence[Reading], random: RandomDirections
) -> list[list[Specific]]:
    """Compare sources of one site with random directions at their own tokens.

    Args:
        setting: What the blocks of this site share.
        sources: The sources.
        path: Sites and targets.
        random: The random directions.

    Returns:
        Per source, per site of the path.
    """
    own = setting.codecs[sources[0].layer].w_dec
    directions = [torch.cat([own[s.index][None], random.of(s.layer, s.index, own.shape[1]).to(own)]) for s in sources]
    found: list[list[Specific]] = []
    step = max(1, _BATCH // ((1 + random.n) * random.samples))
    for first in range(0, len(sources), step):
        some = slice(first, first + step)
        probed = probe_effects(setting, sources[some], directions[some], path, random)
        found.extend([[_compare(*site) for site in one] for one in probed])
    return found


def _compare(effects: Floats, gate: Floats, rounding: Floats) -> Specific:
    test = stats.moderated_t(effects[0], effects[1:], gate, rounding)
    return Specific(effects[0], test.p, gate)


@torch.no_grad()
def probe_effects(
    setting: Setting, sources: Sequence[Source], directions: Sequence[Tensor], path: Sequence[Reading], random: RandomDirections
) -> list[list[tuple[Floats, Floats, Floats]]]:
    """K of some directions at the tokens of each source.

    Args:
        setting: What the blocks of this site share.
        sources: Whose tokens are used.
        directions: Per source [1 + n, d_model], of norm 1; the first is the source's own.
        path: Sites and targets.
        random: Which tokens, and what is generic.

    Returns:
        Per source, per site: K [1 + n, T], the share of the tokens at which each target is on [T], and the rounding of K [T].
    """
    device, layer = setting.slices.device, sources[0].layer
    parts = [random.tokens(s.test) for s in sources]
    rows = torch.as_tensor(setting.rows[np.concatenate([part.documents for part in parts])], device=device)
    positions = torch.as_tensor(np.concatenate([part.positions for part in parts]), device=device)
    ends, width = np.cumsum([0, *map(len, parts)]), len(directions[0])
    put_in = torch.cat([d.repeat(len(part), 1) for d, part in zip(directions, parts, strict=True)])  # samples of a source, its directions
    tokens = DirectionTokens(rows, positions, torch.arange(len(rows), device=device).repeat_interleave(width))
    read = [r for r in path if r.asked]
    points = [r.point for r in read]
    found: list[list[tuple[Floats, Floats, Floats]]] = [[] for _ in sources]
    by_point = dict(
        zip(points, carry_directions(setting.slices, setting.clean, setting.model.point(layer), tokens, put_in, points), strict=True)
    )
    for reading in path:
        for k, source in enumerate(sources):
            where = slice(int(ends[k]), int(ends[k + 1]))
            if not reading.asked:
                found[k].append((np.zeros((width, 0)), np.zeros(0), np.zeros(0)))
                continue
            arrived = by_point[reading.point].unflatten(0, (-1, width))[where]
            clean = setting.clean.residuals[reading.point][rows[where], positions[where]]
            found[k].append(
                _effects(reading, arrived, clean, directions[k], parts[k].documents, _generic(random, source, reading, directions[k]))
            )
    return found


def _generic(random: RandomDirections, source: Source, reading: Reading, directions: Tensor) -> Tensor | None:
    """J̄ of each direction [1 + n, d_model]; that of the source is fitted without it and its parallels."""
    if random.generic is None:
        return None
    site = source.layer, reading.codec.site.layer
    mine = random.generic.of_sources(*site, np.array([source.index]))
    others = random.generic.of_directions(*site, directions[1:].double().cpu().numpy())
    return torch.as_tensor(np.concatenate([mine, others]), dtype=directions.dtype, device=directions.device)


def _effects(
    reading: Reading, arrived: Tensor, clean: Tensor, directions: Tensor, documents: NDArray[np.int64], generic: Tensor | None
) -> tuple[Floats, Floats, Floats]:
    """K [1 + n, T] of directions that arrived [samples, 1 + n, d_model], the share of open gates [T], and the rounding of K [T]."""
    codec, asked, dtype = reading.codec, reading.features, reading.codec.w_enc.dtype
    reader = codec.w_enc if asked is None else codec.w_enc.T[asked].T
    gate = codec.gate(codec.preactivation(clean.to(dtype), asked), asked).to(dtype)  # [samples, T]
    weight = torch.as_tensor(_weights(documents), dtype=dtype, device=gate.device)[:, None]
    opened = weight * gate
    change = (arrived - directions).to(dtype) @ reader
    usual = 0.0 if generic is None else (generic.to(dtype) @ reader) * opened.sum(0)
    effects = torch.einsum("snt,st->nt", change, opened) - usual
    rounding = ROUNDING * opened.sum(0) * reader.norm(dim=0)
    return tuple(x.double().cpu().numpy() for x in (effects, opened.sum(0), rounding))  # type: ignore[return-value]


def _weights(documents: NDArray[np.int64]) -> Floats:
    """Share of each sample in the mean over documents of the means within them."""
    _, of, tokens = np.unique(documents, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / (tokens[of] * len(tokens)), dtype=np.float64)
