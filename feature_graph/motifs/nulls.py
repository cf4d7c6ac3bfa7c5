"""Are there more of a motif than sites, degrees and signs alone would give?

1. From the observed graph take T proposed swaps (:mod:`swaps`) to a graph H; forget the observed one.
2. From H take T swaps, n times over with different seeds: n null graphs. The chain is reversible, so under the null hypothesis the observed
   graph and the n null graphs are exchangeable given H, whatever T is: p is valid however slowly the chain mixes; too few swaps only cost
   power (Besag and Clifford, Biometrika 76, 1989, the parallel method).
3. Count every signed motif in each. A count's distance is taken from the mean over all n + 1 graphs, the observed one among them, and
   p = (1 + nulls at least as far) / (n + 1), two-sided; z = (observed − mean of the nulls) / their standard deviation.
4. Adjust p over the motif types (Benjamini and Hochberg). Types whose number follows from the degrees alone are no tests: their z is empty.

Each null graph has a seed of its own, so the result does not depend on how many threads work.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import networkx as nx
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_graph import stats
from feature_graph.motifs import kernels
from feature_graph.motifs.arrays import Ints, MotifError, SignedGraph
from feature_graph.motifs.census import BI_FANS, DIAMONDS, FFLS, TYPES, Census, census, count_bi_fans
from feature_graph.motifs.swaps import SwapGraph, swap
from feature_graph.utils import progress

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]

#: What is tested: every signed type, and the sums that people ask for.
TESTED = tuple(t.name for t in (*FFLS, *BI_FANS, *DIAMONDS))
TOTALS = {
    "feed_forward_loop": tuple(t.name for t in FFLS),
    "coherent_feed_forward_loop": tuple(t.name for t in FFLS if t.name.startswith("ffl_c")),
    "incoherent_feed_forward_loop": tuple(t.name for t in FFLS if t.name.startswith("ffl_i")),
    "bi_fan": tuple(t.name for t in BI_FANS),
    "diamond": tuple(t.name for t in DIAMONDS),
}
_SWEEPS = 60


@dataclass(frozen=True)
class Mixing:
    """How far the swaps carry.

    Attributes:
        proposed_per_edge: T over the number of edges.
        accepted_per_edge: Accepted swaps per edge, mean over the nulls.
        overlap_with_observed: Share of edges that a null graph still has in common with the observed one, mean.
        overlap_between_nulls: The same between null graphs: what is common by the degrees alone. Near it, the start is forgotten.
        autocorrelation_sweeps: Sweeps (one proposal per edge) after which the slowest count is no longer correlated with itself:
            integrated autocorrelation time; NaN if no count varies.
    """

    proposed_per_edge: float
    accepted_per_edge: float
    overlap_with_observed: float
    overlap_between_nulls: float
    autocorrelation_sweeps: float

    @property
    def mixed(self) -> bool:
        """Whether the nulls look independent of their start: overlaps differ by under 0.02, T is over twice the autocorrelation time."""
        slow = self.autocorrelation_sweeps == self.autocorrelation_sweeps and 2 * self.autocorrelation_sweeps > self.proposed_per_edge
        return abs(self.overlap_with_observed - self.overlap_between_nulls) < 0.02 and not slow


@dataclass(frozen=True, eq=False)
class NullTest:
    """Every motif against the null graphs.

    Attributes:
        table: One row per motif: ``motif``, ``count``, ``null_mean``, ``null_sd``, ``z``, ``p``, ``q``, ``meaning``; p and q are NaN where
            the number follows from the degrees (chains, fans), z where no null graph differs.
        nulls: Count of each motif of ``table`` that was tested, in each null graph: columns are motifs.
        mixing: How far the swaps carry.
        n_nulls: Null graphs.
        seed: Seed of all of them.
        census: The observed counts with their spans.
    """

    table: pd.DataFrame
    nulls: pd.DataFrame
    mixing: Mixing
    n_nulls: int
    seed: int
    census: Census


def null_test(
    graph: nx.DiGraph | SignedGraph, n_nulls: int = 500, seed: int = 42, *, swaps_per_edge: float = 20.0, workers: int | None = None
) -> NullTest:
    """Count every signed motif and compare it with null graphs; edges that take from a copy have no sign, and are left out.

    500 nulls of 10,000 edges take seconds, of 200,000 edges some minutes on two cores; it cannot be resumed. Of 22 tests, one alone can
    reach q < 0.05 with 439 nulls and more; the log says so where there are fewer.

    Args:
        graph: Nodes with layers, edges with strengths.
        n_nulls: Null graphs; the smallest p is 1 / (n_nulls + 1).
        seed: Seed.
        swaps_per_edge: Proposed swaps per edge, for each null graph.
        workers: Threads; as many as the machine has if not given. The result is the same.

    Raises:
        MotifError: If a number makes no sense, the graph has a cycle, or its nodes have no layers.
    """
    if n_nulls < 19 or not swaps_per_edge > 0:
        raise MotifError(f"got {n_nulls} nulls and {swaps_per_edge:g} swaps per edge; expected 19 or more (p of 0.05) and more than 0")
    if len(TESTED) + len(TOTALS) > 0.05 * (n_nulls + 1):
        logger.info("with %d null graphs one motif alone cannot reach q < 0.05; several together can", n_nulls)
    g = SignedGraph.of(graph).decided
    edges = SwapGraph.of(g)
    observed = census(g)
    attempts = max(1, round(swaps_per_edge * g.n_edges))
    seeds = np.random.SeedSequence(seed).generate_state(n_nulls + 2).tolist()
    hub = swap(edges, edges.targets, attempts, seeds[0]).targets
    drawn = list(_drawn(edges, hub, attempts, seeds[2:], workers))
    nulls = pd.DataFrame([d.counts for d in drawn], columns=list(TESTED))
    for name, parts in TOTALS.items():
        nulls[name] = nulls[list(parts)].sum(axis=1)
    mixing = Mixing(
        proposed_per_edge=attempts / max(g.n_edges, 1),
        accepted_per_edge=float(np.mean([d.accepted for d in drawn])) / max(g.n_edges, 1),
        overlap_with_observed=float(np.mean([d.overlap_observed for d in drawn])),
        overlap_between_nulls=float(np.mean([d.overlap_hub for d in drawn])),
        autocorrelation_sweeps=_autocorrelation(edges, hub, seeds[1]),
    )
    return NullTest(_table(observed, nulls), nulls, mixing, n_nulls, seed, observed)


@dataclass(frozen=True)
class _Drawn:
    counts: list[int]
    accepted: int
    overlap_observed: float
    overlap_hub: float


def _drawn(edges: SwapGraph, hub: Ints, attempts: int, seeds: list[int], workers: int | None) -> Iterator[_Drawn]:
    """The null graphs' counts, in the order of the seeds."""
    observed = np.sort(_keys(edges, edges.targets))
    start = np.sort(_keys(edges, hub))

    def one(seed: int) -> _Drawn:
        found = swap(edges, hub, attempts, seed)
        keys = np.sort(_keys(edges, found.targets))
        overlaps = (float(_common(keys, other)) / max(len(keys), 1) for other in (observed, start))
        return _Drawn(_counts(edges, found.targets), found.accepted, *overlaps)

    with ThreadPoolExecutor(workers) as pool:
        yield from progress(pool.map(one, seeds), "drawing null graphs", len(seeds))


