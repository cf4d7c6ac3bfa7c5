"""Features by name: unknown ones are refused with near ones, and labels are shown next to ids."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import Any

import networkx as nx

from feature_graph.artifacts import read_feature_id, site_sequence
from feature_graph.steering.errors import SteeringError
from ingest.feature_ids import FeatureId

_LABEL_WIDTH = 60


def check_features(known: Collection[Any], role: str, names: Iterable[str]) -> None:
    """Refuse names that are not features of the graph.

    Args:
        known: The features: a graph, or anything else that names can be looked up in.
        role: What the names stand for, such as ``source``.
        names: Ids.

    Raises:
        SteeringError: Naming the first of them, and features near it.
    """
    for name in names:
        if name not in known:
            near = ", ".join(near_names([str(node) for node in known], name)) or "none"
            raise SteeringError(f"{role}: {name!r} is not among the {len(known)} features of the graph; near: {near}")


def site_places(G: nx.DiGraph) -> dict[str, int]:
    """Feature → place of its site among those of the graph, in the order of the model, as ids and edges tell it."""
    named: nx.DiGraph = nx.DiGraph()
    named.add_nodes_from((node, {"layer": read_feature_id(str(node)).layer}) for node in G)
    named.add_edges_from(G.edges)
    return site_sequence(named).place


def near_names(names: list[str], wanted: str, n: int = 3) -> list[str]:
    """Features of the same site by distance of index; for another site or no id at all, those spelled most alike."""
    asked = FeatureId.read(wanted)
    found = [(abs(one.index - asked.index), name) for name in names if asked and (one := FeatureId.read(name)) and _same_site(one, asked)]
    return [name for _, name in sorted(found)][:n] or get_close_matches(wanted, names, n=n, cutoff=0.0)


def _same_site(one: FeatureId, two: FeatureId) -> bool:
    return one.site_name == two.site_name


def with_label(feature: str, label: str) -> str:
    """The id, followed by a shortened label in brackets where there is one."""
    short = label if len(label) <= _LABEL_WIDTH else label[: _LABEL_WIDTH - 1] + "…"
    return f"{feature} ({short})" if short else feature
