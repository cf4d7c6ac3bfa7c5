"""The subgraphs that match a pattern, those whose weakest edge is strongest first, in process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from feature_graph.motifs.arrays import SignedGraph
from feature_graph.motifs.pattern import Pattern, parse_pattern
from feature_graph.motifs.product import allowed

_FIRST_EDGES, _MOST = 256, 100_000


@dataclass(frozen=True)
class Match:
    """One subgraph.

    Attributes:
        features: Names of the nodes, in the order of the pattern's letters.
        strengths: Strength of the edges that are there, in the order of ``pattern.present``.
        weakest: Magnitude of the weakest of them.
    """

    features: tuple[Any, ...]
    strengths: tuple[float, ...]
    weakest: float


def find_pattern(graph: nx.DiGraph | SignedGraph, pattern: Pattern | str, limit: int = 20) -> list[Match]:
    """The ``limit`` matches whose weakest edge is strongest; each subgraph once.

    A match with a weakest edge of at least t lies in the graph of the edges of at least t, so the strongest edges are searched first, then
    twice as many, until there are enough.

    Raises:
        PatternError: If the text is not a pattern.
        MotifError: As :func:`count_pattern`.
    """
    wanted = parse_pattern(pattern) if isinstance(pattern, str) else pattern
    g = SignedGraph.of(graph)
    order = np.argsort(-np.abs(g.strengths), kind="stable")
    few, many, k = 0, None, min(_FIRST_EDGES, g.n_edges)
    while True:
        found = list(islice(_matches(g, wanted, order[:k]), _MOST)) if limit > 0 else []
        full = len(found) == _MOST
        if not full and len(found) < limit and k < g.n_edges:
            few, k = k, min(2 * k, g.n_edges) if many is None else (k + many) // 2
        elif full and limit < _MOST and (few + k) // 2 > few:
            many, k = k, (few + k) // 2
        else:
            break
        if k in (few, many):
            break
    found.sort(key=lambda match: (-match.weakest, [str(f) for f in match.features]))
    return found[:limit]


def _matches(g: SignedGraph, pattern: Pattern, edges: NDArray[np.int64]) -> Iterator[Match]:
    """All matches within some of the edges; edges that must be absent are looked for in the whole graph."""
    keep = np.zeros(g.n_edges, dtype=bool)
    keep[edges] = True
    steps = _plan(pattern)
    joined = [_Joined.of(g, allowed(g, pattern, e) & keep) for e in pattern.present]
    forbidden = [(e.source, e.target, _pairs(g, allowed(g, pattern, e))) for e in pattern.absent]
    place: dict[int, int] = {}

    def extend(depth: int) -> Iterator[Match]:
        if depth == len(steps):
            if all((place[a], place[b]) not in pairs for a, b, pairs in forbidden):
                strengths = tuple(
                    float(g.strengths[j.edge[place[e.source], place[e.target]]]) for e, j in zip(pattern.present, joined, strict=True)
                )
                names = tuple(g.nodes[place[i]] for i in range(len(pattern.nodes)))
                yield Match(names, strengths, min(map(abs, strengths)))
            return
        letter, links = steps[depth]
        for node in _candidates(joined, links, place):
            if node not in place.values() and _ordered(pattern, letter, node, place):
                place[letter] = node
                yield from extend(depth + 1)
                del place[letter]

    first = pattern.present[0].source
    for node in sorted(joined[next(i for i, e in enumerate(pattern.present) if e.source == first)].after):
        if _ordered(pattern, first, node, {}):
            place[first] = node
            yield from extend(1)
            del place[first]


@dataclass(frozen=True)
class _Joined:
    """The edges of the graph that one edge of the pattern may be: by source, by target, and their numbers."""

    after: dict[int, set[int]]
    before: dict[int, set[int]]
    edge: dict[tuple[int, int], int]

    @classmethod
    def of(cls, g: SignedGraph, keep: NDArray[np.bool_]) -> _Joined:
        after: dict[int, set[int]] = {}
        before: dict[int, set[int]] = {}
        edge = {}
        for e in np.flatnonzero(keep).tolist():
            a, b = int(g.sources[e]), int(g.targets[e])
            after.setdefault(a, set()).add(b)
            before.setdefault(b, set()).add(a)
            edge[a, b] = e
        return cls(after, before, edge)


def _plan(pattern: Pattern) -> list[tuple[int, list[tuple[int, int, bool]]]]:
    """Letters in an order in which each is joined to an earlier one, with its links to those: (edge, other letter, other is the source)."""
    order = [pattern.present[0].source]
    steps: list[tuple[int, list[tuple[int, int, bool]]]] = [(order[0], [])]
    while len(order) < len(pattern.nodes):
        found: dict[int, list[tuple[int, int, bool]]] = {}
        for i, e in enumerate(pattern.present):
            for letter, other, forward in ((e.target, e.source, True), (e.source, e.target, False)):
                if letter not in order and other in order:
                    found.setdefault(letter, []).append((i, other, forward))
        letter = max(found, key=lambda x: (len(found[x]), -x))
        order.append(letter)
        steps.append((letter, found[letter]))
    return steps


def _candidates(joined: list[_Joined], links: list[tuple[int, int, bool]], place: dict[int, int]) -> list[int]:
    sets = [(joined[i].after if forward else joined[i].before).get(place[other], set()) for i, other, forward in links]
    return sorted(set.intersection(*sets))


def _ordered(pattern: Pattern, letter: int, node: int, place: dict[int, int]) -> bool:
    """Whether the order that finds each subgraph once still holds."""
    for low, high in pattern.ordered_pairs:
        if letter == low and high in place and node >= place[high]:
            return False
        if letter == high and low in place and node <= place[low]:
            return False
    return True


def _pairs(g: SignedGraph, keep: NDArray[np.bool_]) -> set[tuple[int, int]]:
    return set(zip(g.sources[keep].tolist(), g.targets[keep].tolist(), strict=True))