def _keys(edges: SwapGraph, targets: Ints) -> Ints:
    return (edges.sources * edges.n_nodes + targets) * 2 + edges.negative


def _common(a: Ints, b: Ints) -> int:
    """How many values two sorted arrays of distinct values share."""
    return len(np.intersect1d(a, b, assume_unique=True))


def _counts(edges: SwapGraph, targets: Ints) -> list[int]:
    """Counts of :data:`TESTED`."""
    starts, ends, negative, _ = kernels.by_source(edges.sources, targets, edges.negative, edges.n_nodes)
    _, loops, diamonds = kernels.triads(starts, ends, negative, np.zeros(len(ends), np.int64), 1)
    fans = count_bi_fans(edges.sources, targets, edges.negative, edges.n_nodes)
    return [*loops[0, 0].tolist(), *fans.tolist(), *diamonds.tolist()]


def _autocorrelation(edges: SwapGraph, hub: Ints, seed: int) -> float:
    """Integrated autocorrelation time of the slowest count, in sweeps, over one chain (Sokal's window of five times itself)."""
    at, rows = hub, []
    for step in np.random.SeedSequence(seed).generate_state(_SWEEPS).tolist():
        at = swap(edges, at, edges.n_edges, step).targets
        rows.append(_counts(edges, at))
    series = np.array(rows, dtype=np.float64)
    times = [_integrated(x) for x in series.T if x.std() > 0]
    return max(times, default=float("nan"))


def _integrated(x: Floats) -> float:
    centred = x - x.mean()
    correlation = np.correlate(centred, centred, "full")[len(x) - 1 :] / (centred @ centred)
    time = 1.0
    for lag in range(1, len(x)):
        if lag > 5 * time:
            break
        time += 2 * float(correlation[lag])
    return max(time, 1.0)


def _table(observed: Census, nulls: pd.DataFrame) -> pd.DataFrame:
    meaning = {t.name: t.meaning for t in TYPES} | dict.fromkeys(TOTALS, "all of them")
    counts = observed.counts | {name: sum(observed.counts[p] for p in parts) for name, parts in TOTALS.items()}
    rows = [_row(name, counts[name], nulls[name].to_numpy(np.int64)) for name in nulls.columns]
    rows += [_fixed(t.name, counts[t.name]) for t in TYPES if t.fixed]
    table = pd.DataFrame(rows)
    tested = table["p"].notna()
    table["q"] = np.nan
    table.loc[tested, "q"] = stats.adjust(table.loc[tested, "p"].to_numpy(), "fdr_bh")
    table["meaning"] = table["motif"].map(meaning)
    return table[["motif", "count", "null_mean", "null_sd", "z", "p", "q", "meaning"]]


def _row(name: str, count: int, null: Ints) -> dict[str, object]:
    mean, sd = float(null.mean()), float(null.std(ddof=1))
    z = (count - mean) / sd if sd > 0 else float("nan")
    return {"motif": name, "count": count, "null_mean": mean, "null_sd": sd, "z": z, "p": two_sided_p(count, null)}


def _fixed(name: str, count: int) -> dict[str, object]:
    nan = float("nan")
    return {"motif": name, "count": count, "null_mean": float(count), "null_sd": 0.0, "z": nan, "p": nan}


def two_sided_p(count: int, null: Ints) -> float:
    """(1 + nulls at least as far from the mean over all n + 1 as the observed count) / (n + 1); whole numbers, so ties are exact."""
    n = len(null) + 1
    total = int(count) + int(null.sum())
    far = np.abs(null.astype(object) * n - total) >= abs(int(count) * n - total)
    return (1 + int(far.sum())) / n
