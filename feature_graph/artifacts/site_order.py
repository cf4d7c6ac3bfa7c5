"""The order of the sites of a graph's features, from its nodes and edges alone.

Layers follow each other by their numbers. Within a layer the edges between its sites say which comes first; sites that no edge orders
follow each other as :mod:`ingest.site_kinds` says. So a residual stream that is read before its block, and sites that other programs name,
stand where their edges put them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import networkx as nx

from ingest.feature_ids import FeatureId, site_name
from ingest.site_kinds import place_in_layer

SitePair = tuple[str, str]


@dataclass(frozen=True)
class SiteSequence:
    """The sites of a graph in the order of the model.

    Attributes:
        names: What ids of their features begin with: ``L5``, ``L5.mlp``.
        layers: Layer of each.
        place: Node → place of its site among them.
    """

    names: tuple[str, ...]
    layers: tuple[int, ...]
    place: dict[Any, int]

    @property
    def several(self) -> bool:
        """Whether some layer has more than one, or ids name a site, so that a layer's number does not say which is meant."""
        return any(name != site_name(layer) for name, layer in zip(self.names, self.layers, strict=True))


def site_sequence(graph: nx.DiGraph) -> SiteSequence:
    """The sites of a graph whose nodes have ``layer`` (0 where not) and ids; names of another form name no site of their layer.

    An edge to a node that stands for several (``members``, of collapsed copy families) says nothing of the order.
    """
    home = {node: (data.get("layer", 0), _site(node)) for node, data in graph.nodes(data=True)}
    sites, pairs = defaultdict[int, set[str]](set), defaultdict[int, set[SitePair]](set)
    for layer, site in home.values():
        sites[layer].add(site)
    if any(len(found) > 1 for found in sites.values()):
        for source, target in graph.edges:
            (layer, one), (other, two) = home[source], home[target]
            if layer == other and one != two and "members" not in graph.nodes[target]:
                pairs[layer].add((one, two))
    every = [(layer, site) for layer in sorted(sites) for site in _ordered(sites[layer], pairs[layer])]
    number = {key: i for i, key in enumerate(every)}
    names, layers = tuple(site_name(*key) for key in every), tuple(layer for layer, _ in every)
    return SiteSequence(names, layers, {node: number[key] for node, key in home.items()})


def contradiction(pairs: Iterable[SitePair]) -> list[SitePair]:
    """Pairs (earlier, later) of sites of one layer that cannot all be true: they close a circle. Empty if there is none."""
    try:
        return [(str(a), str(b)) for a, b in nx.find_cycle(nx.DiGraph(list(pairs)))]
    except nx.NetworkXNoCycle:
        return []


def _site(node: Hashable) -> str:
    found = FeatureId.read(node)
    return found.site if found else ""


def _ordered(sites: set[str], pairs: set[SitePair]) -> list[str]:
    if contradiction(pairs):
        return sorted(sites, key=place_in_layer)
    graph: nx.DiGraph = nx.DiGraph(list(pairs))
    graph.add_nodes_from(sites)
    return list(nx.lexicographical_topological_sort(graph, key=place_in_layer))
