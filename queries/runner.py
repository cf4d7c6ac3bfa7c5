"""Ask: check the parameters, find the run, read with a time limit, and leave no projection behind."""

from __future__ import annotations

import logging
import sys
import time
import uuid
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from queries.connection import Answer, Read, reader
from queries.effects import choose_effect, why_nothing
from queries.errors import DecodersMissing, GdsMissing, ParameterError, QueryError, QueryTimeout, QueryTooLarge, TooDeep
from queries.feature_ids import layer_of
from queries.gds import gds_failure
from queries.library import template, text
from queries.methods import choose_method, choose_other_method
from queries.template import Parameter, Template
from queries.which import LOOKUP_SECONDS, which_run

if TYPE_CHECKING:
    import neo4j
    import py2neo

logger = logging.getLogger(__name__)

TIMEOUT = 60.0
TOO_LARGE = "the database has too little memory for it; ask for less, or give it more (`feature-graph db start --heap 4g`)"
#: What the database puts before the sentence of a template that refuses a run (see cascades/cascade.cypher).
_REFUSED = "Unknown coordinate reference system: "
#: What is looked up first; the rest depends on it.
_ORDER = {"run": 0, "other_run": 1, "method": 2, "other_method": 3, "effect": 4}


def run(
    connection: neo4j.Driver | py2neo.Graph,
    name: str,
    /,
    *,
    timeout: float = TIMEOUT,
    visual: bool = False,
    any_status: bool = False,
    database: str | None = None,
    **parameters: Any,
) -> Answer:
    """Ask one question, in read access mode.

    Args:
        connection: An open driver or a py2neo graph.
        name: Name of the template (see :func:`queries.names`).
        timeout: Seconds after which the database gives up.
        visual: Ask for the form that returns paths.
        any_status: Also ask runs that are loading, failed or dropped, where they are named; what they hold is not whole, and a warning
            says so.
        database: Name of the database, if not the user's default.
        **parameters: Values for the template's parameters; those not given take their defaults, ``run`` the newest ready run.

    Raises:
        QueryError: If there is no such template or no ready run.
        ParameterError: If a parameter is unknown, missing, of another type, out of bounds, or names what the run does not have.
        QueryTimeout: If it took too long.
        QueryTooLarge: If the database has too little memory for it.
        TooDeep: If the run has longer paths than the template follows.
        GdsMissing: If the Graph Data Science library is needed and not there.
        DecodersMissing: If decoder vectors are needed and the run was loaded without.
    """
    found = template(name)
    query = text(name, visual, any_status)
    values = check_parameters(found, parameters)
    read = reader(connection, database)
    _resolve(read, found, values, {key for key, value in parameters.items() if value is not None}, any_status)
    begun = time.monotonic()
    try:
        answer = _ask(read, found, query, {k: v for k, v in values.items() if f"${k}" in query}, timeout)
    finally:
        _forget(read, found, values)
    effect = values.get("effect")
    logger.info("%s%s: %d rows in %.2f s", name, f" by {effect}" if effect else "", len(answer), time.monotonic() - begun)
    if effect not in (None, "strength") and not visual and _says_nothing(answer):
        logger.warning("%s", why_nothing(name, effect))
    return answer


def _says_nothing(answer: Answer) -> bool:
    """Whether there are no rows, or all scores are 0."""
    return not any(row.get("score", 1) for row in answer.records)


def check_parameters(found: Template, parameters: dict[str, Any]) -> dict[str, Any]:
    """All parameters of a template with their values; what only the database can tell is not yet checked.

    Raises:
        ParameterError: As :func:`run`.
    """
    for name in parameters:
        found.parameter(name)
    values = {}
    for parameter in found.parameters:
        value = parameters.get(parameter.name)
        if value is None and parameter.required:
            raise ParameterError(f"{found.name} needs {parameter.name}: {parameter.about}")
        values[parameter.name] = None if value is None and parameter.default is None else parameter.check(value)
    return values


