"""Motifs of an interaction graph, by the effect that is asked for."""

from __future__ import annotations

import networkx as nx

from feature_graph import motifs
from feature_graph.graph import Effect, as_asked
from feature_graph.motifs import SignedGraph


def count_motifs(graph: nx.DiGraph | SignedGraph, *, effect: Effect | None = None) -> dict[str, int]:
    """Exact number of each motif of :data:`feature_graph.motifs.MEANINGS`.

    Copy families are not merged: a graph of families may have cycles, in which these motifs are not defined.

    Args:
        graph: Directed graph without cycles; an edge without a strength counts as exciting. ``graph.structural`` chooses which edges count.
        effect: What an edge is: strength (its own), total, direct, later, computed, specific or copy; edges without that effect, or below
            their floor, do not count, and its sign decides between coherent and incoherent. Default: specific where the run measured it,
            else their own strength. Of arrays, what they hold.

    Raises:
        MotifError: If the graph has a cycle, which an interaction graph cannot have.
        InteractionGraphError: If the effect is unknown or was not measured.
    """
    return motifs.count_motifs(graph if isinstance(graph, SignedGraph) else as_asked(graph, effect))
