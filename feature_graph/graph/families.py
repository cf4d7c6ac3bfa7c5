"""Copy families of a graph (:mod:`ingest.families` has the rule), and the graph in which each counts as one feature."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import Any, Literal, get_args

import networkx as nx
import pandas as pd

from feature_graph.graph.errors import InteractionGraphError
from feature_graph.graph.views import Effect, edge_strength, restated
from ingest.families import FAMILY_COLUMNS, CopyFamily, families_of

#: What can be drawn or counted as one feature.
Collapse = Literal["families"]


def copy_families(edges: nx.DiGraph | pd.DataFrame) -> list[CopyFamily]:
    """Families of features that are copies of one another, one member a site, longest life first.

    A copy is an edge with copy / total above 0.5 and a total effect above 0.25 target units per source unit. Of a feature's copies to the
    nearest later site that has any, the one with the largest copy is its successor; two features belong together where each is the
    other's choice.

    Args:
        edges: Interaction graph, or the table of an InteractionSet with the edges of one method.

    Raises:
        InteractionGraphError: If the table holds edges of several methods.

    Example::

        [CopyFamily(id='L3_F12', members=('L3_F12', 'L7_F80', 'L11_F5'), first_layer=3, last_layer=11, copy_share=0.91), …]
    """
    if isinstance(edges, nx.DiGraph):
        return families_of(_table(edges))
    kept = edges[edges["significant"].astype(bool)]
    methods = sorted(kept["method"].unique())
    if len(methods) > 1:
        raise InteractionGraphError(f"edges: got those of {', '.join(methods)}; expected one method: choose by the column method")
    return families_of(kept[list(FAMILY_COLUMNS)])


def _table(graph: nx.DiGraph) -> pd.DataFrame:
    layer = {node: data.get("layer", 0) for node, data in graph.nodes(data=True)}
    rows = [(u, v, layer[u], layer[v], d.get("span", 1), d.get("total", nan), d.get("copy", nan)) for u, v, d in graph.edges(data=True)]
    return pd.DataFrame(rows, columns=list(FAMILY_COLUMNS))


def collapsed(graph: nx.DiGraph, families: Sequence[CopyFamily] | None = None) -> nx.DiGraph:
    """A copy in which each copy family is one node, so that what a feature's copies do is counted once.

    The node has the id and attributes of the first member, ``members`` (their ids, with spaces between) and ``last_layer``. Of the edges
    between two nodes the one with the largest |strength| stays; those inside a family are gone. An edge may lead to a node of an earlier
    layer, since a family lives on, so the result may have cycles: ask it for hubs, communities and pictures, not for paths.

    Args:
        graph: Interaction graph.
        families: The families, whose members are all in the graph; default: :func:`copy_families` of the graph.
    """
    found = copy_families(graph) if families is None else families
    stands_for = {member: family.id for family in found for member in family.members}
    made: nx.DiGraph = nx.DiGraph(**graph.graph)
    made.add_nodes_from((node, dict(data)) for node, data in graph.nodes(data=True) if stands_for.get(node, node) == node)
    for family in found:
        made.nodes[family.id].update(members=" ".join(family.members), last_layer=family.last_layer)
    for u, v, data in graph.edges(data=True):
        source, target = stands_for.get(u, u), stands_for.get(v, v)
        if source != target and abs(edge_strength(data)) > _strength_of(made, source, target):
            made.add_edge(source, target, **data)
    return made


def as_asked(graph: nx.DiGraph, effect: Effect | None = None, collapse: Collapse | None = None) -> nx.DiGraph:
    """The graph by one of its effects (:func:`feature_graph.graph.restated`), and with copy families as one node each.

    Args:
        graph: Interaction graph; as it is if neither is given.
        effect: What the strength of an edge is.
        collapse: ``"families"``: each copy family counts as one.

    Raises:
        InteractionGraphError: If one of them is unknown, or the effect was not measured.
    """
    if collapse not in (None, *get_args(Collapse)):
        raise InteractionGraphError(f"collapse: got {collapse!r}, expected None or {', '.join(get_args(Collapse))}")
    stated = graph if effect is None else restated(graph, effect)
    return stated if collapse is None else collapsed(stated, copy_families(graph))


def _strength_of(graph: nx.DiGraph, source: Any, target: Any) -> float:
    """|strength| of an edge; -1 where there is none."""
    return abs(edge_strength(graph.edges[source, target])) if graph.has_edge(source, target) else -1.0
