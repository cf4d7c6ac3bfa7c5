"""Which pairs of features are worth measuring."""

from feature_graph.candidates.choose import identify_candidates
from feature_graph.candidates.errors import CandidateError

__all__ = ["CandidateError", "identify_candidates"]
