"""Reading through either driver: the official ``neo4j.Driver`` or ``py2neo.Graph``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from queries import notices
from queries.errors import QueryTooLarge

if TYPE_CHECKING:
    import neo4j
    import py2neo


@dataclass(frozen=True)
class Answer:
    """What a question gave.

    Attributes:
        columns: Names, in order.
        rows: Values, in the order of the columns; plain Python values, save where a function says otherwise.
        changes: What the statement changed, such as ``nodes_created``; empty where it only reads.
        milliseconds: Time that the server took; 0 where it was not asked.
    """

    columns: list[str]
    rows: list[list[Any]]
    changes: Mapping[str, int] = field(default_factory=dict)
    milliseconds: float = 0.0

    @property
    def records(self) -> list[dict[str, Any]]:
        """Each row as a mapping of column to value."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)


#: Runs one statement in read access mode: (text, parameters, seconds) → answer.
Read = Callable[[str, dict[str, Any], float], Answer]


def reader(connection: neo4j.Driver | py2neo.Graph, database: str | None = None, custom: bool = False) -> Read:
    """A function that reads through the connection given.

    Args:
        connection: An open driver or a py2neo graph.
        database: Name of the database, if not the user's default.
        custom: What is asked is Cypher of the user's own: what the server remarks on it is logged. py2neo does not tell.

    py2neo 2021.2 cannot bound a transaction's time: there only the server's own ``db.transaction.timeout`` does.

    Raises:
        TypeError: If it is neither a neo4j.Driver nor a py2neo.Graph.
    """
    import neo4j

    if isinstance(connection, neo4j.Driver):
        return _through_driver(connection, database, custom)
    if type(connection).__module__.split(".")[0] == "py2neo":
        return _through_py2neo(connection)
    raise TypeError(f"connection: got {type(connection).__name__}; expected a neo4j.Driver or a py2neo.Graph")


def _through_driver(driver: neo4j.Driver, database: str | None, custom: bool) -> Read:
    import neo4j

    options = notices.CUSTOM if custom else notices.QUIET

    def read(text: str, parameters: dict[str, Any], seconds: float) -> Answer:
        @neo4j.unit_of_work(timeout=seconds)
        def work(tx: neo4j.ManagedTransaction) -> Answer:
            try:
                result = tx.run(text, parameters)
                answer = Answer(list(result.keys()), [[plain(v) for v in record.values()] for record in result])
                notices.say(result.consume())
                return answer
            except neo4j.exceptions.TransientError as error:
                if "OutOfMemory" in str(error.code):  # the driver would ask again, and again need as much
                    raise QueryTooLarge(str(error)) from error
                raise

        with notices.heard(), driver.session(database=database, default_access_mode=neo4j.READ_ACCESS, **options) as session:
            return session.execute_read(work)

    return read


def _through_py2neo(graph: py2neo.Graph) -> Read:
    def read(text: str, parameters: dict[str, Any], _: float) -> Answer:
        cursor = graph.auto(readonly=True).run(text, parameters)
        return Answer(list(cursor.keys()), [[plain(v) for v in record.values()] for record in cursor])

    return read


def plain(value: Any) -> Any:
    """Nodes, relationships and paths of either driver as mappings and lists; everything else as it is."""
    node, relationship, path = _graph_types()
    if isinstance(value, node):
        return {"labels": sorted(value.labels), "properties": dict(value)}
    if isinstance(value, relationship):
        ends = [end.get("uid") for end in (value.start_node, value.end_node)]
        return {"type": type(value).__name__, "source": ends[0], "target": ends[1], "properties": dict(value)}
    if isinstance(value, path):
        return {"nodes": [plain(n) for n in value.nodes], "relationships": [plain(r) for r in value.relationships]}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def _graph_types() -> tuple[Any, Any, Any]:
    """Classes of nodes, relationships and paths: the official driver's, and py2neo's where it is in use."""
    import neo4j.graph as official

    foreign = sys.modules.get("py2neo.data")
    if foreign is None:
        return (official.Node,), (official.Relationship,), (official.Path,)
    return (official.Node, foreign.Node), (official.Relationship, foreign.Relationship), (official.Path, foreign.Path)
