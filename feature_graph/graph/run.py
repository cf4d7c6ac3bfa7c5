"""The graph of a run directory, whoever wrote it: its graph file, or, where there is none, built from the measured edges."""

from __future__ import annotations

import logging
from math import nan
from pathlib import Path

import networkx as nx
import pandas as pd

from feature_graph.artifacts import ArtifactError, InteractionSet, RunPaths
from feature_graph.graph.build import build_interaction_graph
from feature_graph.graph.files import GraphFileError, load_graph
from feature_graph.graph.named_responses import name_responses
from ingest.formats import FEATURES, FormatError, read_table

log = logging.getLogger(__name__)


def graph_of_run(place: str | Path) -> nx.DiGraph:
    """The graph of a run directory, or of a graph file.

    A run that another program wrote has no graph file: its graph is built from ``interactions.parquet`` and, where it is there,
    ``features.parquet``.

    Raises:
        ArtifactError: If there is neither a graph nor measured edges.
        GraphFileError: If a file is not a graph, or the edges make none.
        ingest.formats.FormatError: If a table is not in its format.
    """
    if not Path(place).is_dir():
        return load_graph(place)
    paths = RunPaths.of(place)
    if paths.graph_json.is_file():
        return with_standardised(load_graph(paths.graph_json), _interactions(paths.interactions))
    if not paths.interactions.is_file():
        raise ArtifactError(
            f"{paths.root}: neither graph.json nor interactions.parquet is there, so there is no graph; run `feature-graph run` first"
        )
    features = read_table(paths.features, FEATURES).to_pandas() if paths.features.is_file() else None
    log.info("%s: no graph.json; the graph is built from interactions.parquet", paths.root)
    built = built_graph(InteractionSet.load(paths.interactions), features, paths.interactions)
    name_responses(built, paths.responses)
    return built


def built_graph(interactions: InteractionSet, features: pd.DataFrame | None, named: Path) -> nx.DiGraph:
    """The graph of measured edges.

    Args:
        interactions: The edges.
        features: Features table, for labels.
        named: File to name in an error.

    Raises:
        GraphFileError: If the edges make no graph: one leads backward, a pair occurs twice, or two features share one short id.
    """
    twice = [] if features is None else features.loc[features["id"].duplicated(), "id"].tolist()
    if twice:
        raise GraphFileError(
            f"{named}: {len(twice)} short ids stand for two features or more ({twice[0]} …), so their edges cannot be distinguished; each "
            "needs an id of its own"
        )
    try:
        return build_interaction_graph(interactions, features=features)
    except ValueError as error:
        raise GraphFileError(f"{named}: {error}") from error


def with_standardised(graph: nx.DiGraph, interactions: InteractionSet | None) -> nx.DiGraph:
    """The graph with its edges' standardised effects; those of a graph file from before they were kept there come from the table."""
    if interactions is None or all("standardised" in d for *_, d in graph.edges(data=True)):
        return graph
    frame = interactions.frame
    rows = zip(frame["src_id"], frame["tgt_id"], frame["method"], frame["standardised_effect"], strict=True)
    known = {(u, v, method): float(value) for u, v, method, value in rows if value is not None}
    for u, v, d in graph.edges(data=True):
        d.setdefault("standardised", known.get((u, v, d.get("method")), nan))
    return graph


def _interactions(path: Path) -> InteractionSet | None:
    try:
        return InteractionSet.load(path) if path.is_file() else None
    except FormatError as error:
        log.warning("%s", error)
        return None
