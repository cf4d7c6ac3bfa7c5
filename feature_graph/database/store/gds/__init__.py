"""Graph Data Science over one run, by the graphdatascience client: project a part of it, compute, write back with an Analysis record."""

from feature_graph.database.store.gds.algorithms import ALGORITHMS, Algorithm
from feature_graph.database.store.gds.analyze import Analysis, analyze, analyze_all
from feature_graph.database.store.gds.memory import Memory, memory_needed, require_memory
from feature_graph.database.store.gds.projection import Projection, client, projected

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "Analysis",
    "Memory",
    "Projection",
    "analyze",
    "analyze_all",
    "client",
    "memory_needed",
    "projected",
    "require_memory",
]
