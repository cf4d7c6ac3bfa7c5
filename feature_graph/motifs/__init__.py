"""Small patterns of a graph: counted exactly, compared with null graphs, asked for in a small text form."""

from feature_graph.motifs.arrays import MotifError, SignedGraph
from feature_graph.motifs.census import TYPES, Census, MotifType, census, motif_type
from feature_graph.motifs.counts import MEANINGS, count_motifs
from feature_graph.motifs.cypher import CypherPattern, compile_cypher
from feature_graph.motifs.find import Match, find_pattern
from feature_graph.motifs.nulls import TOTALS, Mixing, NullTest, null_test
from feature_graph.motifs.pattern import Pattern, PatternError, parse_pattern
from feature_graph.motifs.product import count_pattern

__all__ = [
    "MEANINGS",
    "TOTALS",
    "TYPES",
    "Census",
    "CypherPattern",
    "Match",
    "Mixing",
    "MotifError",
    "MotifType",
    "NullTest",
    "Pattern",
    "PatternError",
    "SignedGraph",
    "census",
    "compile_cypher",
    "count_motifs",
    "count_pattern",
    "find_pattern",
    "motif_type",
    "null_test",
    "parse_pattern",
]
