"""Further measures of chosen edges: dose curves, insertion where the source is off, mediation by part of the model, two sources at once."""

from feature_graph.interactions.followup.doses import measure_doses
from feature_graph.interactions.followup.edges import strongest_pairs
from feature_graph.interactions.followup.gating import gating_candidates, measure_gating
from feature_graph.interactions.followup.insertion import measure_insertions
from feature_graph.interactions.followup.mediation import measure_mediation

__all__ = ["gating_candidates", "measure_doses", "measure_gating", "measure_insertions", "measure_mediation", "strongest_pairs"]
