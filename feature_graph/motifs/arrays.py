"""A signed graph as arrays: what counting, null models and pattern search work on."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import networkx as nx
import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.csgraph import connected_components

from feature_graph.artifacts import site_sequence
from ingest.strength import takes_from_copy

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class MotifError(ValueError):
    """Motifs that cannot be counted as asked; the message says what was got and what is expected."""

    exit_code: ClassVar[int] = 1


@dataclass(frozen=True, eq=False)
class SignedGraph:
    """A directed graph without cycles or parallel edges, sorted by (source, target).

    Attributes:
        nodes: Name of each node.
        layers: Layer of each node [n]; None if a node has none.
        sources: Number of each edge's source [m].
        targets: Number of each edge's target [m].
        strengths: Signed strength of each edge [m]; a strength of 0 counts as exciting.
        spans: Analysed layers that each edge crosses [m]; 0 within a layer.
        sites: Place of each node's site in the order of the model [n]; None if a node has no layer.
        from_copy: Whether each edge takes from a copy, and so neither excites nor inhibits [m].
    """

    nodes: Sequence[Hashable]
    layers: Ints | None
    sources: Ints
    targets: Ints
    strengths: Floats
    spans: Ints
    sites: Ints | None
    from_copy: NDArray[np.bool_]

    @classmethod
    def of(cls, graph: nx.DiGraph | SignedGraph) -> SignedGraph:
        """From a networkx graph: ``layer`` of nodes; ``strength`` (else ``weight``, else 1), ``type``, ``kind`` and ``span`` of edges.

        Raises:
            MotifError: If the graph has a cycle.
        """
        if isinstance(graph, SignedGraph):
            return graph
        number = {node: i for i, node in enumerate(graph)}
        m = graph.number_of_edges()
        ends = np.fromiter((number[x] for edge in graph.edges for x in edge), dtype=np.int64, count=2 * m).reshape(m, 2)
        data = [d for _, _, d in graph.edges(data=True)]
        strengths = [d.get("strength", d.get("weight", 1.0)) for d in data]
        layers = [d.get("layer") for _, d in graph.nodes(data=True)]
        known = None if any(x is None for x in layers) else layers
        spans = [d.get("span", -1) for d in data]
        taking = [takes_from_copy(s, d.get("type", ""), d.get("kind", "")) for s, d in zip(strengths, data, strict=True)]
        place = site_sequence(graph).place
        return cls.from_arrays(ends[:, 0], ends[:, 1], strengths, known, list(graph), spans, [place[node] for node in graph], taking)

    @classmethod
    def from_arrays(
        cls,
        sources: ArrayLike,
        targets: ArrayLike,
        strengths: ArrayLike,
        layers: Sequence[Any] | Ints | None,
        nodes: Sequence[Hashable] | int,
        spans: ArrayLike | None = None,
        sites: Sequence[Any] | Ints | None = None,
        from_copy: ArrayLike | None = None,
    ) -> SignedGraph:
        """From numbered edges.

        Args:
            sources: int [m].
            targets: int [m].
            strengths: float [m].
            layers: int [n], or None.
            nodes: Names of the nodes, or how many there are.
            spans: int [m]; where negative (or not given) the distance between the layers in the order of those that occur.
            sites: int [n], places of the nodes' sites; not given, each layer is one. Counts for nothing where there are no layers.
            from_copy: bool [m]; not given, no edge takes from a copy.

        Raises:
            MotifError: If the graph has a cycle or parallel edges.
        """
        names = range(nodes) if isinstance(nodes, int) else nodes
        s, t = np.asarray(sources, dtype=np.int64), np.asarray(targets, dtype=np.int64)
        order = np.lexsort((t, s))
        s, t = s[order], t[order]
        if len(s) > 1 and bool(((s[1:] == s[:-1]) & (t[1:] == t[:-1])).any()):
            raise MotifError("motifs: got two edges from one feature to another; expected one an ordered pair (choose one method)")
        level = None if layers is None else np.asarray(layers, dtype=np.int64)
        _check_forward(s, t, level, len(names))
        given = np.full(len(s), -1) if spans is None else np.asarray(spans, dtype=np.int64)[order]
        place = level if level is None or sites is None else np.asarray(sites, dtype=np.int64)
        taking = np.zeros(len(s), dtype=bool) if from_copy is None else np.asarray(from_copy, dtype=bool)[order]
        return cls(names, level, s, t, np.asarray(strengths, dtype=np.float64)[order], _spans(s, t, level, given), place, taking)

    @property
    def n_nodes(self) -> int:
        """Nodes."""
        return len(self.nodes)

    @property
    def n_edges(self) -> int:
        """Edges."""
        return len(self.sources)

    @cached_property
    def negative(self) -> NDArray[np.uint8]:
        """1 for an inhibiting edge, else 0 [m]."""
        return ((self.strengths < 0) & ~self.from_copy).astype(np.uint8)

    @cached_property
    def decided(self) -> SignedGraph:
        """The same nodes with the edges that excite or inhibit: without those that take from a copy."""
        return self.only(~self.from_copy) if self.from_copy.any() else self

    @cached_property
    def adjacency(self) -> sp.csr_array:
        """Ones, int64 [n, n]; rows are sources."""
        return self.matrix(np.ones(self.n_edges, np.int64))

    @cached_property
    def signed(self) -> sp.csr_array:
        """Signs ±1, and 0 for what takes from a copy, int64 [n, n]."""
        return self.matrix(np.where(self.from_copy, 0, 1 - 2 * self.negative.astype(np.int64)))

    def matrix(self, values: NDArray[Any]) -> sp.csr_array:
        """Values of the edges as a sparse matrix [n, n]."""
        return sp.csr_array((values, self.targets, self.starts), shape=(self.n_nodes, self.n_nodes))

    @cached_property
    def starts(self) -> Ints:
        """Number of the first edge of each source, and m [n + 1]."""
        return np.searchsorted(self.sources, np.arange(self.n_nodes + 1)).astype(np.int64)

    def only(self, keep: NDArray[np.bool_]) -> SignedGraph:
        """The same nodes with some of the edges [m]."""
        edges = self.sources[keep], self.targets[keep], self.strengths[keep], self.spans[keep]
        return SignedGraph(self.nodes, self.layers, *edges, self.sites, self.from_copy[keep])


def _check_forward(sources: Ints, targets: Ints, layers: Ints | None, n: int) -> None:
    """Refuse cycles: edges that all go to a later layer have none, otherwise every strong component has to be one node."""
    if layers is not None and bool((layers[sources] < layers[targets]).all()):
        return
    matrix = sp.csr_array((np.ones(len(sources), np.int8), (sources, targets)), shape=(n, n))
    if bool((sources == targets).any()) or (n and connected_components(matrix, connection="strong", return_labels=False) < n):
        raise MotifError("motifs: got a graph with a cycle; edges of an interaction graph go to later sites only")


def _spans(sources: Ints, targets: Ints, layers: Ints | None, given: Ints) -> Ints:
    if layers is None:
        return np.where(given >= 0, given, 1)
    place = np.searchsorted(np.unique(layers), layers)
    return np.where(given >= 0, given, np.maximum(place[targets] - place[sources], 0))
