"""Specificity: is a source's computed effect larger than that of any direction injected at the same tokens?

Random unit directions are carried through the blocks beside the source's own, at the source's own tokens: a direction that is injected
where the target is on moves it, and elsewhere it does not. All of it by derivatives through the target's gate g, as for the source:

    K(d) = E[g ⟨v(d) − d, w⟩] − E[g] ⟨J̄ d, w⟩

v(d) is what arrives of d, w the target's reader, and J̄ d what would have been computed there from any direction (0 without
responses).
Between dictionaries on components, what is taken off in place of d is what nothing computed (:mod:`feature_graph.interventions.carried`).
An isotropic random direction has K ~ N(0, σ²): σ comes from a few of them, with the variance shrunk over targets
(:func:`feature_graph.stats.moderated_t`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph import stats
from feature_graph.artifacts import key_of_site
from feature_graph.interactions.directions import RandomDirections
from feature_graph.interactions.errors import BrokenEffect
from feature_graph.interactions.plan import Source
from feature_graph.interactions.probes import ROUNDING
from feature_graph.interventions import DirectionTokens, Reading, Setting, carry_directions, carry_site_directions

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

    Raises:
        BrokenEffect: If derivatives at some sources' tokens are NaN or infinite.
    """
    own = setting.codecs[sources[0].layer].w_dec
    directions = [torch.cat([own[s.index][None], random.of(s.layer, s.index, own.shape[1]).to(own)]) for s in sources]
    found: list[list[Specific]] = []
    step = max(1, _BATCH // ((1 + random.n) * random.samples))
    for first in range(0, len(sources), step):
        some = slice(first, first + step)
        probed = probe_effects(setting, sources[some], directions[some], path, random)
        broken = [s.id for s, one in zip(sources[some], probed, strict=True) if not all(np.isfinite(site.effects).all() for site in one)]
        if broken:
            raise BrokenEffect(broken)
        found.extend([[site.compared() for site in one] for one in probed])
    return found


@dataclass(frozen=True)
class Probed:
    """Directions at the tokens of one source, on the targets of one site.

    Attributes:
        effects: K of each direction, float64 [1 + n, T].
        gate: Share of the tokens at which each target is on, float64 [T].
        rounding: Of K, float64 [T].
    """

    effects: Floats
    gate: Floats
    rounding: Floats

    def compared(self) -> Specific:
        """The first direction compared with the others."""
        test = stats.moderated_t(self.effects[0], self.effects[1:], self.gate, self.rounding)
        return Specific(self.effects[0], test.p, self.gate)


@torch.no_grad()
def probe_effects(
    setting: Setting,
    sources: Sequence[Source],
    directions: Sequence[Tensor],
    path: Sequence[Reading],
    random: RandomDirections,
    *,
    own: bool = True,
) -> list[list[Probed]]:
    """K of some directions at the tokens of each source.

    Args:
        setting: What the blocks of this site share.
        sources: Whose tokens are used.
        directions: Per source [1 + n, d_model], of norm 1.
        path: Sites and targets.
        random: Which tokens, and what is generic.
        own: Whether the first direction is the source's own, whose generic part is fitted without it and its parallels.

    Returns:
        Per source, per site of the path.
    """
    parts = [random.tokens(s.test) for s in sources]
    rows = torch.as_tensor(setting.rows[np.concatenate([part.documents for part in parts])], device=setting.slices.device)
    positions = torch.as_tensor(np.concatenate([part.positions for part in parts]), device=setting.slices.device)
    width = len(directions[0])
    owner = torch.arange(len(rows), device=rows.device).repeat_interleave(width)
    put_in = torch.cat([d.repeat(len(part), 1) for d, part in zip(directions, parts, strict=True)])  # samples of a source, its directions
    computed = _computed(setting, sources[0].layer, DirectionTokens(rows, positions, owner), put_in, path)
    ends = np.cumsum([0, *map(len, parts)])
    found: list[list[Probed]] = [[] for _ in sources]
    for reading, (clean, vectors) in zip(path, computed, strict=True):
        by_sample = vectors.unflatten(0, (-1, width))
        for k, source in enumerate(sources):
            where = slice(int(ends[k]), int(ends[k + 1]))
            generic = _generic(
                random, (source.layer, key_of_site(reading.codec.site, source.layer)), directions[k], source.index if own else None
            )
            found[k].append(_effects(reading, by_sample[where], clean[where], parts[k].documents, generic))
    return found


def _computed(
    setting: Setting, layer: int, tokens: DirectionTokens, put_in: Tensor, path: Sequence[Reading]
) -> Iterator[tuple[Tensor, Tensor]]:
    """For each site of the path what is read there in the clean run [S, d_in], and what is computed of each direction [n, d_in]."""
    slices, clean = setting.slices, setting.clean
    if not setting.model.has_components:
        carried = carry_directions(slices, clean, setting.model.point(layer), tokens, put_in, [r.point for r in path])
        for reading, vectors in zip(path, carried, strict=True):
            yield clean.residuals[reading.point][tokens.documents, tokens.positions], vectors - put_in
        return
    source, targets = setting.codecs[layer].site, [r.codec.site for r in path]
    for found in carry_site_directions(slices, clean, source, tokens, put_in, targets):
        yield found.clean, found.arrived - found.carried


def _generic(random: RandomDirections, site: tuple[int, int], directions: Tensor, own: int | None) -> Tensor | None:
    """J̄ of each direction [1 + n, d_model]."""
    if random.generic is None:
        return None
    carried = random.generic.of_directions(*site, directions.double().cpu().numpy())
    if own is not None:
        carried[:1] = random.generic.of_sources(*site, np.array([own]))
    return torch.as_tensor(carried, dtype=directions.dtype, device=directions.device)


def _effects(reading: Reading, computed: Tensor, clean: Tensor, documents: NDArray[np.int64], generic: Tensor | None) -> Probed:
    """From what was computed of the directions [samples, 1 + n, d_in]."""
    codec, asked, dtype = reading.codec, reading.features, reading.codec.w_enc.dtype
    reader = codec.w_enc if asked is None else codec.w_enc.T[asked].T
    gate = codec.gate(codec.preactivation(clean.to(dtype), asked), asked).to(dtype)  # [samples, T]
    weight = torch.as_tensor(_weights(documents), dtype=dtype, device=gate.device)[:, None]
    opened = weight * gate
    change = computed.to(dtype) @ reader
    usual = 0.0 if generic is None else (generic.to(dtype) @ reader) * opened.sum(0)
    effects = torch.einsum("snt,st->nt", change, opened) - usual
    rounding = ROUNDING * opened.sum(0) * reader.norm(dim=0)
    return Probed(*(x.double().cpu().numpy() for x in (effects, opened.sum(0), rounding)))


def _weights(documents: NDArray[np.int64]) -> Floats:
    """Share of each sample in the mean over documents of the means within them."""
    _, of, tokens = np.unique(documents, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / (tokens[of] * len(tokens)), dtype=np.float64)
