"""Who else is connected to a server."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from feature_graph.database.connection import Connection

_LIST = (
    "CALL dbms.listConnections() YIELD connector, userAgent, clientAddress, connectTime WHERE userAgent <> $mine "
    "RETURN userAgent AS program, clientAddress AS address, connectTime AS since ORDER BY since"
)


@dataclass(frozen=True)
class Client:
    """One connection: the program as it calls itself, where it comes from, since when."""

    program: str
    address: str
    since: str


def other_clients(connection: Connection) -> list[Client]:
    """Connections to the server other than the one that asks."""
    mine = f"feature-graph/{uuid.uuid4().hex}"
    with connection.open(user_agent=mine) as driver:
        rows = driver.execute_query(_LIST, mine=mine, routing_="r").records
    return [Client(str(row["program"]), str(row["address"]), str(row["since"])) for row in rows]
