"""The embedded Neo4j: no Java, no Maven, no Docker needed on the user's machine.

    from feature_graph.database import server

    running = server.start(home)          # RunningServer(bolt_uri, http_url, browser_url, username, password_file, pid)
    connection = server.connection(home)  # Connection(uri, username, password, origin), .auth = (username, password)
    server.status(home)                   # Status(state "absent" | "stopped" | "starting" | "running", server, store_bytes, memory_bytes)
    server.stop(home)                     # True if it was running
    with server.disposable(folder) as connection: …   # a server for the length of a block
    with server.serve_pages(pages, origins) as served: …   # a few pages for Neo4j Browser, on loopback, for the length of a block
    server.reset(home)                    # stop, and erase the database
    server.admin(home, "database", "dump", …)   # neo4j-admin on a stopped home

``home`` is a folder, or None for the one that is meant here (``server.find_home()``). ``connection()`` without a home obeys
``NEO4J_URI/NEO4J_USERNAME/NEO4J_PASSWORD`` first. Every error is a ``ServerError`` that says what to do.
"""

from feature_graph.database.connection import Connection
from feature_graph.database.server.bolt import connection_from_environment, driver, run_cypher, value_text
from feature_graph.database.server.clients import other_clients
from feature_graph.database.server.errors import HomeError, JarsUnavailable, NotRunning, ServerError, StartFailed
from feature_graph.database.server.homes import Home, find_home
from feature_graph.database.server.jars import ensure_jars, jar_folder
from feature_graph.database.server.java import java_executable, java_version
from feature_graph.database.server.lifecycle import admin, disposable, reset, start, stop
from feature_graph.database.server.logs import failure_text, tail
from feature_graph.database.server.pages import Page, Served, serve_pages
from feature_graph.database.server.password import read_password
from feature_graph.database.server.running import RunningServer, Status, connection, status

__all__ = [
    "Connection",
    "Home",
    "HomeError",
    "JarsUnavailable",
    "NotRunning",
    "Page",
    "RunningServer",
    "Served",
    "ServerError",
    "StartFailed",
    "Status",
    "admin",
    "connection",
    "connection_from_environment",
    "disposable",
    "driver",
    "ensure_jars",
    "failure_text",
    "find_home",
    "jar_folder",
    "java_executable",
    "java_version",
    "other_clients",
    "read_password",
    "reset",
    "run_cypher",
    "serve_pages",
    "start",
    "status",
    "stop",
    "tail",
    "value_text",
]
