"""Motifs in the database: patterns matched and counted there, and what was found significant kept as nodes with examples."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd

import queries
from feature_graph.database.store.database import Store
from feature_graph.database.store.errors import StoreError

logger = logging.getLogger(__name__)

KIND = "motifs"
#: What an edge of a pattern may be.
EFFECTS = queries.EFFECTS
_FORGET = "MATCH (run:Run {id: $run}) MATCH (m:Motif) WHERE m.run = run.n AND m.uid STARTS WITH toString(run.n) + '/' DETACH DELETE m"
_SAVE = """
MATCH (run:Run {id: $run, status: 'ready'})
UNWIND $motifs AS row
CREATE (m:Motif {uid: toString(run.n) + '/' + row.name, run: run.n})
SET m += row.properties
WITH run, m, row
UNWIND row.examples AS example
UNWIND range(0, size(example.roles) - 1) AS place
WITH run, m, example, place, example.roles[place] AS role
MATCH (:Observation {run: run.n, id: role.id})-[:OF]->(f:Feature)
CREATE (m)-[:EXAMPLE {run: run.n, example: example.number, place: place, role: role.name, id: role.id, weakest: example.weakest}]->(f)
"""
_RECORD = """
MATCH (run:Run {id: $run, status: 'ready'})
MERGE (a:Analysis {uid: toString(run.n) + '/' + $kind})
SET a.run = run.n, a.kind = $kind, a.property = 'Motif.z', a.params = $params, a.gds_version = '', a.created = timestamp()
"""
_FETCH = """
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (m:Motif) WHERE m.run = run.n AND m.uid STARTS WITH toString(run.n) + '/'
OPTIONAL MATCH (m)-[e:EXAMPLE]->(:Feature)
WITH m, e ORDER BY e.example, e.place
WITH m, collect(e.id) AS ids, collect(e.example) AS examples
RETURN m.name AS motif, m.pattern AS pattern, m.count AS count, m.null_mean AS null_mean, m.null_sd AS null_sd, m.z AS z, m.p AS p,
       m.q AS q, m.meaning AS meaning, ids, examples