def _resolve(read: Read, found: Template, values: dict[str, Any], given: set[str], any_status: bool) -> None:
    """Fill in the runs, their methods and the projection's name; check what the run must have."""
    facts: dict[str, Any] = {}
    other: dict[str, Any] = {}
    for parameter in sorted(found.parameters, key=lambda p: _ORDER.get(p.type, len(_ORDER))):
        name, value = parameter.name, values[parameter.name]
        if parameter.type == "run":
            facts = which_run(read, name, value, any_status)
            values[name] = facts["id"]
        elif parameter.type == "other_run":
            other = which_run(read, name, value, any_status)
            values[name] = other["id"]
        elif parameter.type == "projection":
            values[name] = value or f"{found.name}-{uuid.uuid4().hex}"
        elif parameter.type == "method":
            wanted = value if name in given or name != "method" else None
            values[name] = choose_method(facts["id"], facts["methods"], wanted, name)
        elif parameter.type == "other_method":
            values[name] = choose_other_method(values["method"], other["id"], other["methods"], value, name)
        elif parameter.type == "effect":
            there = [(other, values.get("other_method", values["method"]))] if other else []
            values[name] = choose_effect(read, [(facts, values["method"]), *there], value)
        elif value is not None and facts:
            _check_in_run(read, parameter, value, facts)
    if found.needs_decoders and not facts["decoders"]:
        raise DecodersMissing(
            f"{found.name} needs decoder vectors, which run {facts['id']} was loaded without: write them with "
            "`feature-graph vectors RUN_DIR`, then `feature-graph ingest RUN_DIR` again (what has been loaded is not loaded twice)"
        )


def _check_in_run(read: Read, parameter: Parameter, value: Any, run: dict[str, Any]) -> None:
    if parameter.type == "feature":
        seek = "MATCH (o:Observation {run: $n, id: $id}) RETURN o.id AS id"
        if not read(seek, {"n": run["n"], "id": value}, LOOKUP_SECONDS).rows:
            raise ParameterError(_no_feature(read, parameter.name, value, run))
    if parameter.type == "behavior":
        rows = read(
            "MATCH (b:Behavior) WHERE b.run = $n AND b.uid STARTS WITH toString($n) + '/' RETURN b.name AS name ORDER BY name",
            {"n": run["n"]},
            LOOKUP_SECONDS,
        ).records
        known = [row["name"] for row in rows]
        if value not in known:
            raise ParameterError(f"{parameter.name}: got {value!r}; run {run['id']} has {', '.join(known) or 'no behaviours'}")


def _no_feature(read: Read, name: str, value: str, run: dict[str, Any]) -> str:
    layer = layer_of(value)
    query = "MATCH (o:Observation {run: $n, layer: $layer}) RETURN o.id AS id"
    rows = [] if layer is None else read(query, {"n": run["n"], "layer": layer}, LOOKUP_SECONDS).records
    near = get_close_matches(value, [row["id"] for row in rows], n=3, cutoff=0.4)
    if near:
        return f"{name}: got {value!r}; run {run['id']} does not have it; near: {', '.join(near)}"
    return f"{name}: got {value!r}; run {run['id']} does not have it; find features with `feature-graph query search --param text=…`"


def _ask(read: Read, found: Template, query: str, values: dict[str, Any], timeout: float) -> Answer:
    try:
        return read(query, values, timeout)
    except Exception as error:
        code = str(getattr(error, "code", ""))
        if "TransactionTimedOut" in code or "TransactionTimedOut" in str(error):
            raise QueryTimeout(
                f"{found.name}: no answer in {timeout:g} s; ask for less (limits, thresholds, fewer hops) or raise the timeout"
            ) from error
        if "OutOfMemory" in code or "OutOfMemory" in str(error):
            raise QueryTooLarge(f"{found.name}: {TOO_LARGE}") from error
        if _REFUSED in str(error):
            raise TooDeep(str(getattr(error, "message", error)).partition(_REFUSED)[2].strip()) from error
        if found.needs_gds and ("ProcedureNotFound" in code or "Unknown function 'gds." in str(error)):
            raise GdsMissing(
                f"{found.name} needs the Graph Data Science library, which this server lacks; the embedded server has it"
            ) from error
        failed = gds_failure(error)
        if failed is not None:
            raise QueryError(f"{found.name}: {failed}") from error
        raise


def _database_errors() -> tuple[type[Exception], ...]:
    from neo4j.exceptions import DriverError, Neo4jError

    foreign = sys.modules.get("py2neo.errors")
    return (Neo4jError, DriverError) if foreign is None else (Neo4jError, DriverError, foreign.Neo4jError)


def _forget(read: Read, found: Template, values: dict[str, Any]) -> None:
    """Drop a projection that a failed statement left behind."""
    for parameter in found.parameters:
        if parameter.type == "projection":
            query = "CALL gds.graph.list($graph) YIELD graphName CALL gds.graph.drop(graphName) YIELD graphName AS gone RETURN gone"
            try:
                read(query, {"graph": values[parameter.name]}, LOOKUP_SECONDS)
            except _database_errors() as error:
                logger.warning("projection %s could not be dropped: %s", values[parameter.name], error)
