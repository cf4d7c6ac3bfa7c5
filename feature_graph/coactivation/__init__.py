"""Which features are active together: the correlational scaffold on which causal measurement is built."""

from feature_graph.coactivation.build import build_coactivation_atlas, select_rows
from feature_graph.coactivation.errors import CoactivationError
from feature_graph.coactivation.kernel import ActivityPattern, JointCounts, count_pairs, count_pairs_plain

__all__ = [
    "ActivityPattern",
    "CoactivationError",
    "JointCounts",
    "build_coactivation_atlas",
    "count_pairs",
    "count_pairs_plain",
    "select_rows",
]