ORDER BY m.place
"""


class Statements(Protocol):
    """A compiled pattern (``motifs.compile_cypher`` gives one)."""

    @property
    def match(self) -> str:
        """Statement that finds."""

    @property
    def count(self) -> str:
        """Statement that counts."""

    @property
    def parameters(self) -> dict[str, Any]:
        """Values of the pattern."""


@dataclass(frozen=True)
class Example:
    """One subgraph: letter of the pattern → short id, and the magnitude of its weakest edge."""

    roles: Mapping[str, str]
    weakest: float


@dataclass(frozen=True)
class FoundMotif:
    """What is kept of one motif.

    Attributes:
        name: Such as ``ffl_i1``; unique within a run.
        properties: ``pattern``, ``meaning``, ``count`` and the figures of the null test; those that are NaN or None are left out.
        examples: Its strongest instances.
    """

    name: str
    properties: Mapping[str, Any]
    examples: Sequence[Example] = ()


def match_pattern(
    store: Store,
    pattern: Statements,
    run: str | None = None,
    *,
    method: str | None = None,
    edges: str = "structural",
    effect: str | None = None,
    limit: int = 20,
    timeout: float = 60.0,
) -> pd.DataFrame:
    """The subgraphs that match, strongest weakest edge first.

    Args:
        store: An open database.
        pattern: A compiled pattern.
        run: Id of the run, the beginning of it, or its name; the newest ready one if not given.
        method: ``clamping`` or ``jacobian``; clamping where the run has it, if not given.
        edges: ``structural`` or ``all``.
        effect: What an edge is: ``strength`` (direct effects of structural edges, totals of all), ``computed``, ``specific`` or ``copy``,
            without edges of which it is smaller than counts; ``specific`` where the run measured it, else ``strength``, if not given.
        limit: Rows at most.
        timeout: Seconds after which the database gives up.

    Returns:
        A column of short ids for each letter, ``strengths`` (a list, in the order of the pattern's edges) and ``weakest``.

    Raises:
        StoreError: If ``edges``, ``effect`` or ``limit`` make no sense.
        queries.ParameterError: If what is specific is asked for and was not measured.
        queries.QueryTimeout: If it took too long; anchor the pattern at a feature or a layer, or count in process.
    """
    answer = _ask(store, pattern.match, pattern, run, method, (edges, effect), timeout, {"limit": limit})
    return pd.DataFrame(answer.rows, columns=answer.columns)


def count_pattern(
    store: Store,
    pattern: Statements,
    run: str | None = None,
    *,
    timeout: float = 60.0,
    effect: str | None = None,
    edges: str = "structural",
    method: str | None = None,
) -> int:
    """How many subgraphs match; see :func:`match_pattern`."""
    return int(_ask(store, pattern.count, pattern, run, method, (edges, effect), timeout, {}).rows[0][0])


def _ask(
    store: Store,
    text: str,
    pattern: Statements,
    run: str | None,
    method: str | None,
    part: tuple[str, str | None],
    timeout: float,
    more: dict[str, int],
) -> queries.Answer:
    edges, effect = part
    if edges not in ("structural", "all") or effect not in (None, *EFFECTS) or not 0 <= more.get("limit", 0) <= 100_000:
        raise StoreError(
            f"got edges {edges!r}, effect {effect!r} and limit {more.get('limit')}; expected structural or all, one of "
            f"{', '.join(EFFECTS)}, and 0 to 100,000"
        )
    found = store.find_run(run)
    method = store.choose_method(found, method)
    effect = queries.find_effect(store.driver, found, method, effect, database=store.database)
    values = pattern.parameters | {"run": found, "method": method, "edges": edges, "effect": effect} | more
    return queries.ask(store.driver, text, timeout=timeout, database=store.database, parameters=values)


def save_motifs(store: Store, run: str, motifs: Sequence[FoundMotif], params: Mapping[str, Any]) -> int:
    """Keep motifs as nodes with their examples, in the place of those kept before, and record how they were found.

    Args:
        store: An open database.
        run: Id of the run, the beginning of it, or its name.
        motifs: What to keep.
        params: How they were found (nulls, seed, swaps, mixing …); kept as JSON in the Analysis.

    Returns:
        How many were written.
    """
    found = store.find_run(run)
    store.run(_FORGET, {"run": found}, writes=True)
    rows = [
        {"name": m.name, "properties": _known({"name": m.name, "place": i} | dict(m.properties)), "examples": _examples(m)}
        for i, m in enumerate(motifs)
    ]
    store.run(_SAVE, {"run": found, "motifs": rows}, writes=True)
    store.run(_RECORD, {"run": found, "kind": KIND, "params": json.dumps(dict(params), sort_keys=True)}, writes=True)
    logger.info("run %s: %d motifs written", found, len(rows))
    return len(rows)


def _examples(motif: FoundMotif) -> list[dict[str, Any]]:
    return [
        {"number": i, "weakest": e.weakest, "roles": [{"name": letter, "id": id_} for letter, id_ in e.roles.items()]}
        for i, e in enumerate(motif.examples)
    ]


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in values.items() if v is not None and v == v}


def fetch_motifs(store: Store, run: str | None = None) -> pd.DataFrame:
    """The motifs kept for a run.

    Returns:
        ``motif``, ``pattern``, ``count``, ``null_mean``, ``null_sd``, ``z``, ``p``, ``q``, ``meaning`` and ``examples``: a list of lists of
        short ids in the order of the pattern's letters.
    """
    frame = store.run(_FETCH, {"run": store.find_run(run)})
    examples = [_grouped(ids, numbers) for ids, numbers in zip(frame["ids"], frame["examples"], strict=True)]
    return frame.drop(columns=["ids", "examples"]).assign(examples=pd.Series(examples, dtype=object))


def _grouped(ids: list[str], numbers: list[int]) -> list[list[str]]:
    groups: dict[int, list[str]] = {}
    for id_, number in zip(ids, numbers, strict=True):
        groups.setdefault(number, []).append(id_)
    return list(groups.values())
