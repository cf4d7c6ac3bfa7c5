"""What the report is made from: the files of a run directory, and a list of those that are not there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import networkx as nx
import pandas as pd

from feature_graph.artifacts import ArtifactError, InteractionSet, PruningRecall, RunPaths
from feature_graph.graph import GraphFileError, built_graph, load_graph, with_standardised
from feature_graph.report.behaviors import read_behaviors
from feature_graph.utils import read_object
from ingest.formats import CANDIDATES, FEATURES, FormatError, read_meta, read_table

log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(frozen=True)
class Gap:
    """A file that could not be used, and what the report lacks for it."""

    file: str
    reason: str
    lacks: str


@dataclass(frozen=True)
class Material:
    """Everything read from one run directory; what is not there is None, and named in ``gaps``.

    Attributes:
        paths: The run directory.
        config: Its configuration, as plain values.
        manifest: Its manifest, as plain values.
        interactions: Measured interactions.
        graph: The graph; built from the interactions where no graph file stands.
        features: Feature table.
        candidates: What candidates.parquet says of itself: pruning counts and other facts.
        behaviors: What behaviors.json holds.
        recall: What pruning loses; None where it was not measured, which is not a gap.
        validation: What `feature-graph validate` found; None where it was not run, which is not a gap.
        gaps: What could not be read.
    """

    paths: RunPaths
    config: dict[str, Any] | None
    manifest: dict[str, Any] | None
    interactions: InteractionSet | None
    graph: nx.DiGraph | None
    features: pd.DataFrame | None
    candidates: dict[str, Any] | None
    behaviors: list[dict[str, Any]] | None
    recall: PruningRecall | None
    validation: dict[str, Any] | None
    gaps: tuple[Gap, ...]


def gather(run_dir: str | Path) -> Material:
    """Read what a run directory holds.

    Raises:
        ArtifactError: If there is no such directory, or neither a graph nor interactions in it.
        GraphFileError: If the interactions make no graph.
    """
    paths = RunPaths.of(run_dir)
    if not paths.root.is_dir():
        raise ArtifactError(f"{paths.root}: no such directory; expected a run directory, written by `feature-graph run`")
    reader = _RunFiles([])
    interactions = reader.read(paths.interactions, InteractionSet.load, "strengths, statistics, replication")
    features = reader.read(paths.features, lambda p: read_table(p, FEATURES).to_pandas(), "labels of features")
    graph = reader.read(paths.graph_json, load_graph, "the graph; it is built anew from the interactions" if interactions else "the graph")
    if graph is not None:
        graph = with_standardised(graph, interactions)
    elif interactions is not None:
        graph = built_graph(interactions, features, paths.interactions)
    if graph is None:
        what = "; ".join(f"{g.file} {g.reason}" for g in reader.gaps)
        raise ArtifactError(f"{paths.root}: nothing to report on: {what}. Run `feature-graph run` first")
    return Material(
        paths=paths,
        config=reader.read(paths.config, _json_object, "what was asked for"),
        manifest=reader.read(paths.manifest, _json_object, "times, versions and SAE quality"),
        interactions=interactions,
        graph=graph,
        features=features,
        candidates=reader.read(paths.candidates, lambda p: read_meta(p, CANDIDATES), "how the pairs were chosen"),
        behaviors=reader.read(paths.root / "behaviors.json", read_behaviors, "behaviours"),
        recall=reader.read(paths.pruning_recall, PruningRecall.load, "what pruning loses") if paths.pruning_recall.exists() else None,
        validation=reader.read(paths.validation, _json_object, "behaviours and steering, measured") if paths.validation.exists() else None,
        gaps=tuple(reader.gaps),
    )


def _json_object(path: Path) -> dict[str, Any]:
    return read_object(path, ArtifactError)


@dataclass(frozen=True)
class _RunFiles:
    gaps: list[Gap]

    def read(self, path: Path, load: Callable[[Path], T], lacks: str) -> T | None:
        """What ``load`` makes of the file, or None and an entry in ``gaps``."""
        if not path.exists():
            self.gaps.append(Gap(path.name, "is not there", lacks))
            return None
        try:
            return load(path)
        except (ArtifactError, FormatError, GraphFileError) as error:
            log.warning("report: %s", error)
            self.gaps.append(Gap(path.name, f"cannot be read ({error})", lacks))
            return None
