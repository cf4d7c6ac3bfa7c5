"""Questions to an interaction graph, answered in process: statistics, hubs, communities, motifs, and what the evidence is worth."""

from feature_graph.analysis.communities import detect_communities, modularity
from feature_graph.analysis.composition import COMPUTED, Computation, ComputedShare, EdgeShare, composition, computation
from feature_graph.analysis.errors import AnalysisError
from feature_graph.analysis.evidence import EdgeAgreement, Replication, edge_agreement, mostly_copy, replication
from feature_graph.analysis.hubs import HUB_METRICS, find_hubs
from feature_graph.analysis.motif_counts import count_motifs
from feature_graph.analysis.statistics import GraphStatistics, compute_graph_statistics
from feature_graph.graph import collapsed, copy_families
from ingest.families import CopyFamily

__all__ = [
    "COMPUTED",
    "HUB_METRICS",
    "AnalysisError",
    "Computation",
    "ComputedShare",
    "CopyFamily",
    "EdgeAgreement",
    "EdgeShare",
    "GraphStatistics",
    "Replication",
    "collapsed",
    "composition",
    "computation",
    "compute_graph_statistics",
    "copy_families",
    "count_motifs",
    "detect_communities",
    "edge_agreement",
    "find_hubs",
    "modularity",
    "mostly_copy",
    "replication",
]
