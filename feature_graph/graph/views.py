"""Views of a graph: which edges are structural, what an edge's strength stands for, and the scale of the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, get_args

import networkx as nx
import numpy as np

from feature_graph.graph.errors import InteractionGraphError
from ingest.strength import takes_from_copy as takes

#: What an edge may weigh; ``strength`` is what the edge stands for.
Effect = Literal["strength", "total", "direct", "later", "computed", "specific", "copy"]
#: Fact of a graph whose edges state another effect than their own: which one.
STATED = "effect"


def structural(graph: nx.DiGraph) -> nx.DiGraph:
    """A copy with all nodes and only the structural edges: no analysed site lies in between, or a direct effect is itself significant.

    ``strength``, ``weight`` and ``sign`` stand for the direct effect (equal to the total one without a site in between), except on an edge
    that passed by its later effect alone. A total effect over sites in between is partly the product of the edges there; hubs, communities,
    motifs and cascades on all totals would count the same influence twice. The edges of a graph that was :func:`restated` keep what they
    state.
    """
    edges = []
    for u, v, d in graph.edges(data=True):
        if is_structural(d):
            direct = float(d.get("direct", np.nan))
            as_it_is = STATED in graph.graph or d.get("by") == "later" or direct != direct
            edges.append((u, v, d if as_it_is else _stating(d, direct, "direct")))
    return _copy_edges(graph, edges)


def default_effect(graph: nx.DiGraph) -> Effect:
    """What edges weigh where nothing is asked for: ``specific`` if specificity was measured, else ``strength``.

    The edges of a graph that was :func:`restated` have their strength from there.
    """
    measured = STATED not in graph.graph and any(np.isfinite(d.get("specific", np.nan)) for *_, d in graph.edges(data=True))
    return "specific" if measured else "strength"


def restated(graph: nx.DiGraph, effect: Effect) -> nx.DiGraph:
    """A copy in which ``strength``, ``weight`` and ``sign`` stand for another measured effect of the same edges.

    Edges for which that effect is not known, is 0 or is smaller than the smallest that counts (their floor) are left out.
    ``restated(G, "computed")`` therefore asks about what the blocks compute, without what the residual stream only carries along;
    ``restated(G, "specific")`` also without what they would compute from any direction. ``restated(G, "strength")`` keeps all edges as they
    are. ``G.graph["effect"]`` of the copy names the effect, and what ranks by |specific| otherwise then ranks by it. ``sign`` is 0 where an
    edge takes from a copy by that effect (:func:`takes_from_copy`).

    Raises:
        InteractionGraphError: If ``effect`` is none of :data:`Effect`, or was measured for no edge.
    """
    if effect not in get_args(Effect):
        raise InteractionGraphError(f"effect: got {effect!r}, expected one of {', '.join(get_args(Effect))}")
    if effect == "specific" and graph.size() and not any(np.isfinite(d.get(effect, np.nan)) for *_, d in graph.edges(data=True)):
        raise InteractionGraphError(
            "effect: got 'specific', which this run did not measure; run it with specificity_directions above 0 and targets: candidates, "
            "or choose another effect"
        )
    edges = []
    for u, v, d in graph.edges(data=True):
        value = float(d.get(effect, np.nan))
        if effect == "strength":
            edges.append((u, v, d))
        elif np.isfinite(value) and abs(value) >= _floor(d) and value:
            edges.append((u, v, _stating(d, value, effect)))
    made = _copy_edges(graph, edges)
    made.graph[STATED] = effect
    return made


def scale(graph: nx.DiGraph) -> float:
    """Largest |direct| over the edges, so that the cost −ln(|direct| / scale) of a path is never negative; 1.0 without edges."""
    direct = (abs(float(d.get("direct", np.nan))) for _, _, d in graph.edges(data=True))
    return max((x for x in direct if x == x), default=0.0) or 1.0


def edge_strength(data: Mapping[str, Any]) -> float:
    """Signed strength of one edge: ``strength``, else ``weight``, else 1 (graphs made elsewhere)."""
    return float(data.get("strength", data.get("weight", 1.0)))


def interval(data: Mapping[str, Any]) -> tuple[float, float] | None:
    """The 95 % interval of the edge's ``strength``; None where that is not the total effect, whose interval is measured.

    A direct effect without a site in between is the total one.
    """
    strength = edge_strength(data)
    known = "ci_low" in data and data.get("kind") != "later" and strength == data.get("total", strength)
    return (float(data["ci_low"]), float(data["ci_high"])) if known else None


def takes_from_copy(data: Mapping[str, Any]) -> bool:
    """Whether an edge, by the effect that it states, takes from a copy and so neither excites nor inhibits.

    The rule is :func:`ingest.strength.takes_from_copy`; an edge without a ``type`` (graphs made elsewhere) does not.
    """
    return takes(edge_strength(data), str(data.get("type", "")), str(data.get("kind", "")))


def acts(data: Mapping[str, Any]) -> int:
    """1 for an edge that excites, −1 for one that inhibits, 0 for one that takes from a copy or has a strength of 0."""
    return 0 if takes_from_copy(data) else int(np.sign(edge_strength(data)))


def standardised(data: Mapping[str, Any]) -> float:
    """What the edge's ``strength`` comes to in standard deviations of the target, for the whole clamp of the source.

    Strengths of different edges are in different units (of their target, a unit of their source); these can be compared. NaN where it was
    not measured.
    """
    whole, total = (float(data.get(name, np.nan)) for name in ("standardised", "total"))
    if total == 0 or not np.isfinite(whole) or not np.isfinite(total):
        return float("nan")
    return whole * edge_strength(data) / total


def largest_first(data: Mapping[str, Any]) -> tuple[float, float]:
    """Key that sorts edges by |standardised effect|, those without one after them, by |strength|."""
    size = abs(standardised(data))
    return (-size if size == size else 1.0), -abs(edge_strength(data))


def structural_degrees(graph: nx.DiGraph) -> dict[Any, tuple[int, int]]:
    """Feature → (causes, effects), counted over structural edges: what "degree", "drives" and "driven by" mean on pages and in tables."""
    causes, effects = Counter[Any](), Counter[Any]()
    for u, v, d in graph.edges(data=True):
        if is_structural(d):
            causes[v] += 1
            effects[u] += 1
    return {node: (causes[node], effects[node]) for node in graph}


def is_structural(data: Mapping[str, Any]) -> bool:
    """Whether no analysed site lies between an edge's ends, or it has a direct effect that is itself significant."""
    return bool(data.get("structural", data.get("span", 1) <= 1))


def _floor(data: Mapping[str, Any]) -> float:
    """Smallest effect of an edge that counts, as :func:`ingest.strength.smallest` has it for the graph in Neo4j; 0 where not known."""
    known = (float(data.get(name, np.nan)) for name in ("floor_computed", "floor"))
    return next((floor for floor in known if floor == floor), 0.0)


def _stating(data: Mapping[str, Any], value: float, effect: str) -> dict[str, Any]:
    stated = dict(data) | {"strength": value, "weight": abs(value), "kind": effect}
    return stated | {"sign": acts(stated)}


def _copy_edges(graph: nx.DiGraph, edges: list[tuple[Any, Any, dict[str, Any]]]) -> nx.DiGraph:
    copy: nx.DiGraph = nx.DiGraph(**graph.graph)
    copy.add_nodes_from((n, dict(d)) for n, d in graph.nodes(data=True))
    copy.add_edges_from((u, v, dict(d)) for u, v, d in edges)
    return copy
