"""Compute algorithms on a part of a run and write their scores onto its Observations, with an Analysis record each."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pandas as pd
from neo4j.exceptions import ClientError

import queries
from feature_graph.database.store.database import Store
from feature_graph.database.store.errors import StoreError
from feature_graph.database.store.gds.algorithms import ALGORITHMS, Algorithm
from feature_graph.database.store.gds.memory import Memory, memory_needed, require_memory
from feature_graph.database.store.gds.projection import Projection, client, count_part, projected
from feature_graph.database.store.gds.results import Scores, communities, write

if TYPE_CHECKING:
    from graphdatascience import GraphDataScience
    from graphdatascience.graph.graph_api import Graph

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Analysis:
    """One algorithm over one part of a run, as it was written back.

    Attributes:
        kind: Algorithm and, where it is not the default, the part: ``pagerank``, ``pagerank_excitatory_reversed`` …
        algorithm: Key of :data:`ALGORITHMS`.
        written_to: Property of Observation that carries the score.
        features: ``id``, ``layer``, ``label`` and the score (column named as the property), highest first.
        communities: ``community`` (1 = largest), ``size``, ``modularity``, ``conductance``; empty for scores.
        params: What the algorithm was called with.
        gds_version: Version of the library.
        seconds: Time of the call, without projecting and writing.
    """

    kind: str
    algorithm: str
    written_to: str
    features: pd.DataFrame
    communities: pd.DataFrame
    params: dict[str, Any] = field(default_factory=dict)
    gds_version: str = ""
    seconds: float = 0.0

    @property
    def modularity(self) -> float | None:
        """Modularity of the partition; None for scores."""
        return float(self.communities["modularity"].sum()) if len(self.communities) else None


def analyze(store: Store, algorithm: str, part: Projection | None = None, seed: int = 42) -> pd.DataFrame:
    """Compute one algorithm on a run and write its scores back, with their Analysis.

    Args:
        store: An open database.
        algorithm: One of :data:`ALGORITHMS`.
        part: What to project; the structural graph of the newest ready run if not given.
        seed: Seed of leiden.

    Returns:
        ``id``, ``layer``, ``label`` and the score (column named as the property: ``pagerank``, ``community`` for leiden …), highest first.

    Raises:
        StoreError: If there is no such algorithm or part.
        NotEnoughMemory: If the server's heap would not hold it.
        GdsUnavailable: If the server does not have the library.
    """
    return analyze_all(store, [algorithm], part, seed)[0].features


def analyze_all(
    store: Store, algorithms: Sequence[str], part: Projection | None = None, seed: int = 42, progress: Progress | None = None
) -> list[Analysis]:
    """Compute several algorithms on the same part of a run; each shape of the graph is projected once.

    Args:
        store: An open database.
        algorithms: Keys of :data:`ALGORITHMS`, each once.
        part: What to project; the structural graph of the newest ready run if not given.
        seed: Seed of leiden.
        progress: Called with (kind, done, total) before each algorithm and at the end.

    Returns:
        One per name, in the order given. What was computed before an error is written and stays.

    Raises:
        StoreError: As :func:`analyze`.
        NotEnoughMemory: As :func:`analyze`; nothing was projected then.
        GdsUnavailable: As :func:`analyze`.
    """
    names = _checked(algorithms)
    part = part or Projection(store.find_run())
    part.check()
    run = store.find_run(part.run)
    part, usual = _found(store, replace(part, run=run, method=store.choose_method(run, part.method)))
    gds = client(store)
    memory = require_memory(memory_needed(gds, *count_part(store, part), names))
    logger.info("run %s: %d features, %d edges, about %.0f MB of heap", part.run, memory.nodes, memory.relationships, memory.needed / 2**20)
    job = _AlgorithmJob(store, gds, part, seed, memory, usual)
    found: dict[str, Analysis] = {}
    for members in _by_shape(names):
        first = ALGORITHMS[members[0]]
        with projected(gds, part, first.family != "hubs", first.indexed, ties=first.family == "cores") as graph:
            for name in members:
                if progress:
                    progress(name, len(found), len(names))
                found[name] = job.run(graph, name)
    if progress:
        progress("", len(names), len(names))
    return [found[name] for name in names]


def _found(store: Store, part: Projection) -> tuple[Projection, str]:
    """The part with the effect that its edges weigh, and the one that they would weigh if none was asked for."""
    usual, effect = (
        queries.find_effect(store.driver, part.run, part.method or "", wanted, database=store.database) for wanted in (None, part.effect)
    )
    return replace(part, effect=effect), usual


def kind_of(algorithm: str, part: Projection, main_method: str, usual: str) -> str:
    """Name of an analysis: the algorithm, and what of the part is not the default; ``usual`` is the effect if none is asked for."""
    marks = [
        "all" if part.edges == "all" else "",
        part.effect or "" if part.effect != usual else "",
        "" if part.families else "single",
        part.sign if part.sign != "any" else "",
        "reversed" if part.orientation == "reversed" and ALGORITHMS[algorithm].directed else "",
        (part.method or "").replace(" ", "_") if part.method not in (None, main_method) else "",
    ]
    return "_".join([algorithm, *(mark for mark in marks if mark)])


def _checked(algorithms: Sequence[str]) -> list[str]:
    if not algorithms:
        raise StoreError(f"algorithms: got none; expected some of {', '.join(ALGORITHMS)}")
    for name in algorithms:
        if name not in ALGORITHMS:
            raise StoreError(f"algorithm: got {name!r}; expected one of {', '.join(ALGORITHMS)}")
    if len(set(algorithms)) < len(algorithms):
        raise StoreError(f"algorithms: got {', '.join(algorithms)}; expected each once")
    return list(algorithms)


def _by_shape(names: list[str]) -> list[list[str]]:
    """Names that share a projection, together."""
    groups: dict[tuple[str, bool], list[str]] = {}
    for name in names:
        groups.setdefault((ALGORITHMS[name].family, ALGORITHMS[name].indexed), []).append(name)
    return list(groups.values())


@dataclass(frozen=True)
class _AlgorithmJob:
    """Where and on what the algorithms run."""

    store: Store
    gds: GraphDataScience
    part: Projection
    seed: int
    memory: Memory
    usual: str

    def run(self, graph: Graph, name: str) -> Analysis:
        """Compute one algorithm on the projected graph and write it back."""
        algorithm = ALGORITHMS[name]
        begun = time.perf_counter()
        params, scores = self._in_words(graph, algorithm)
        seconds = time.perf_counter() - begun
        kind = kind_of(name, self.part, self.store.main_method(self.part.run), self.usual)
        property_ = algorithm.written_to + kind.removeprefix(name)
        version = str(self.gds.server_version())
        record = {"algorithm": name, "property": property_, "seed": self.seed, "gds_version": version}
        whole = params | asdict(self.part) | {"heap_estimate": self.memory.needed}
        features = write(self.store, self.part, kind, scores, record, whole)
        logger.info("run %s: %s by %s in %.2f s, written to Observation.%s", self.part.run, kind, self.part.effect, seconds, property_)
        return Analysis(kind, name, property_, features, scores.communities, params, version, seconds)

    def _in_words(self, graph: Graph, algorithm: Algorithm) -> tuple[dict[str, Any], Scores]:
        try:
            return self._compute(graph, algorithm)
        except ClientError as error:
            raise StoreError(queries.gds_failure(error) or str(error.message)) from error

    def _compute(self, graph: Graph, algorithm: Algorithm) -> tuple[dict[str, Any], Scores]:
        params = algorithm.arguments(self.seed)
        if algorithm.family == "communities":
            if not graph.relationship_count():
                # Leiden fails on a graph without edges; each feature is then a community of its own, which is what components give.
                params = {"algorithm": "wcc", "reason": "no edges"}
                return params, communities(self.store, self.gds, graph, ALGORITHMS["wcc"], {"concurrency": 1}, self.part.run)
            return params, communities(self.store, self.gds, graph, algorithm, params, self.part.run)
        if algorithm.indexed and not graph.relationship_count():
            # HITS fails on a graph without edges; all scores are 0 then, as the degrees are.
            return {"algorithm": "degree", "reason": "no edges"}, Scores(_column(self.gds.degree.stream(graph), "score"))
        frame = getattr(self.gds, algorithm.endpoint).stream(graph, **params)
        return params, Scores(_column(frame, algorithm.column))


def _column(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Columns ``node`` (number in the projection) and ``score``; HITS gives its two in one mapping."""
    values = frame[column] if column in frame else frame["values"].map(lambda both: both[column])
    return pd.DataFrame({"node": frame["nodeId"], "score": values})
