"""The tests of an exhaustive run: part files of what was kept, and the adjusted p of pairs and of their effects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_graph import stats
from feature_graph.artifacts import FrameFiles
from feature_graph.config import Config
from feature_graph.dictionaries import SiteCodec
from feature_graph.interactions.exhaustive.correct import Adjusted, PHistogram, adjust_kept, check_method
from feature_graph.interactions.exhaustive.field import Field
from feature_graph.interactions.finish import EFFECTS, effect_p

Floats = NDArray[np.float64]
#: What the p of a pair follows from.
_TESTED = [column for strength, p, _, _ in EFFECTS.values() for column in (strength, p)]


@dataclass(frozen=True)
class Kept:
    """Part files of a finished measurement.

    Attributes:
        parts: Where they lie.
        names: Blocks, in order; the sources of a block lie under its name with "-sources".
        floors: Source layer → name of its floors.
    """

    parts: FrameFiles
    names: list[str]
    floors: dict[int, str]

    def p(self) -> Iterator[Floats]:
        """p of the effects, [n, 4] block by block."""
        for name in self.names:
            yield effect_p(self.parts.read(name, _TESTED))


@dataclass(frozen=True)
class AllTests:
    """All tests of an exhaustive run.

    Attributes:
        pairs: Adjusted p of the pairs below the level; None for a correction of all effects as one family.
        level: Level of the adjusted p.
        n_pairs: Pairs tested.
        n_effects: Effects tested, over all pairs.
    """

    pairs: Adjusted | None
    level: float
    n_pairs: int
    n_effects: int

    def q(self, p: Floats) -> Floats:
        """Adjusted p of effects [n, 4]; 1 where an effect does not pass."""
        if self.pairs is None:
            q = np.where(np.isnan(p), 1.0, p) * self.n_effects
        else:
            q = stats.chosen_effects(stats.within_pairs(p), self.pairs.q, self.pairs.ranks, self.n_pairs)
            q = np.maximum(q, self.pairs.of(stats.simes(p))[:, None])
        return np.where(q < self.level, q, 1.0)


def all_tests(kept: Kept, plan: Field, codecs: Mapping[int, SiteCodec], cfg: Config) -> AllTests:
    """Correct the p of all pairs that were measured; those above the level were not kept, and are counted."""
    check_method(cfg.correction_method)
    n_effects = _count_effects(kept, plan, codecs)
    if not cfg.correction_method.startswith("fdr_"):
        return AllTests(None, cfg.significance_level, plan.n_tests, n_effects)
    histogram = PHistogram()

    def read() -> Iterable[Floats]:
        return (p[p <= cfg.significance_level] for p in map(stats.simes, kept.p()))

    for p in read():
        histogram.add(p)
    adjusted = adjust_kept(histogram, read, plan.n_tests, cfg.significance_level, cfg.correction_method)
    return AllTests(adjusted, cfg.significance_level, plan.n_tests, n_effects)


def _count_effects(kept: Kept, plan: Field, codecs: Mapping[int, SiteCodec]) -> int:
    """Total and computed of every pair, direct where something lies between, later where the source has a later position."""
    count = 0
    for name in kept.names:
        sources = kept.parts.read(f"{name}-sources", ["src_layer", "n_later"])
        layer = int(sources["src_layer"].iloc[0])
        all_, apart = (sum(codecs[t].d_sae for t in found[layer]) for found in (plan.targets, plan.bypassed))
        count += len(sources) * (2 * all_ + apart) + int((sources["n_later"] > 0).sum()) * all_
    return count
