"""Constraints and indexes of the schema in a database that may have others: which are there, by what they are on and not by their name."""

from __future__ import annotations

import logging
from typing import Any

from ingest.connection import Database, Row, Transaction
from ingest.errors import SchemaMismatch
from ingest.schema import INDEXES, UNIQUE_KEYS, Index

logger = logging.getLogger(__name__)

#: Seconds for which each index of a large store is waited for: five million edges take about 15.
INDEX_SECONDS = 7_200

#: Seconds after which the server may go on counting its indexes by itself.
STATISTICS_SECONDS = 300

_INDEXES = (
    "SHOW INDEXES YIELD name, type, entityType, labelsOrTypes, properties, state, owningConstraint WHERE labelsOrTypes IS NOT NULL "
    "RETURN name, type, entityType, labelsOrTypes, properties, state, owningConstraint"
)
_DO = "or keep the runs in a database of their own (another home, or --database)"


def missing_constraints(database: Database) -> list[str]:
    """``Label.key`` of every key of the schema that is not unique here."""
    rows = database.read("SHOW CONSTRAINTS YIELD type, labelsOrTypes, properties RETURN type, labelsOrTypes, properties")
    there = {(*row["labelsOrTypes"], *row["properties"]) for row in rows if row["type"] == "UNIQUENESS"}
    return sorted(f"{label}.{key}" for _, label, key in UNIQUE_KEYS if (label, key) not in there)


def missing_indexes(database: Database) -> list[str]:
    """Names of the schema's indexes of which none of the same kind on the same properties is online."""
    online = {_what(row) for row in database.read(_INDEXES) if row["state"] == "ONLINE"}
    return sorted(index.name for index in INDEXES if _wanted(index) not in online)


def await_indexes(tx: Transaction) -> None:
    """Return when every index of the schema is online; indexes of the user's own are not looked at."""
    wanted = {_wanted(index) for index in INDEXES}
    for row in tx.run(_INDEXES):
        if _what(row) in wanted and row["state"] != "ONLINE":
            tx.run("CALL db.awaitIndex($name, $seconds)", name=row["name"], seconds=INDEX_SECONDS)


def refresh_statistics(database: Database) -> None:
    """Let plans be made from what the indexes hold now.

    The server counts a changed index again when it finds the time. Until then it takes one that was filled a moment ago for empty, and
    plans to look through all of it at every row.
    """
    from neo4j.exceptions import Neo4jError

    try:
        database.execute(f"CALL db.prepareForReplanning({STATISTICS_SECONDS})")
    except Neo4jError as error:
        logger.warning("questions may be slow until the server has counted its indexes again by itself: %s", error.message)


def check_names(database: Database) -> None:
    """Refuse a database in which the schema cannot be made: Cypher's IF NOT EXISTS would silently pass over a name that is taken.

    Raises:
        SchemaMismatch: If an index or constraint of another program has a name that the schema needs, or stands in the way of one.
    """
    rows = database.read(_INDEXES)
    named = {row["name"]: row for row in rows}
    for name, label, key in UNIQUE_KEYS:
        _refuse_other(named.get(name), ("RANGE", "NODE", (label,), (key,)))
        for row in rows:
            if _what(row) == ("RANGE", "NODE", (label,), (key,)) and row["owningConstraint"] is None:
                raise SchemaMismatch(
                    f"the index {row['name']} on {_where(row)} stands in the way of the unique key {name}: DROP INDEX {row['name']} "
                    f"(the key serves the same queries), {_DO}"
                )
    for index in INDEXES:
        _refuse_other(named.get(index.name), _wanted(index))
        for row in rows:
            if _what(row) == _wanted(index) and row["owningConstraint"] is not None:
                raise SchemaMismatch(
                    f"the unique key {row['owningConstraint']} on {_where(row)} stands in the way of {index.name}: several may have "
                    f"the same value. DROP CONSTRAINT {row['owningConstraint']}, {_DO}"
                )
            # Queries call these two kinds by their names, and there can be one only on the same properties.
            if index.kind != "RANGE" and _what(row) == _wanted(index) and row["name"] != index.name:
                raise SchemaMismatch(
                    f"the index {row['name']} on {_where(row)} stands in the way of {index.name}: DROP INDEX {row['name']} and load again, "
                    f"which makes the same under that name, {_DO}"
                )


def _refuse_other(row: Row | None, wanted: tuple[Any, ...]) -> None:
    if row is not None and _what(row) != wanted:
        kind = "constraint" if row["owningConstraint"] else "index"
        raise SchemaMismatch(
            f"the name {row['name']} is taken by a{'n' if kind == 'index' else ''} {kind} of another program, on {_where(row)}: "
            f"DROP {kind.upper()} {row['name']} and make it under another name, {_DO}"
        )


def _what(row: Row) -> tuple[Any, ...]:
    return row["type"], row["entityType"], tuple(row["labelsOrTypes"]), tuple(row["properties"] or ())


def _wanted(index: Index) -> tuple[Any, ...]:
    return index.kind, "RELATIONSHIP" if index.relationship else "NODE", (index.on,), index.properties


def _where(row: Row) -> str:
    return f"{':'.join(row['labelsOrTypes'])}({', '.join(row['properties'] or ())})"
