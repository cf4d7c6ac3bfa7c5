"""What an edge weighs, where no effect is given: what is specific of it where that was measured, else its strength."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from queries.connection import Read, reader
from queries.errors import ParameterError
from queries.which import LOOKUP_SECONDS, which_run

if TYPE_CHECKING:
    import neo4j
    import py2neo

logger = logging.getLogger(__name__)

#: Whether a run has specific effects of edges by a method, in Cypher.
MEASURED = "EXISTS { MATCH ()-[e:AFFECTS {run: $n, method: $method}]->() WHERE e.specific IS NOT NULL }"


def find_effect(
    connection: neo4j.Driver | py2neo.Graph, run: str | None, method: str, wanted: str | None = None, *, database: str | None = None
) -> str:
    """The effect wanted, if the run has it; if none is given ``specific`` where the run measured it by this method, else ``strength``.

    Raises:
        ParameterError: If ``specific`` is wanted and was not measured, or there is no such run.
    """
    read = reader(connection, database)
    return choose_effect(read, [(which_run(read, "run", run), method)], wanted)


def choose_effect(read: Read, asked: Sequence[tuple[Mapping[str, Any], str]], wanted: str | None = None) -> str:
    """The same for several runs with the method asked about, all of which must have measured what is specific.

    Args:
        read: Reads from the database.
        asked: ``id`` and ``n`` of each run, and a method.
        wanted: What was asked for.
    """
    if wanted not in (None, "specific"):
        return wanted
    for run, method in asked:
        if not read(f"RETURN {MEASURED} AS measured", {"n": run["n"], "method": method}, LOOKUP_SECONDS).rows[0][0]:
            if wanted is None:
                return "strength"
            raise ParameterError(
                f"effect: got 'specific', which run {run['id']} did not measure by {method}, or which an earlier version did not load: run "
                "it with specificity_directions above 0 and targets: candidates, drop it and ingest it again, or choose another effect"
            )
    return "specific"


def why_nothing(name: str, effect: str) -> str:
    """What to say where an answer is empty."""
    return f"{name}: no edge asked for has a {effect} effect as large as the smallest that counts; effect=strength asks about all edges"
