"""Which Neo4j servers are supported, told by the version they report."""

from __future__ import annotations

import logging
import re

from ingest.connection import Database
from ingest.errors import UnsupportedServer

logger = logging.getLogger(__name__)

#: The series that is tested (long-term support): the embedded server, and every test.
SUPPORTED = (5, 26)
_VERSION = re.compile(r"(?:Neo4j/)?(\d+)\.(\d+)")
_DO = "use the embedded server (`feature-graph db start`), the image in docker/, or a Neo4j 5.26"


def check_version(version: str) -> None:
    """Refuse a server older than 5.26, or one that is no Neo4j; warn of a newer series, which is not tested.

    Args:
        version: As the server reports it: ``5.26.30`` of ``dbms.components()``, or the agent ``Neo4j/5.26.30`` of Bolt's greeting.

    Raises:
        UnsupportedServer: If templates and schema cannot work there.
    """
    found = _VERSION.match(version)
    if found is None or "compatible" in version:
        raise UnsupportedServer(f"the server says it is {version!r}; expected Neo4j 5.26 or newer: {_DO}")
    series = int(found[1]), int(found[2])
    if series < SUPPORTED:
        raise UnsupportedServer(
            f"the server is Neo4j {version.removeprefix('Neo4j/')}; supported is 5.26 (LTS) and newer, because the templates use scoped "
            f"subqueries and a vector index of any width: {_DO}"
        )
    if series > SUPPORTED:
        logger.info("the server is %s; tested is Neo4j 5.26", version)


def check_server(database: Database) -> None:
    """Refuse a server that is not supported.

    Raises:
        UnsupportedServer: As :func:`check_version`.
    """
    rows = database.read("CALL dbms.components() YIELD name, versions RETURN name, versions")
    kernel = [row["versions"][0] for row in rows if row["name"] == "Neo4j Kernel"]
    check_version(kernel[0] if kernel else ", ".join(str(row["name"]) for row in rows) or "nothing")
