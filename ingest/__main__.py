"""``python -m ingest RUN_DIR``: load a run with nothing but this package and a database address."""

from __future__ import annotations

import argparse
import getpass
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.address import choose_database, parse_address
from ingest.connection import DriverDatabase, open_driver
from ingest.drop import drop_run
from ingest.environment import Neo4jEnvironment, read_environment
from ingest.errors import IngestError
from ingest.load import ingest_run
from ingest.messages import explain
from ingest.password import obtain_password
from ingest.text import VisibleFormatter, visible

if TYPE_CHECKING:
    from rich.progress import TaskID


def main(arguments: list[str] | None = None) -> int:
    """Run the command; gives the exit code."""
    environment = read_environment()
    given = _parser(environment).parse_args(arguments)
    handler = logging.StreamHandler()
    handler.setFormatter(VisibleFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if given.verbose else logging.WARNING, handlers=[handler])
    if given.uri is None:
        print(
            "error: no database: give --uri or set NEO4J_URI, NEO4J_USERNAME and NEO4J_PASSWORD (or NEO4J_PASSWORD_FILE)", file=sys.stderr
        )
        return 2
    from neo4j.exceptions import AuthError, DriverError, Neo4jError

    uri = ""
    try:
        address = parse_address(given.uri)
        uri, database = address.uri, choose_database(given.database, address, environment.database)
        _work(uri, database, given, environment)
    except IngestError as error:
        return _failed(str(error), error.exit_code)
    except AuthError as error:
        do = "Set NEO4J_USERNAME and NEO4J_PASSWORD (or NEO4J_PASSWORD_FILE)"
        return _failed(f"{uri} refused user {given.user!r}: {error.message}. {do}")
    except (DriverError, Neo4jError) as error:
        return _failed(explain(error, uri))
    return 0


def _work(uri: str, database: str | None, given: argparse.Namespace, environment: Neo4jEnvironment) -> None:
    password = obtain_password(environment.password, f"{given.user} at {uri}", lambda words: getpass.getpass(f"{words}: "))
    with open_driver(uri, (given.user, password)) as driver:
        driver.verify_connectivity()
        chosen = DriverDatabase(driver, database)
        if given.drop:
            dropped = drop_run(chosen, given.run)
            print(visible(f"run {dropped.run} dropped: {dropped.deleted}"))
        else:
            print(visible(_ingest(chosen, Path(given.run))))


def _failed(message: str, code: int = 1) -> int:
    print(visible(f"error: {message}"), file=sys.stderr)
    return code


def _parser(environment: Neo4jEnvironment) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ingest", description="Write a finished run into Neo4j.")
    parser.add_argument("run", help="run directory; with --drop, the id of a run")
    parser.add_argument("--uri", default=environment.uri, help="address of the database (default: NEO4J_URI)")
    parser.add_argument("--user", default=environment.user, help="user (default: NEO4J_USERNAME, else neo4j)")
    parser.add_argument("--database", help="name of the database (default: that in the address, else NEO4J_DATABASE, else the user's)")
    parser.add_argument("--drop", action="store_true", help="take a run out of the database instead")
    parser.add_argument("--verbose", action="store_true", help="log what is done")
    return parser


def _ingest(database: DriverDatabase, run_dir: Path) -> str:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), "elapsed,", TimeRemainingColumn(), "left")
    with Bar(*columns, console=Console(stderr=True)) as bar:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(f"writing {what}", total=None)
            bar.update(tasks[what], completed=done, total=total)

        return ingest_run(database, run_dir, progress).summary()


if __name__ == "__main__":
    sys.exit(main())
