"""One small interface over the two drivers: the official ``neo4j.Driver`` and ``py2neo.Graph``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import neo4j
    import py2neo

T = TypeVar("T")
Row = dict[str, Any]

_FETCH = 5_000


class Transaction(Protocol):
    """An open transaction."""

    def run(self, query: str, **parameters: Any) -> list[Row]:
        """Run one statement and give its rows."""
        ...

    def stream(self, query: str, **parameters: Any) -> Iterator[Row]:
        """Run one statement and give its rows one by one."""
        ...


class Database(Protocol):
    """What loading needs of a database."""

    def write(self, work: Callable[[Transaction], T]) -> T:
        """Do ``work`` in one transaction; it may be called again after a transient error."""
        ...

    def read(self, query: str, **parameters: Any) -> list[Row]:
        """Run one statement in read access mode."""
        ...

    def execute(self, query: str) -> None:
        """Run one statement outside any transaction of ours, as schema changes and batched deletions need."""
        ...


class _DriverTransaction:
    def __init__(self, tx: neo4j.ManagedTransaction) -> None:
        self._tx = tx

    def run(self, query: str, **parameters: Any) -> list[Row]:
        return [record.data() for record in self._tx.run(query, parameters)]

    def stream(self, query: str, **parameters: Any) -> Iterator[Row]:
        for record in self._tx.run(query, parameters):
            yield dict(record.items())


class DriverDatabase:
    """Over the official driver, which retries transient errors with growing pauses."""

    def __init__(self, driver: neo4j.Driver, database: str | None = None) -> None:
        self._driver = driver
        self._options: dict[str, Any] = {"database": database, "fetch_size": _FETCH, "notifications_min_severity": "OFF"}

    def write(self, work: Callable[[Transaction], T]) -> T:
        """See :class:`Database`."""
        with self._driver.session(**self._options) as session:
            return session.execute_write(lambda tx: work(_DriverTransaction(tx)))

    def read(self, query: str, **parameters: Any) -> list[Row]:
        """See :class:`Database`."""
        with self._driver.session(**self._options, default_access_mode="READ") as session:
            return session.execute_read(lambda tx: _DriverTransaction(tx).run(query, **parameters))

    def execute(self, query: str) -> None:
        """See :class:`Database`."""
        with self._driver.session(**self._options) as session:
            session.run(query).consume()


class _Py2neoTransaction:
    def __init__(self, tx: py2neo.Transaction) -> None:
        self._tx = tx

    def run(self, query: str, **parameters: Any) -> list[Row]:
        return list(self.stream(query, **parameters))

    def stream(self, query: str, **parameters: Any) -> Iterator[Row]:
        for record in self._tx.run(query, parameters):
            yield dict(record)


class Py2neoDatabase:
    """Over py2neo 2021.2, which has no timeout and retries a transaction at most twice."""

    def __init__(self, graph: py2neo.Graph) -> None:
        self._graph = graph

    def write(self, work: Callable[[Transaction], T]) -> T:
        """See :class:`Database`."""
        answers: list[T] = []
        self._graph.update(lambda tx: answers.append(work(_Py2neoTransaction(tx))))
        return answers[-1]

    def read(self, query: str, **parameters: Any) -> list[Row]:
        """See :class:`Database`."""
        return [dict(record) for record in self._graph.query(query, parameters)]

    def execute(self, query: str) -> None:
        """See :class:`Database`."""
        self._graph.auto().run(query)


def as_database(connection: neo4j.Driver | py2neo.Graph | Database) -> Database:
    """Wrap a ``neo4j.Driver`` or a ``py2neo.Graph``; a :class:`Database` is given back as it is.

    Raises:
        TypeError: If it is none of them.
    """
    import neo4j

    if isinstance(connection, neo4j.Driver):
        return DriverDatabase(connection)
    if isinstance(connection, DriverDatabase | Py2neoDatabase):
        return connection
    if type(connection).__module__.split(".")[0] == "py2neo":
        return Py2neoDatabase(connection)
    raise TypeError(f"connection: got {type(connection).__name__}; expected a neo4j.Driver or a py2neo.Graph")
