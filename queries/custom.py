"""Cypher of the user's own, read-only, and how the database would go about a question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from queries.connection import Answer, reader
from queries.errors import QueryError, QueryTimeout, QueryTooLarge
from queries.gds import gds_failure
from queries.library import template, text
from queries.runner import TIMEOUT, TOO_LARGE, check_parameters

if TYPE_CHECKING:
    import neo4j
    import py2neo


def ask(
    connection: neo4j.Driver | py2neo.Graph,
    query: str,
    /,
    *,
    timeout: float = TIMEOUT,
    database: str | None = None,
    parameters: dict[str, Any] | None = None,
) -> Answer:
    """Run one Cypher statement of your own in read access mode; what the server remarks on it (an unknown label …) is logged.

    Args:
        connection: An open driver or a py2neo graph.
        query: The statement; values belong into ``parameters``, as ``$name``.
        timeout: Seconds after which the database gives up.
        database: Name of the database, if not the user's default.
        parameters: Values of its parameters.

    Raises:
        QueryError: If the database refuses it: an error in the Cypher, a missing parameter, or an attempt to write.
        QueryTimeout: If it took too long.
        QueryTooLarge: If the database has too little memory for it.
    """
    import neo4j.exceptions

    if not query.strip():
        raise QueryError("the statement is empty; expected Cypher, such as MATCH (f:Feature) RETURN count(f)")
    try:
        return reader(connection, database, custom=True)(query, parameters or {}, timeout)
    except QueryTooLarge as error:
        raise QueryTooLarge(TOO_LARGE) from error
    except neo4j.exceptions.Neo4jError as error:
        if "TransactionTimedOut" in str(error.code):
            raise QueryTimeout(f"no answer in {timeout:g} s; ask for less or raise the timeout") from error
        raise QueryError(f"the database refused it: {gds_failure(error) or error.message}") from error


def explain(
    driver: neo4j.Driver,
    name: str,
    /,
    *,
    visual: bool = False,
    any_status: bool = False,
    database: str | None = None,
    **parameters: Any,
) -> str:
    """The plan by which the database would answer a template, without running it: one operator per line, children indented.

    Args:
        driver: An open driver.
        name: Name of the template.
        visual: The form that returns paths.
        any_status: The form that asks runs of any status.
        database: Name of the database, if not the user's default.
        **parameters: As for :func:`queries.run`; required ones may be left out.

    Raises:
        QueryError: If there is no such template or parameter.
    """
    found = template(name)
    given = {p.name: 0 if p.type == "int" else "" for p in found.parameters if p.required} | parameters
    values = check_parameters(found, parameters) if not (given.keys() - parameters.keys()) else given
    query = text(name, visual, any_status)
    used = {p.name: values.get(p.name) for p in found.parameters if f"${p.name}" in query}
    with driver.session(database=database, default_access_mode="READ", notifications_min_severity="OFF") as session:
        plan = session.run(f"EXPLAIN {query}", used).consume().plan
    return "\n".join(_lines(plan or {}, 0))


def _lines(plan: dict[str, Any], depth: int) -> list[str]:
    details = str(plan.get("args", {}).get("Details", ""))
    rows = plan.get("args", {}).get("EstimatedRows")
    operator = str(plan.get("operatorType", "")).split("@")[0]
    line = "  " * depth + operator + (f" (about {rows:.0f} rows)" if rows is not None else "") + (f": {details}" if details else "")
    return [line, *(child for inner in plan.get("children", []) for child in _lines(inner, depth + 1))]
