"""Copy families of a graph (:mod:`ingest.families` has the rule), and the graph in which each counts as one feature."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from typing import Any

import networkx as nx
import pandas as pd

from feature_graph.artifacts import site_sequence
from feature_graph.graph.errors import InteractionGraphError
from feature_graph.graph.views import edge_strength
from ingest.families import FAMILY_COLUMNS, CopyFamily, families_of

#: Fact of a graph in which families are collapsed already.
COLLAPSED = "collapsed"


def copy_families(edges: nx.DiGraph | pd.DataFrame) -> list[CopyFamily]:
    """Families of features that are copies of one another, one member per site, those that span the most layers first.

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


def name_families(graph: nx.DiGraph) -> None:
    """Let every node name its copy family by the id of the first member; empty if it is in none."""
    nx.set_node_attributes(graph, dict.fromkeys(graph, ""), "family")
    for family in copy_families(graph):
        nx.set_node_attributes(graph, dict.fromkeys(family.members, family.id), "family")


def _table(graph: nx.DiGraph) -> pd.DataFrame:
    layer = {node: data.get("layer", 0) for node, data in graph.nodes(data=True)}
    rows = [(u, v, layer[u], layer[v], d.get("span", 1), d.get("total", nan), d.get("copy", nan)) for u, v, d in graph.edges(data=True)]
    return pd.DataFrame(rows, columns=list(FAMILY_COLUMNS))


def collapsed(graph: nx.DiGraph, families: Sequence[CopyFamily] | None = None) -> nx.DiGraph:
    """A copy in which each copy family is one node, so that what a feature's copies do is counted once.

    The node has the id and attributes of the first member that is in the graph, ``members`` (the ids of those that are, with spaces
    between) and ``last_layer``. Of the edges between two nodes the one with the largest |strength| stays; those inside a family are gone.
    An edge may lead to a node of an earlier layer, since a family lives on, so the result may have cycles: ask it for hubs, communities
    and pictures, not for paths.

    Args:
        graph: Interaction graph.
        families: The families. Default: those that the nodes name, which a graph has from when it was built, so that a part of a graph
            has the families of the whole; :func:`copy_families` of the graph where they name none.
    """
    found = _named_families(graph) if families is None else [list(family.members) for family in families]
    kept = [present for members in found if (present := [member for member in members if member in graph])]
    stands_for = {member: members[0] for members in kept for member in members}
    made: nx.DiGraph = nx.DiGraph(**graph.graph | {COLLAPSED: "families"})
    made.add_nodes_from((node, dict(data)) for node, data in graph.nodes(data=True) if stands_for.get(node, node) == node)
    for members in (several for several in kept if len(several) > 1):
        layers = [graph.nodes[member].get("layer", 0) for member in members]
        made.nodes[members[0]].update(members=" ".join(map(str, members)), last_layer=max(layers))
    for u, v, data in graph.edges(data=True):
        source, target = stands_for.get(u, u), stands_for.get(v, v)
        if source != target and abs(edge_strength(data)) > _strength_of(made, source, target):
            made.add_edge(source, target, **data)
    return made


def _named_families(graph: nx.DiGraph) -> list[list[Any]]:
    """Members of each family, in the order of their sites, as the nodes name them."""
    if not all("family" in data for _, data in graph.nodes(data=True)):
        return [list(family.members) for family in copy_families(graph)]
    found: dict[str, list[Any]] = {}
    for node, data in graph.nodes(data=True):
        if data["family"]:
            found.setdefault(data["family"], []).append(node)
    place = site_sequence(graph).place
    return [sorted(members, key=lambda m: (m != name, place[m])) for name, members in found.items()]


def _strength_of(graph: nx.DiGraph, source: Any, target: Any) -> float:
    """|strength| of an edge; -1 where there is none."""
    return abs(edge_strength(graph.edges[source, target])) if graph.has_edge(source, target) else -1.0
