"""The figures that describe a graph as a whole."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import isfinite, nan
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from feature_graph.analysis.evidence import mostly_copy
from feature_graph.artifacts import site_sequence
from feature_graph.graph import acts, is_structural, structural_degrees
from feature_graph.terminal import percent


@dataclass(frozen=True)
class GraphStatistics:
    """Figures of one graph.

    Attributes:
        n_nodes: Features with at least one edge (all nodes of the graph given).
        n_edges: Edges.
        density: Edges / ordered pairs of features of different sites, earlier first.
        n_structural: Edges without an analysed site in between, or with a direct effect that is itself significant.
        nodes_per_layer: Layer → features.
        edges_per_layer_pair: (source layer, target layer) → edges.
        edges_per_span: Analysed layers crossed → edges.
        edges_per_type: excitatory, inhibitory, pass_through, attenuates_copy, erases_copy → edges.
        edges_per_effect: Which effects passed (such as ``total+direct``) → edges.
        positive_share: Share of edges that excite; NaN without edges.
        negative_share: Share of edges that inhibit; the others take from a copy.
        copy_share: Share of edges whose identity path alone gives more than half of the total effect; NaN if not measured.
        median_strength: Median |strength|; NaN without edges.
        max_strength: Largest |strength|; NaN without edges.
        mean_degree: Structural edges per feature, in and out; degrees are of structural edges throughout.
        max_in_degree: Largest number of causes of one feature.
        max_out_degree: Largest number of effects of one feature.
        degree_gini: How unevenly degrees are distributed: 0 all alike, towards 1 a few hubs have all; NaN without edges.
        n_sources: Features that drive others and are driven by none, by structural edges.
        n_sinks: Features that are driven and drive none, by structural edges.
        n_components: Weakly connected parts.
        largest_component: Features in the largest part.
        longest_path: Edges of the longest directed path; -1 if the graph has a cycle (not one of ours).
    """

    n_nodes: int
    n_edges: int
    density: float
    n_structural: int
    nodes_per_layer: dict[int, int] = field(default_factory=dict)
    edges_per_layer_pair: dict[tuple[int, int], int] = field(default_factory=dict)
    edges_per_span: dict[int, int] = field(default_factory=dict)
    edges_per_type: dict[str, int] = field(default_factory=dict)
    edges_per_effect: dict[str, int] = field(default_factory=dict)
    positive_share: float = nan
    negative_share: float = nan
    copy_share: float = nan
    median_strength: float = nan
    max_strength: float = nan
    mean_degree: float = 0.0
    max_in_degree: int = 0
    max_out_degree: int = 0
    degree_gini: float = nan
    n_sources: int = 0
    n_sinks: int = 0
    n_components: int = 0
    largest_component: int = 0
    longest_path: int = 0

    def summary(self) -> str:
        """The figures as a short text of aligned lines."""
        if not self.n_nodes:
            return "Interaction graph: empty (no significant interaction)"
        lines = [
            ("features", f"{self.n_nodes:,}  ({_listed(self.nodes_per_layer, 'L')})"),
            ("edges", f"{self.n_edges:,}  ({self.n_structural:,} structural, density {self.density:.4g})"),
        ]
        if self.n_edges:
            lines += [
                ("by type", _listed(self.edges_per_type)),
                ("by span", _listed(self.edges_per_span)),
                ("by effect", _listed(self.edges_per_effect)),
                (
                    "strength",
                    f"median |s| {self.median_strength:.4f}, largest {self.max_strength:.4f} target units per source unit, "
                    f"{percent(self.positive_share)} excite",
                ),
                ("mostly copy", f"{percent(self.copy_share)} of edges" if isfinite(self.copy_share) else "not measured"),
            ]
        lines += [
            (
                "degree",
                f"mean {self.mean_degree:.1f}, most in {self.max_in_degree}, most out {self.max_out_degree}, Gini {self.degree_gini:.2f} "
                "(structural edges)",
            ),
            ("ends", f"{self.n_sources:,} only drive, {self.n_sinks:,} are only driven (structural edges)"),
            (
                "connected",
                f"{self.n_components:,} parts, largest {self.largest_component:,} features, longest path {self.longest_path} edges",
            ),
        ]
        return "\n".join(["Interaction graph", *(f"  {name:<12}{text}" for name, text in lines)])


def compute_graph_statistics(graph: nx.DiGraph) -> GraphStatistics:
    """Describe a graph; an empty one and one read from a file included."""
    layer = {n: d.get("layer", 0) for n, d in graph.nodes(data=True)}
    edges = list(graph.edges(data=True))
    ends = structural_degrees(graph).values()
    degrees = np.array([causes + effects for causes, effects in ends], dtype=float)
    parts = [len(c) for c in nx.weakly_connected_components(graph)]
    return GraphStatistics(
        n_nodes=len(graph),
        n_edges=len(edges),
        density=_forward_density(Counter(site_sequence(graph).place.values()), len(edges)),
        n_structural=sum(is_structural(d) for *_, d in edges),
        nodes_per_layer=_counts(layer.values()),
        edges_per_layer_pair=_counts((layer[u], layer[v]) for u, v, _ in edges),
        edges_per_span=_counts(d.get("span", 1) for *_, d in edges),
        edges_per_type=dict(Counter(_type(d) for *_, d in edges).most_common()),
        edges_per_effect=dict(Counter(d["by"] for *_, d in edges if d.get("by")).most_common()),
        **_strengths([d for *_, d in edges]),
        mean_degree=float(degrees.mean()) if len(degrees) else 0.0,
        max_in_degree=max((causes for causes, _ in ends), default=0),
        max_out_degree=max((effects for _, effects in ends), default=0),
        degree_gini=_gini(degrees),
        n_sources=sum(causes == 0 and effects > 0 for causes, effects in ends),
        n_sinks=sum(effects == 0 and causes > 0 for causes, effects in ends),
        n_components=len(parts),
        largest_component=max(parts, default=0),
        longest_path=nx.dag_longest_path_length(graph, weight=None) if nx.is_directed_acyclic_graph(graph) else -1,
    )


def _strengths(edges: list[dict[str, Any]]) -> dict[str, float]:
    if not edges:
        return {}
    strength = np.array([d.get("strength", d.get("weight", 1.0)) for d in edges], dtype=float)
    total, copy = (np.array([d.get(name, nan) for d in edges], dtype=float) for name in ("total", "copy"))
    does = np.array([acts(d) for d in edges])
    known = np.isfinite(total) & np.isfinite(copy)
    mostly = mostly_copy(total[known], copy[known])
    return {
        "positive_share": float((does > 0).mean()),
        "negative_share": float((does < 0).mean()),
        "copy_share": float(mostly.mean()) if known.any() else nan,
        "median_strength": float(np.median(np.abs(strength))),
        "max_strength": float(np.abs(strength).max()),
    }


def _forward_density(sizes: Counter[int], edges: int) -> float:
    n = sum(sizes.values())
    possible = (n * n - sum(k * k for k in sizes.values())) // 2
    return edges / possible if possible else 0.0


def _gini(degrees: NDArray[np.float64]) -> float:
    """Gini coefficient: mean absolute difference over twice the mean."""
    if not degrees.sum():
        return nan
    ordered, n = np.sort(degrees), len(degrees)
    return float((2 * np.arange(1, n + 1) - n - 1) @ ordered / (n * ordered.sum()))


def _type(data: dict[str, Any]) -> str:
    return str(data.get("type") or ("inhibitory" if data.get("strength", 1) < 0 else "excitatory"))


def _counts(values: Any) -> dict[Any, int]:
    return dict(sorted(Counter(values).items()))


def _listed(counts: dict[Any, int], prefix: str = "") -> str:
    return ", ".join(f"{prefix}{name}: {count:,}" for name, count in counts.items())
