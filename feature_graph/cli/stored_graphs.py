"""The graph of a run in the database, as its graph file would give it, and what its edges weigh."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import typer

from feature_graph.cli import common

if TYPE_CHECKING:
    import networkx as nx

    from feature_graph.database.store import Store

_EFFECTS = ["total", "direct", "later", "computed", "specific", "copy"]


def effect_there(store: Store, run: str, method: str | None, wanted: str) -> str:
    """The effect that was asked for, or the default of a run in the database.

    Args:
        store: An open database.
        run: Id of the run.
        method: Method of its edges; its main one if None.
        wanted: What ``--effect`` says; empty if nothing.
    """
    import queries
    from feature_graph.graph import Effect

    if wanted not in ("", *get_args(Effect)):
        raise typer.BadParameter(f"got {wanted!r}; expected one of {', '.join(get_args(Effect))}", param_hint="--effect")
    return queries.find_effect(store.driver, run, store.choose_method(run, method), wanted or None, database=store.database)


def fetched_graph(store: Store, run: str, method: str | None, edges: str, effect: str) -> nx.DiGraph:
    """Its features and its edges, structural or all, by an effect (:func:`feature_graph.graph.restated`)."""
    import networkx as nx

    from feature_graph.graph import none_left, restated

    features, frame = store.fetch_features(run), store.fetch_edges(run, method, edges)
    frame["total"] = frame["total"].where(frame["total"].notna(), frame["strength"])
    if edges == "structural":
        frame["strength"] = frame["direct"].where((frame["by"] != "later") & frame["direct"].notna(), frame["strength"])
    numbers = frame[["strength", *_EFFECTS, "floor_computed"]].astype(float).assign(span=frame["span"].astype(int), type=frame["type"])
    graph: nx.DiGraph = nx.DiGraph()
    graph.add_nodes_from((f["id"], {"layer": int(f["layer"]), "label": f["label"]}) for f in features.to_dict("records"))
    graph.add_edges_from((u, v, dict(row)) for u, v, row in zip(frame["source"], frame["target"], numbers.to_dict("records"), strict=True))  # type: ignore[arg-type]
    stated = restated(graph, effect)  # type: ignore[arg-type]
    say_edges(stated.size(), effect, none_left(graph, stated))
    return stated


def say_edges(edges: int, effect: str, reason: str = "") -> None:
    """How many edges an answer is of, by which effect, and why there are none."""
    from ingest import counted

    common.err.print(f"{counted(edges, 'edge')}, by {named_effect(effect)}" + (f": {reason}" if reason else ""), highlight=False)


def named_effect(effect: str) -> str:
    """What edges weigh, in words."""
    return "their strength" if effect == "strength" else f"their {effect} effect"
