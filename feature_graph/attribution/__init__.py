"""How much each feature matters for what the model says: a gradient estimate, checked against real ablation."""

from feature_graph.attribution.ablation import AblationCheck, check_by_ablation
from feature_graph.attribution.effects import Effects, importance_documents, measure_effects, rows_of_documents

__all__ = ["AblationCheck", "Effects", "check_by_ablation", "importance_documents", "measure_effects", "rows_of_documents"]
