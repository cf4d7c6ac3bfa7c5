"""Response vectors: what one unit of a feature does to the residual stream at every later site, at tokens where it is active.

1. Samples come from the select documents: up to ``response_samples`` tokens per source, distinct documents first. Sources go through
   documents and tokens in one order, so that they share them (:func:`plan_responses`).
2. At each token the derivative of the later residual streams along the source's direction is taken with everything free, and averaged
   within documents, then over the documents of each half (:func:`measure_responses`).
3. What any direction would have done there is fitted to the other sources by a ridge map, each source and its near parallels left out
   (:func:`generic_responses`).
4. A reader of a later site makes an effect of it: ``P̂(target on | source on) · ⟨response, reader⟩``, a screen for the total effect, with
   its copied, computed and specific part (:class:`ResponseScreen`).
"""

from feature_graph.artifacts import ResponseStore
from feature_graph.responses.check import check_responses
from feature_graph.responses.gates import GateTable, OpenGates
from feature_graph.responses.generic import GenericMaps, generic_map, generic_responses
from feature_graph.responses.measure import measure_responses
from feature_graph.responses.plan import LayerSamples, ResponsePlan, plan_responses
from feature_graph.responses.screen import EFFECTS, Effect, ResponseScreen, ScreenBlock

__all__ = [
    "EFFECTS",
    "Effect",
    "GateTable",
    "GenericMaps",
    "LayerSamples",
    "OpenGates",
    "ResponsePlan",
    "ResponseScreen",
    "ResponseStore",
    "ScreenBlock",
    "check_responses",
    "generic_map",
    "generic_responses",
    "measure_responses",
    "plan_responses",
]
