"""Totals of a steered feature by its measured response: the response file that a graph names, opened once and asked many times."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import networkx as nx

from feature_graph.artifacts import ArtifactError, RunPaths
from feature_graph.config import ConfigError
from feature_graph.dictionaries import LoadingError
from feature_graph.graph import NamedResponses
from feature_graph.responses import ResponseScreen
from feature_graph.utils import sha256_file

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScreenedTotals:
    """Screened totals of one source.

    Attributes:
        of: Later feature → screened total, target units per source unit.
        why_not: Why there are none; empty where there are.
    """

    of: dict[str, float] = field(default_factory=dict)
    why_not: str = ""


def screened_totals(graph: nx.DiGraph, source: str) -> ScreenedTotals:
    """Screened totals of a feature on every feature of every later site, by the responses that the graph names.

    Args:
        graph: Interaction graph; ``graph.graph["responses"]`` names a response file in the directory of its run.
        source: Id.

    Returns:
        The totals, or why there are none: the graph names no responses; the file is missing, has another content or is of other
        dictionaries; what it is read with (configuration, activations, dictionaries) is missing; the feature has no response.
    """
    named = NamedResponses.of(graph.graph)
    if named is None:
        return ScreenedTotals(why_not="the graph names no responses")
    try:
        table = _screen(named).edges(source=source)
    except (ArtifactError, ConfigError, LoadingError, FileNotFoundError) as error:
        logger.warning("%s is forecast from paths: %s", source, error)
        return ScreenedTotals(why_not=str(error))
    return ScreenedTotals(dict(zip(table["target"].tolist(), table["total"].tolist(), strict=True)))


def _screen(named: NamedResponses) -> ResponseScreen:
    paths = RunPaths.of(named.file.parent)
    if not named.file.is_file():
        raise ArtifactError(f"{named.file}: the graph names these responses, and there is no such file")
    if named.file.name != paths.responses.name:
        raise ArtifactError(f"{named.file}: expected the file {paths.responses.name} of a run directory")
    if _hash(named.file, _stamp(named.file)) != named.sha256:
        raise ArtifactError(f"{named.file}: is not the file that the graph was made with; run `feature-graph run` to make the graph anew")
    return _opened(paths.root, tuple(_stamp(path) for path in (paths.responses, paths.activations, paths.config)))


def _stamp(path: Path) -> tuple[int, int]:
    """Time of the last change and size.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    found = path.stat()
    return found.st_mtime_ns, found.st_size


@lru_cache(maxsize=8)
def _hash(path: Path, stamp: tuple[int, int]) -> str:  # noqa: ARG001 -- a file that changed is read again
    return sha256_file(path)


@lru_cache(maxsize=1)
def _opened(root: Path, stamps: tuple[tuple[int, int], ...]) -> ResponseScreen:  # noqa: ARG001 -- files that changed are opened again
    return ResponseScreen.open(root)
