"""The interaction graph: nodes are features, edges are significant causal effects, always forward in the model.

Built from measured interactions, viewed by what an edge stands for, saved as GraphML or JSON and read back exactly.
"""

from feature_graph.graph.build import build_interaction_graph
from feature_graph.graph.files import GraphFileError, load_graph, save_graph
from feature_graph.graph.views import edge_strength, restated, scale, structural

__all__ = ["GraphFileError", "build_interaction_graph", "edge_strength", "load_graph", "restated", "save_graph", "scale", "structural"]
