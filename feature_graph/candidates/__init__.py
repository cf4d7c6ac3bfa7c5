"""Which pairs of features are worth measuring."""

from feature_graph.candidates.choose import identify_candidates
from feature_graph.candidates.density import within_density
from feature_graph.candidates.errors import CandidateError
from feature_graph.candidates.importance import Importance, measure_importance
from feature_graph.candidates.inputs import analysed_of, check_inputs, window_of
from feature_graph.candidates.shortlist import shortlist, shortlisted
from feature_graph.candidates.verdicts import missed_by_shortlist, removed_by

__all__ = [
    "CandidateError",
    "Importance",
    "analysed_of",
    "check_inputs",
    "identify_candidates",
    "measure_importance",
    "missed_by_shortlist",
    "removed_by",
    "shortlist",
    "shortlisted",
    "window_of",
    "within_density",
]
