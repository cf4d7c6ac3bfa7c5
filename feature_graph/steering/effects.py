"""The direct effects of a graph as sparse arrays: what cascades multiply, and how certain each is."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import networkx as nx
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from feature_graph.graph import PassedSites
from feature_graph.steering.errors import SteeringError

logger = logging.getLogger(__name__)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


#: Relative difference of two effects that are measured apart and are the same; a hundredth of it where they are next to nothing.
_ROUNDING = 1e-4


@dataclass(frozen=True, eq=False)
class DirectEffects:
    """Structural edges at the same position, sorted by (source, target); without cycles.

    Attributes:
        nodes: Names.
        labels: Label of each node, "" where there is none.
        starts: First edge of each source, and m [n + 1].
        targets: Number of each edge's target [m].
        direct: Direct strength, target units per source unit [m].
        se: Its standard error; NaN if not known [m]. The error that a run records is the total effect's. Without a site in between the two
            effects are the same; on a longer edge it stands for the direct effect's, which is not recorded.
        freedom: Degrees of freedom of that error (documents − 1); infinite where not known [m].
        total_ends: Source and target of the edges that have sites in between [2, k], sorted by source.
        totals: Measured total strength of those [k].
        passed: Whether paths may lead through a feature (:class:`feature_graph.graph.PassedSites`); any may be their first or last [n].
    """

    nodes: list[str]
    labels: list[str]
    starts: Ints
    targets: Ints
    direct: Floats
    se: Floats
    freedom: Floats
    total_ends: Ints
    totals: Floats
    passed: Bools

    @classmethod
    def of(cls, graph: nx.DiGraph, start: str | None = None) -> DirectEffects:
        """From a graph; with ``start`` only what lies downstream of it.

        Make it once to ask a large graph many times. An edge of a graph made elsewhere that carries no direct strength counts with its
        total, and the log says so.

        Raises:
            SteeringError: If an edge has no strength, or the edges close a cycle.
        """
        rows, totals, without, sites = [], [], 0, PassedSites.of(graph)
        for u, v, data in graph.edges(data=True) if start is None else _downstream(graph, start, sites):
            if _crosses(data) and data.get("kind") != "later":
                totals.append((u, v, data.get("total", data.get("strength", math.nan))))
            if data.get("structural", True) and data.get("kind") != "later":
                direct, given = _direct(u, v, data)
                without += not given
                rows.append((u, v, direct, data.get("se", math.nan), data.get("n_documents", 0)))
        if without:
            logger.warning("%d of %d edges carry no direct strength; their total is used, which may count paths twice", without, len(rows))
        names = list(graph) if start is None else list(dict.fromkeys([start, *(x for r in rows for x in r[:2]), *(t[1] for t in totals)]))
        number = {name: i for i, name in enumerate(names)}
        labels = [str(graph.nodes[name].get("label") or "") for name in names]
        ends = np.array([(number[r[0]], number[r[1]]) for r in rows], dtype=np.int64).reshape(-1, 2)
        values = np.array([r[2:5] for r in rows], dtype=np.float64).reshape(-1, 3)
        far = np.array([(number[t[0]], number[t[1]], t[2]) for t in totals], dtype=np.float64).reshape(-1, 3)
        passed = np.array([sites.has(name) for name in names], dtype=bool)
        return cls.from_arrays(names, ends[:, 0], ends[:, 1], values[:, 0], values[:, 1], values[:, 2] - 1, labels, far, passed)

    @classmethod
    def from_arrays(
        cls,
        nodes: list[str],
        sources: Ints,
        targets: Ints,
        direct: Floats,
        se: Floats | None = None,
        freedom: Floats | None = None,
        labels: list[str] | None = None,
        totals: Floats | None = None,
        passed: Bools | None = None,
    ) -> DirectEffects:
        """From numbered edges [m]; ``totals`` is [k, 3]: source, target, total strength. Without ``passed`` [n], every feature is passed.

        Raises:
            SteeringError: If the edges close a cycle.
        """
        n, m = len(nodes), len(sources)
        order = np.lexsort((targets, sources))
        s, t = sources[order], targets[order]
        matrix = sp.csr_array((np.ones(m, np.int8), (s, t)), shape=(n, n))
        if bool((s == t).any()) or (n and connected_components(matrix, connection="strong", return_labels=False) < n):
            raise SteeringError("the edges close a cycle; expected a graph whose edges go to later layers only")
        error = np.full(m, np.nan) if se is None else se[order]
        degrees = np.full(m, np.inf) if freedom is None else np.where(freedom[order] >= 1, freedom[order], np.inf)
        far = np.zeros((0, 3)) if totals is None else totals[np.argsort(totals[:, 0], kind="stable")]
        starts = np.searchsorted(s, np.arange(n + 1)).astype(np.int64)
        through = np.ones(n, dtype=bool) if passed is None else passed
        return cls(nodes, labels or [""] * n, starts, t, direct[order], error, degrees, far[:, :2].T.astype(np.int64), far[:, 2], through)

    @cached_property
    def number(self) -> dict[str, int]:
        """Name → number."""
        return {name: i for i, name in enumerate(self.nodes)}

    def at_least(self, min_strength: float) -> DirectEffects:
        """Only the edges of at least this magnitude; measured totals stay."""
        if min_strength <= 0:
            return self
        keep = np.abs(self.direct) >= min_strength
        starts = np.concatenate([[0], np.cumsum(keep)])[self.starts].astype(np.int64)
        kept = {name: getattr(self, name)[keep] for name in ("targets", "direct", "se", "freedom")}
        return replace(self, starts=starts, **kept)

    def measured(self, source: int) -> dict[str, float]:
        """Measured totals of one feature over sites in between: target → strength."""
        low, high = np.searchsorted(self.total_ends[0], [source, source + 1])
        pairs = zip(self.total_ends[1, low:high].tolist(), self.totals[low:high].tolist(), strict=True)
        return {self.nodes[v]: total for v, total in pairs if not math.isnan(total)}


def _crosses(data: dict[str, Any]) -> bool:
    """Whether an edge's total effect holds more than its direct one: it leads over a layer, or what lies in between was held."""
    total, direct = (math.nan if data.get(name) is None else float(data[name]) for name in ("total", "direct"))
    known = not math.isnan(total - direct)
    return data.get("span", 1) > 1 or (known and not math.isclose(total, direct, rel_tol=_ROUNDING, abs_tol=_ROUNDING / 100))


def _direct(u: Any, v: Any, data: dict[str, Any]) -> tuple[float, bool]:
    """Direct strength of an edge, and whether it is that."""
    value = data.get("direct")
    if value is not None and not math.isnan(value):
        return float(value), True
    value = data.get("strength")
    if value is None or math.isnan(value):
        raise SteeringError(f"edge {u} → {v} has neither a direct nor a total strength (attributes `direct`, `strength`)")
    return float(value), False


def _downstream(graph: nx.DiGraph, start: str, passed: PassedSites) -> Iterator[tuple[Any, Any, dict[str, Any]]]:
    """Edges that leave a feature and what a cascade leads through from it, each once."""
    seen, front = {start}, [start]
    while front:
        after = []
        for u in front:
            for v, data in graph.adj[u].items():
                yield u, v, data
                if v not in seen and data.get("structural", True) and data.get("kind") != "later":
                    seen.add(v)
                    after += [v] if passed.has(v) else []
        front = after
