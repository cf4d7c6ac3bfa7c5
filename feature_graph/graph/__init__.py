"""The interaction graph: nodes are features, edges are significant causal effects, always forward in the model.

Built from measured interactions, viewed by what an edge stands for, saved as GraphML or JSON and read back exactly.
"""

from feature_graph.graph.asked import Collapse, as_asked, effect_of, none_left
from feature_graph.graph.attributes import EDGE, NODE, unknowns
from feature_graph.graph.build import build_interaction_graph
from feature_graph.graph.errors import InteractionGraphError
from feature_graph.graph.families import collapsed, copy_families
from feature_graph.graph.files import GraphFileError, load_graph, save_graph
from feature_graph.graph.named_responses import NamedResponses, name_responses
from feature_graph.graph.passing import PassedSites
from feature_graph.graph.run import built_graph, graph_of_run, with_standardised
from feature_graph.graph.views import (
    Effect,
    acts,
    default_effect,
    edge_strength,
    interval,
    is_structural,
    largest_first,
    restated,
    scale,
    standardised,
    structural,
    structural_degrees,
    takes_from_copy,
)

__all__ = [
    "EDGE",
    "NODE",
    "Collapse",
    "Effect",
    "GraphFileError",
    "InteractionGraphError",
    "NamedResponses",
    "PassedSites",
    "acts",
    "as_asked",
    "build_interaction_graph",
    "built_graph",
    "collapsed",
    "copy_families",
    "default_effect",
    "edge_strength",
    "effect_of",
    "graph_of_run",
    "interval",
    "is_structural",
    "largest_first",
    "load_graph",
    "name_responses",
    "none_left",
    "restated",
    "save_graph",
    "scale",
    "standardised",
    "structural",
    "structural_degrees",
    "takes_from_copy",
    "unknowns",
    "with_standardised",
]
