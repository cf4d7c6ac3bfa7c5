"""One small interface over the two drivers: the official ``neo4j.Driver`` and ``py2neo.Graph``."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ingest.errors import ServerMemory

if TYPE_CHECKING:
    import neo4j
    import py2neo

T = TypeVar("T")
Row = dict[str, Any]

logger = logging.getLogger(__name__)

#: Seconds for which a transaction is tried again: a server that is restarted is back by then.
PATIENCE_SECONDS = 90.0

#: Seconds after which a server that does not answer counts as absent.
CONNECT_SECONDS = 10.0

_FETCH = 5_000
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 8.0


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


class _Unwritten(list[Any]):
    """A list that does not write itself out: the driver formats every parameter for its debug log, also where that is off (6.4)."""

    def __repr__(self) -> str:
        return f"<list of {len(self)}>"


class _DriverTransaction:
    def __init__(self, tx: neo4j.Transaction) -> None:
        self._tx = tx

    def run(self, query: str, **parameters: Any) -> list[Row]:
        return [record.data() for record in self._tx.run(query, _quiet(parameters))]

    def stream(self, query: str, **parameters: Any) -> Iterator[Row]:
        for record in self._tx.run(query, _quiet(parameters)):
            yield dict(record.items())


def _quiet(parameters: dict[str, Any]) -> dict[str, Any]:
    """The same parameters with their lists unwritten: half of the processor time that sending rows costs."""
    return {name: _Unwritten(value) if isinstance(value, list) else value for name, value in parameters.items()}


class DriverDatabase:
    """Over the official driver. Transient errors and a lost connection are tried again with growing pauses.

    Args:
        driver: An open driver.
        database: Name of the database; the user's default if None.
        patience: Seconds from the first failure of a transaction until it is given up.
    """

    def __init__(self, driver: neo4j.Driver, database: str | None = None, patience: float = PATIENCE_SECONDS) -> None:
        self._driver, self._patience = driver, patience
        self._options: dict[str, Any] = {"database": database, "fetch_size": _FETCH, "notifications_min_severity": "OFF"}

    def write(self, work: Callable[[Transaction], T]) -> T:
        """See :class:`Database`."""
        return self._persist(lambda: self._once(work, self._options))

    def read(self, query: str, **parameters: Any) -> list[Row]:
        """See :class:`Database`."""
        options = {**self._options, "default_access_mode": "READ"}
        return self._persist(lambda: self._once(lambda tx: tx.run(query, **parameters), options))

    def _once(self, work: Callable[[Transaction], T], options: dict[str, Any]) -> T:
        with self._driver.session(**options) as session, session.begin_transaction() as tx:
            answer = work(_DriverTransaction(tx))
            tx.commit()
            return answer

    def _persist(self, attempt: Callable[[], T]) -> T:
        """Try again what may go better a little later.

        Raises:
            ServerMemory: If the server had too little memory for the transaction; the same one would fail again.
        """
        from neo4j.exceptions import DriverError, Neo4jError

        pauses = _pauses()
        since: float | None = None
        while True:
            try:
                return attempt()
            except (Neo4jError, DriverError) as error:
                if out_of_memory(error):
                    raise ServerMemory(
                        f"the server has too little memory for a transaction ({_first_line(error)}); give it more (`feature-graph db start "
                        "--heap 2g`, or db.memory.transaction.max of your own server) and try again: what has been written stays"
                    ) from error
                since = time.monotonic() if since is None else since
                pause = next(pauses)
                if not _worth_another(error) or time.monotonic() + pause - since > self._patience:
                    raise
                logger.warning("%s; trying again in %.1f s", _first_line(error), pause)
                time.sleep(pause)

    def execute(self, query: str) -> None:
        """See :class:`Database`."""
        with self._driver.session(**self._options) as session:
            session.run(query).consume()


def out_of_memory(error: BaseException) -> bool:
    """Whether the server said that a transaction needs more memory than it has."""
    return "OutOfMemory" in str(getattr(error, "code", "") or "")


def _worth_another(error: neo4j.exceptions.Neo4jError | neo4j.exceptions.DriverError) -> bool:
    """Also where the answer to a commit was lost: what is written here is written once even if it is tried twice."""
    from neo4j.exceptions import IncompleteCommit

    return error.is_retryable() or isinstance(error, IncompleteCommit)


def _pauses() -> Iterator[float]:
    """Growing pauses in seconds, none like another process' ones."""
    pause = _FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.8, 1.2)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}" if str(error).strip() else type(error).__name__


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


def open_driver(uri: str, auth: tuple[str, str], *, user_agent: str | None = None, quiet: bool = False) -> neo4j.Driver:
    """A driver, unchecked: it connects at its first use. Close it, or use it in a ``with`` block.

    Args:
        uri: Address, without a password or a database.
        auth: User and password.
        user_agent: What the program calls itself; the driver's own name if not given.
        quiet: Without the server's notifications: it would warn of every optional property that no node happens to have yet.
    """
    import neo4j

    options: dict[str, Any] = {"user_agent": user_agent} if user_agent else {}
    options |= {"notifications_min_severity": "OFF"} if quiet else {}
    return neo4j.GraphDatabase.driver(uri, auth=auth, connection_timeout=CONNECT_SECONDS, **options)


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
