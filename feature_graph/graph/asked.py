"""The graph that a question is about: what its edges weigh, and what counts as one feature. The one rule for what is not asked for."""

from __future__ import annotations

import logging
from typing import Literal, get_args

import networkx as nx

from feature_graph.graph.errors import InteractionGraphError
from feature_graph.graph.families import COLLAPSED, collapsed
from feature_graph.graph.views import STATED, Effect, default_effect, restated

log = logging.getLogger(__name__)

#: What can be drawn or counted as one feature.
Collapse = Literal["families"]


def as_asked(graph: nx.DiGraph, effect: Effect | None = None, collapse: Collapse | None = None) -> nx.DiGraph:
    """The graph by one of its effects (:func:`feature_graph.graph.restated`), and with copy families as one node each.

    What it came to is in :func:`effect_of` the result. Where no edge is left, a warning says why.

    Args:
        graph: Interaction graph. What was restated or collapsed already is not once more, unless an effect is given.
        effect: What the strength of an edge is. Default: ``specific`` where that was measured, else the edges' own strength
            (:func:`feature_graph.graph.default_effect`).
        collapse: ``"families"``: each copy family counts as one.

    Raises:
        InteractionGraphError: If one of them is unknown, or the effect was not measured.
    """
    if collapse not in (None, *get_args(Collapse)):
        raise InteractionGraphError(f"collapse: got {collapse!r}, expected None or {', '.join(get_args(Collapse))}")
    chosen = default_effect(graph) if effect is None else effect
    stated = graph if effect is None and chosen == "strength" else restated(graph, chosen)
    if reason := none_left(graph, stated):
        log.warning("%s", reason)
    return stated if collapse is None or COLLAPSED in graph.graph else collapsed(stated)


def effect_of(graph: nx.DiGraph) -> str:
    """Which effect the strengths of a graph's edges are; ``strength`` where they are the edges' own."""
    return str(graph.graph.get(STATED, "strength"))


def none_left(before: nx.DiGraph, after: nx.DiGraph) -> str:
    """Why a restated graph has no edges; empty if it has some, or if there were none before."""
    if after.size() or not before.size():
        return ""
    name = effect_of(after)
    return f"none of the {before.size():,} edges has a {name} effect as large as the smallest that counts; effect 'strength' keeps all"
