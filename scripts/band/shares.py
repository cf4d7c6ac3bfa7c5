"""Which part of the blocks carries what is computed between transcoders of the band, by distance.

Between a feature of block b and one of block b + d everything but the stream itself and the norm's scale is computed: by attention, and by
the MLPs between, whose change is split into what their transcoders' features account for, what their skips do, and what they miss
(:mod:`feature_graph.interventions.site_mediation`). The share of a part is Σ part · computed / Σ computed² over pairs, derivatives through
the target's gate, averaged over the tokens at which the source is active; the parts' shares add up to 1. Intervals over sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph.dictionaries import SiteCodec
from feature_graph.evaluation.quality import QualityFigure, figure_of, resamples
from feature_graph.interventions import SITE_PARTS, MovedTokens, Reading, site_mediation
from feature_graph.utils import derived_seed, progress
from scripts.band.arrivals import CleanText, EarlierDictionary

COMPUTED_PARTS = tuple(part for part in SITE_PARTS if part != "direct")
#: Sources of all dictionaries together.
POOLED = "pooled"
_FARTHEST = 5
_SOURCES = 64
_TOKENS = 6
_SEARCHED = 6_000
_RESAMPLES = 1_000


def part_shares(clean: CleanText, codecs: Mapping[int, SiteCodec], seed: int) -> dict[str, dict[str, dict[str, Any]]]:
    """Dictionary of the sources (:data:`POOLED`, or its block) → distance in blocks → part → its share as value, n (pairs that are not 0)
    and interval.

    Args:
        clean: Clean run over the text.
        codecs: Block → its transcoder.
        seed: Which features and tokens.
    """
    sums: dict[str, dict[int, list[NDArray[np.float64]]]] = {POOLED: {}}
    pairs: dict[tuple[str, int], int] = {}
    for block, codec in progress(codecs.items(), "shares of parts", len(codecs)):
        moved, features = _sources(clean, EarlierDictionary(codec.site.name, codec), seed)
        for target in (one for one in codecs if block < one <= block + _FARTHEST):
            rows, n = _sums(clean, codecs, (block, target), moved, features)
            for name in (POOLED, str(block)):
                sums.setdefault(name, {}).setdefault(target - block, []).append(rows)
                pairs[name, target - block] = pairs.get((name, target - block), 0) + n
    return {
        name: {str(distance): _shares(np.concatenate(rows), pairs[name, distance], seed) for distance, rows in sorted(found.items())}
        for name, found in sums.items()
    }


def _sources(clean: CleanText, source: EarlierDictionary, seed: int) -> tuple[MovedTokens, Tensor]:
    """Tokens of random features, at most :data:`_TOKENS` of each, and the features' place among those chosen."""
    documents, positions, features = clean.active(source, _SEARCHED, derived_seed(seed, "shares", source.name))
    kept: list[int] = []
    seen: dict[int, int] = {}
    for at, feature in enumerate(features.tolist()):
        if seen.get(feature, 0) < _TOKENS and (feature in seen or len(seen) < _SOURCES):
            seen[feature] = seen.get(feature, 0) + 1
            kept.append(at)
    some = torch.tensor(kept)
    place = {feature: k for k, feature in enumerate(seen)}
    chosen = features[some]
    return MovedTokens(documents[some], positions[some], source.codec.w_dec[chosen]), torch.tensor([place[f] for f in chosen.tolist()])


def _sums(
    clean: CleanText, codecs: Mapping[int, SiteCodec], blocks: tuple[int, int], moved: MovedTokens, features: Tensor
) -> tuple[NDArray[np.float64], int]:
    """Σ computed² and Σ part · computed of each source, [sources, 1 + parts], and how many pairs are not 0."""
    source, target = (codecs[block] for block in blocks)
    between = [codecs[block] for block in codecs if blocks[0] < block < blocks[1]]
    found = site_mediation(clean.slices, clean.clean, source.site, moved, Reading(target, None), between)
    n, count = int(features.max()) + 1, torch.bincount(features)[:, None]
    means = {
        name: torch.zeros(n, values.shape[1], dtype=torch.float64).index_add_(0, features, values.double()) / count
        for name, values in found.parts.items()
    }
    computed = torch.stack([means[name] for name in COMPUTED_PARTS]).sum(0)
    sums = [computed.square().sum(1), *((means[name] * computed).sum(1) for name in COMPUTED_PARTS)]
    return torch.stack(sums, 1).numpy(), int((computed != 0).sum())


def _shares(sums: NDArray[np.float64], n: int, seed: int) -> dict[str, Any]:
    drawn = resamples(len(sums), _RESAMPLES, seed)
    found: dict[str, QualityFigure | None] = {
        name: figure_of(sums[:, [0, k]], n, drawn, lambda s: s[..., 1] / s[..., 0]) for k, name in enumerate(COMPUTED_PARTS, 1)
    }
    return {name: one and asdict(one) for name, one in found.items()}
