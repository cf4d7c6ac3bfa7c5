"""An open database that answers in pandas frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import neo4j
import pandas as pd

import queries
from ingest import DriverDatabase, DropReport, IngestReport, Options, VerifyReport, drop_run, ingest_run, runs, verify_run
from ingest.migrations import AppliedMigration, history, migrate
from ingest.schema import NODES, RELATIONSHIPS, SCORE_NAMES
from queries import notices

_EDGES = """
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (s:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
WHERE $edges = 'all' OR e.structural
MATCH (s)<-[:OF]-(a:Observation {run: run.n})
MATCH (t)<-[:OF]-(b:Observation {run: run.n})
RETURN a.id AS source, b.id AS target, properties(e) AS properties
ORDER BY a.fid, b.fid
"""
_FEATURES = """
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (o:Observation)-[:OF]->(f:Feature) WHERE o.run = run.n AND o.layer IS NOT NULL
RETURN properties(o) AS observation, f.uid AS uid, f.hook AS hook, f.index AS index, f.neuronpedia_url AS neuronpedia_url
ORDER BY o.fid
"""
_EDGE_COLUMNS = [p.name for r in RELATIONSHIPS if r.type == "AFFECTS" for p in r.properties]
_FEATURE_COLUMNS = [p.name for n in NODES if n.label == "Observation" for p in n.properties if p.name not in {"key", *SCORE_NAMES}]


class Store:
    """An open database. Made by :func:`feature_graph.database.store.connect`; use it in a ``with`` block.

    Attributes:
        driver: The official driver, for what this class does not do.
        database: Name of the database; None is the user's default.
    """

    def __init__(self, driver: neo4j.Driver, database: str | None = None) -> None:
        self.driver = driver
        self.database = database

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.driver.close()

    def ask(
        self, name: str, /, *, timeout: float = 60.0, visual: bool = False, any_status: bool = False, **parameters: Any
    ) -> queries.Answer:
        """Ask a template; see :func:`queries.run` for parameters and errors."""
        return queries.run(self.driver, name, timeout=timeout, visual=visual, any_status=any_status, database=self.database, **parameters)

    def query(self, name: str, /, *, timeout: float = 60.0, any_status: bool = False, **parameters: Any) -> pd.DataFrame:
        """Ask a template and get a frame, columns as the template declares them.

        >>> store.query("hubs", measure="pagerank", limit=3)      # doctest: +SKIP
                id  layer     score  layer_rank  incoming  outgoing  label
        0  L2_F313      2  0.875019           1         9         5  grammar: said · in context 2
        """
        answer = self.ask(name, timeout=timeout, any_status=any_status, **parameters)
        return pd.DataFrame(answer.rows, columns=answer.columns)

    def cypher(self, text: str, /, **parameters: Any) -> pd.DataFrame:
        """Run one statement of your own, in read access mode, and get a frame; what the server remarks on it is logged as a warning."""
        return self.run(text, parameters, custom=True)

    def write(self, text: str, /, **parameters: Any) -> pd.DataFrame:
        """Run one statement that writes, in a transaction of its own, and get a frame; what the server remarks on it is logged."""
        return self.run(text, parameters, writes=True, custom=True)

    def run(self, text: str, parameters: dict[str, Any], *, writes: bool = False, custom: bool = False) -> pd.DataFrame:
        """Run one statement and get a frame.

        Args:
            text: Cypher; values belong into ``parameters``.
            parameters: Values of its parameters.
            writes: It may write; else it runs in read access mode.
            custom: It is the user's, not this library's: what the server remarks on it is logged as a warning.
        """
        mode = neo4j.WRITE_ACCESS if writes else neo4j.READ_ACCESS
        options = notices.CUSTOM if custom else notices.QUIET
        with notices.heard(), self.driver.session(database=self.database, default_access_mode=mode, **options) as session:
            execute = session.execute_write if writes else session.execute_read
            return execute(lambda tx: _frame(tx.run(text, parameters)))

    def find_run(self, run: str | None = None) -> str:
        """Id of a ready run, from its id, the beginning of it, or its name; the newest ready run if not given.

        Raises:
            queries.QueryError: If there is none.
        """
        return queries.find_run(self.driver, run, database=self.database)

    def main_method(self, run: str) -> str:
        """``clamping`` where the run has edges by it, else the method that it has."""
        methods = self.methods(run)
        return "clamping" if "clamping" in methods or not methods else methods[0]

    def choose_method(self, run: str, method: str | None = None) -> str:
        """The method given, if the run has edges by it; if none is given clamping, else the only one that the run has.

        Raises:
            queries.ParameterError: If the run has no edges by it, or several methods and clamping is none of them.
        """
        return queries.choose_method(run, self.methods(run), method)

    def methods(self, run: str) -> list[str]:
        """Methods that the edges of a run have."""
        return list(self.run("MATCH (r:Run {id: $run}) RETURN r.methods AS methods", {"run": run})["methods"].iloc[0])

    def fetch_edges(self, run: str | None = None, method: str | None = None, edges: str = "all") -> pd.DataFrame:
        """All edges of a run.

        Args:
            run: Id of the run, the beginning of it, or its name; the newest ready one if not given.
            method: ``clamping`` or ``jacobian``; clamping where the run has it, else its only one, if not given.
            edges: ``all``, or ``structural``: no analysed site in between, or a direct effect that is itself significant.

        Returns:
            Columns ``source``, ``target`` (short ids) and the properties of AFFECTS in docs/schema.md; sorted by fid.

        Raises:
            queries.ParameterError: If there is no such ready run, or it has no edges by the method.
        """
        found = self.find_run(run)
        frame = self.run(_EDGES, {"run": found, "method": self.choose_method(found, method), "edges": edges})
        return _spread(frame, "properties", _EDGE_COLUMNS)

    def fetch_features(self, run: str | None = None) -> pd.DataFrame:
        """All features of a run.

        Returns:
            ``uid``, ``hook``, ``index``, ``neuronpedia_url`` and the properties of Observation in docs/schema.md, of the scores those that
            an analysis has written; sorted by fid.
        """
        frame = self.run(_FEATURES, {"run": self.find_run(run)})
        scores = {name for row in frame["observation"] for name in row} - {*_FEATURE_COLUMNS, "key"}
        return _spread(frame, "observation", [*_FEATURE_COLUMNS, *sorted(scores)])

    def ingest(
        self,
        run_dir: str | Path,
        progress: Callable[[str, int, int], None] | None = None,
        options: Options | None = None,
        writers: int | None = None,
    ) -> IngestReport:
        """Write a run directory into the database; see :func:`ingest.ingest_run`."""
        return ingest_run(DriverDatabase(self.driver, self.database), run_dir, progress, writers=writers, options=options)

    def schema_history(self) -> list[AppliedMigration]:
        """Every migration of the schema with when it was applied here; see :func:`ingest.migrations.history`."""
        return history(DriverDatabase(self.driver, self.database))

    def migrate(self) -> list[int]:
        """Bring the schema up to date and give the numbers applied now; see :func:`ingest.migrations.migrate`."""
        return migrate(DriverDatabase(self.driver, self.database))

    def verify(self, run_dir: str | Path) -> VerifyReport:
        """Compare the database with a run's files; see :func:`ingest.verify_run`."""
        return verify_run(DriverDatabase(self.driver, self.database), run_dir)

    def which_run(self, run: str) -> dict[str, Any]:
        """Properties of a run of any status, by its id, the beginning of it, or its name.

        Raises:
            ingest.IngestError: If there is none, or more than one.
        """
        return runs.find_run(DriverDatabase(self.driver, self.database), run)

    def drop(self, run: str) -> DropReport:
        """Take a run out of the database; see :func:`ingest.drop_run`."""
        return drop_run(DriverDatabase(self.driver, self.database), run)


def _frame(result: neo4j.Result) -> pd.DataFrame:
    columns = list(result.keys())
    frame = pd.DataFrame([list(record.values()) for record in result], columns=columns)
    notices.say(result.consume())
    return frame


def _spread(frame: pd.DataFrame, column: str, inner: list[str]) -> pd.DataFrame:
    """Turn a column of mappings into columns; those that no row has are empty."""
    spread = pd.DataFrame(frame[column].tolist(), index=frame.index, columns=inner)
    return pd.concat([frame.drop(columns=column), spread], axis=1)
