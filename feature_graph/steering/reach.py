"""What lies between two features, and how far one reaches: paths of any length, in process.

The same answers as the Cypher templates ``between`` and ``reach`` give, which follow six edges at most and refuse deeper graphs. What one
feature carries to another leads through the features that a cascade leads through; how far one reaches counts each feature once, and goes
through all of them.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any, Literal

import networkx as nx
import numpy as np
import pandas as pd

from feature_graph.graph import edge_strength
from feature_graph.steering.effects import DirectEffects
from feature_graph.steering.errors import SteeringError
from feature_graph.steering.names import check_features
from feature_graph.steering.propagation import propagate

Direction = Literal["downstream", "upstream"]


def between(G: nx.DiGraph, source: str, target: str, *, min_strength: float = 0.0) -> pd.DataFrame:
    """The features that carry the effect of one feature on another, over paths of any length.

    Args:
        G: Interaction graph; its structural edges at the same position are followed, as :func:`predict_cascade` does.
        source: Id of the feature that acts.
        target: Id of the feature that is acted on.
        min_strength: Edges of smaller |direct| are not followed.

    Returns:
        One row per feature between them, largest |effect| first: ``id``, ``layer``, ``paths`` (from source to target through it; a
        float beyond 2⁵³), ``effect`` (sum over these of the product of direct strengths, target units per source unit), ``share`` (of
        the sum over all paths; above 1 or negative where paths cancel, NaN where they cancel to 0), ``bottleneck`` (every path passes
        through it), ``label``.

    Raises:
        SteeringError: If a feature is not in the graph, or the edges close a cycle.
    """
    check_features(G, "source", [source])
    check_features(G, "target", [target])
    ahead = DirectEffects.of(G).at_least(min_strength)
    back = _reversed(ahead)
    start, end = ahead.number[source], ahead.number[target]
    there, onward = propagate(ahead, start, 1.0), propagate(back, end, 1.0)
    found = np.flatnonzero((there.hop > 0) & (onward.hop > 0) & ahead.passed)
    effect, paths = (there.total * onward.total)[found], (there.paths * onward.paths)[found]
    whole = there.total[end]
    names = [ahead.nodes[i] for i in found]
    frame = pd.DataFrame(
        {
            "id": names,
            "layer": [G.nodes[name].get("layer") for name in names],
            "paths": paths.astype(np.int64) if paths.max(initial=0) < 2**53 else paths,
            "effect": effect,
            "share": effect / whole if whole else np.full(len(found), np.nan),
            "bottleneck": paths == there.paths[end],
            "label": [ahead.labels[i] for i in found],
        }
    )
    return frame.sort_values(["effect", "id"], key=lambda c: -c.abs() if c.name == "effect" else c, ignore_index=True)


def reach(
    G: nx.DiGraph, feature: str, direction: Direction = "downstream", *, edges: str = "structural", min_strength: float = 0.0
) -> pd.DataFrame:
    """How much of the graph a feature can act on, or can act on it, however many steps away.

    Args:
        G: Interaction graph.
        feature: Id of the feature.
        direction: ``downstream``: what it acts on; ``upstream``: what acts on it.
        edges: ``structural`` (no analysed site in between, or a direct effect that is itself significant) or ``all``.
        min_strength: Edges of smaller |strength| are not followed.

    Returns:
        One row per number of steps: ``hops`` (fewest steps), ``count`` (features first met there), ``layers``, ``share`` (of all features
        of the graph, met up to here), ``features`` (all of them).

    Raises:
        SteeringError: If the feature is not in the graph, or an argument is none of those named.
    """
    check_features(G, "feature", [feature])
    for name, value, known in (("direction", direction, ("downstream", "upstream")), ("edges", edges, ("structural", "all"))):
        if value not in known:
            raise SteeringError(f"{name}: got {value!r}, expected {' or '.join(known)}")
    followed = nx.subgraph_view(G, filter_edge=lambda u, v: _followed(G.edges[u, v], edges, min_strength))
    steps = nx.single_source_shortest_path_length(followed if direction == "downstream" else followed.reverse(copy=False), feature)
    rows, met = [], 0
    for hops, group in groupby(sorted(steps, key=lambda n: steps[n]), key=lambda n: steps[n]):
        found = sorted(group, key=lambda n: (G.nodes[n].get("layer", 0), str(n)))
        if hops:
            met += len(found)
            layers = list(dict.fromkeys(G.nodes[n].get("layer") for n in found))
            rows.append([hops, len(found), layers, met / len(G), found])
    return pd.DataFrame(rows, columns=["hops", "count", "layers", "share", "features"])


def _followed(edge: dict[str, Any], edges: str, min_strength: float) -> bool:
    return (edges == "all" or bool(edge.get("structural", edge.get("span", 1) <= 1))) and abs(edge_strength(edge)) >= min_strength


def _reversed(effects: DirectEffects) -> DirectEffects:
    """Every edge reversed."""
    sources = np.repeat(np.arange(len(effects.nodes)), np.diff(effects.starts))
    return DirectEffects.from_arrays(effects.nodes, effects.targets, sources, effects.direct, labels=effects.labels, passed=effects.passed)
