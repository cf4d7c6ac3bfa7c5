"""Behaviours of the model, the features that carry them, and the part of the graph around these.

- ``behaviors``: prompts that show a behaviour, and those that come with the library
"""

from feature_graph.subgraphs.behaviors import PREDEFINED_BEHAVIORS, Behavior, BehaviorError, PromptPair, find_behavior, load_behavior
from feature_graph.subgraphs.compare import overlap, shared_features
from feature_graph.subgraphs.extract import extract_behavior_subgraph
from feature_graph.subgraphs.faithfulness import Share
from feature_graph.subgraphs.files import save_behaviors
from feature_graph.subgraphs.result import BehaviorScore, BehaviorSubgraph
from feature_graph.subgraphs.study import BehaviorStudy, StudyOptions, study_behavior

__all__ = [
    "PREDEFINED_BEHAVIORS",
    "Behavior",
    "BehaviorError",
    "BehaviorScore",
    "BehaviorStudy",
    "BehaviorSubgraph",
    "PromptPair",
    "Share",
    "StudyOptions",
    "extract_behavior_subgraph",
    "find_behavior",
    "load_behavior",
    "overlap",
    "save_behaviors",
    "shared_features",
    "study_behavior",
]
