"""The library's one door to Neo4j.

from feature_graph.database import store

with store.connect() as db:                       # NEO4J_URI …; or store.connect(uri, user, password)
    db.query("hubs", measure="pagerank")          # a pandas frame
    db.fetch_edges()
    store.analyze(db, "leiden")                   # Graph Data Science, written back with its Analysis
"""

from neo4j import Driver

from feature_graph.database.store.connection import check_address, connect, connect_py2neo, in_words
from feature_graph.database.store.database import Store
from feature_graph.database.store.errors import (
    AddressError,
    GdsUnavailable,
    LoginRefused,
    NotEncrypted,
    NotEnoughMemory,
    NotReachable,
    StoreError,
)
from feature_graph.database.store.gds import (
    ALGORITHMS,
    Algorithm,
    Analysis,
    Memory,
    Projection,
    analyze,
    analyze_all,
    client,
    memory_needed,
    projected,
    require_memory,
)
from feature_graph.database.store.motifs import Example, FoundMotif, count_pattern, fetch_motifs, match_pattern, save_motifs
from feature_graph.database.store.runs import RunDiff, diff_runs, export_run, list_runs

__all__ = [
    "ALGORITHMS",
    "AddressError",
    "Algorithm",
    "Analysis",
    "Driver",
    "Example",
    "FoundMotif",
    "GdsUnavailable",
    "LoginRefused",
    "Memory",
    "NotEncrypted",
    "NotEnoughMemory",
    "NotReachable",
    "Projection",
    "RunDiff",
    "Store",
    "StoreError",
    "analyze",
    "analyze_all",
    "check_address",
    "client",
    "connect",
    "connect_py2neo",
    "count_pattern",
    "diff_runs",
    "export_run",
    "fetch_motifs",
    "in_words",
    "list_runs",
    "match_pattern",
    "memory_needed",
    "projected",
    "require_memory",
    "save_motifs",
]
