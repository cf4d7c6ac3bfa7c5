"""Measuring interactions: which feature causally drives which, by how much, with what certainty.

Clamping, as in "Causal tracing" style interventions on sparse features (Marks et al., Sparse Feature Circuits,
https://arxiv.org/abs/2403.19647), with the delta form that keeps the dictionary's error:

1. For each source: high level = a quantile of its active values on the select documents, low level = ``clamp_low``; samples are
   (document, position) pairs of the test documents where it is active, distinct documents first.
2. The clean run of these documents goes up the model once; at each source site a block of sources is clamped high and low in
   one batch, and all targets of the later sites of the window are read (``interventions.clamp_effects``).
3. Effects are divided by (high − low), averaged within documents and tested over documents.
4. Random directions with a real clamp's norm go through the same code: their largest effects are the floor below which nothing
   counts.
5. p is corrected over the family of all tests, one family per effect; the total effect is measured again on the confirmation
   documents.
"""

from feature_graph.interactions.errors import MeasureError
from feature_graph.interactions.exhaustive import Exhaustive, measure_exhaustive
from feature_graph.interactions.finish import leading_strength
from feature_graph.interactions.followup import (
    gating_candidates,
    measure_doses,
    measure_gating,
    measure_insertions,
    measure_mediation,
    strongest_pairs,
)
from feature_graph.interactions.measure import measure_interactions
from feature_graph.interactions.plan import Plan, Source, make_plan
from feature_graph.interactions.probes import Probe, clamps_of, path_of
from feature_graph.interventions import CleanDocuments, MeasurementContext, Setting

__all__ = [
    "CleanDocuments",
    "Exhaustive",
    "MeasureError",
    "MeasurementContext",
    "Plan",
    "Probe",
    "Setting",
    "Source",
    "clamps_of",
    "gating_candidates",
    "leading_strength",
    "make_plan",
    "measure_doses",
    "measure_exhaustive",
    "measure_gating",
    "measure_insertions",
    "measure_interactions",
    "measure_mediation",
    "path_of",
    "strongest_pairs",
]
