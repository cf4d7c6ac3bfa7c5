"""How much each feature matters for what the model puts out: a gradient estimate, checked against real ablation."""

from feature_graph.candidates.attribution.ablation import AblationCheck, check_by_ablation
from feature_graph.candidates.attribution.batch import rows_of_documents
from feature_graph.candidates.attribution.effects import AblationEstimates, importance_documents, measure_effects
from feature_graph.candidates.attribution.kinds import effect_of

__all__ = [
    "AblationCheck",
    "AblationEstimates",
    "check_by_ablation",
    "effect_of",
    "importance_documents",
    "measure_effects",
    "rows_of_documents",
]
