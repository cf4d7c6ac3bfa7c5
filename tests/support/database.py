"""A run in a database beside its files, and answers compared row by row."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import networkx as nx
import pytest

import queries
from feature_graph.database import store
from feature_graph.database.store import Store
from ingest import DriverDatabase
from ingest.digest import hex_of
from ingest.stored import stored
from tests.graph import twins


def wipe(opened: store.Store) -> None:
    """Delete every node but the record of migrations; another program may have nodes of that label."""
    opened.write("MATCH (n) WHERE NOT (n:SchemaVersion AND n.n IS NOT NULL) DETACH DELETE n")


def graph_digest(opened: Store, n: int) -> str:
    """Digest of what the database holds of run number ``n``, as an IngestReport has it."""
    return hex_of(stored(DriverDatabase(opened.driver, opened.database), n).digest)


EXAMPLE = Path(str(files("queries") / "example"))
ALL = 10_000


@dataclass(frozen=True)
class Loaded:
    """A run in the database, and its files."""

    id: str
    files: twins.RunFiles
    store: Store

    def busiest(self) -> str:
        """The feature with the most structural edges in and out."""
        g = twins.graph(self.files, by="strength", families=False)
        return max(g, key=lambda n: min(g.in_degree(n), g.out_degree(n)) * 100 + g.degree(n))

    def first_source(self) -> str:
        """The early feature that a cascade carries furthest."""
        lowest = min(self.files.layer.values())
        g = nx.DiGraph((e["source"], e["target"]) for e in self.files.edges() if twins.carries(e))
        return max((n for n in g if self.files.layer[n] == lowest), key=lambda n: (len(nx.descendants(g, n)), n))

    def far_pair(self) -> tuple[str, str]:
        """Two features with as many ways between them as possible."""
        g = nx.DiGraph((e["source"], e["target"]) for e in self.files.edges() if twins.carries(e))
        source = self.first_source()
        return source, max(nx.descendants(g, source), key=lambda n: (sum(1 for _ in nx.all_simple_paths(g, source, n)), n))

    def ask(self, name: str, **parameters: Any) -> queries.Answer:
        return self.store.ask(name, run=self.id, **parameters) if name != "runs" else self.store.ask(name)


def same_rows(got: list[dict[str, Any]], expected: list[dict[str, Any]], ordered: bool = True) -> None:
    """Equal values, floats to 1e-9; where scores tie but for rounding, the order is left open."""
    assert len(got) == len(expected)
    if not ordered:
        got, expected = (sorted(rows, key=lambda r: str(next(iter(r.values())))) for rows in (got, expected))
        expected = sorted(expected, key=lambda r: str(r["id"]))
    for mine, theirs in zip(got, expected, strict=True):
        assert set(mine) == set(theirs)
        for key, value in mine.items():
            assert value == pytest.approx(theirs[key], rel=1e-7, abs=1e-9) if isinstance(value, float) else value == theirs[key], (
                key,
                mine,
                theirs,
            )


def plan_operators(plan: dict[str, Any]) -> list[str]:
    inner = [name for child in plan.get("children", []) for name in plan_operators(child)]
    return [plan["operatorType"].partition("@")[0], *inner]


BAD_OPERATORS = {"CartesianProduct", "AllNodesScan", "DirectedRelationshipTypeScan", "UndirectedRelationshipTypeScan"}
