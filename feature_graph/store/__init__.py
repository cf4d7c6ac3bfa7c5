"""The library's one door to Neo4j.

from feature_graph import store

with store.connect() as db:                       # NEO4J_URI …; or store.connect(uri, user, password)
    db.query("hubs", measure="pagerank")          # a pandas frame
    db.fetch_edges()
    store.analyze(db, "leiden")                   # Graph Data Science, written back with its Analysis
"""

from feature_graph.store.analysis import Projection, analyze, client, projected
from feature_graph.store.connection import check_address, connect, connect_py2neo
from feature_graph.store.database import Store
from feature_graph.store.errors import GdsUnavailable, LoginRefused, NotEncrypted, NotReachable, StoreError
from feature_graph.store.runs import RunDiff, diff_runs, export_run, list_runs

__all__ = [
    "GdsUnavailable",
    "LoginRefused",
    "NotEncrypted",
    "NotReachable",
    "Projection",
    "RunDiff",
    "Store",
    "StoreError",
    "analyze",
    "check_address",
    "client",
    "connect",
    "connect_py2neo",
    "diff_runs",
    "export_run",
    "list_runs",
    "projected",
]
