"""Behaviours of the model, the features that carry them, and the part of the graph around these.

- ``behaviors``: prompts that show a behaviour, and those that come with the library
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from feature_graph.subgraphs.behaviors import PREDEFINED_BEHAVIORS, Behavior, BehaviorError, PromptPair, find_behavior, load_behavior

if TYPE_CHECKING:
    from feature_graph.subgraphs.compare import overlap, shared_features
    from feature_graph.subgraphs.extract import extract_behavior_subgraph
    from feature_graph.subgraphs.faithfulness import Share
    from feature_graph.subgraphs.files import load_seeds, save_behaviors, save_seeds
    from feature_graph.subgraphs.result import BehaviorScore, BehaviorSubgraph
    from feature_graph.subgraphs.seeds import Chosen
    from feature_graph.subgraphs.study import BehaviorStudy, StudyOptions, choose_behavior_seeds, study_behavior

__all__ = [
    "PREDEFINED_BEHAVIORS",
    "Behavior",
    "BehaviorError",
    "BehaviorScore",
    "BehaviorStudy",
    "BehaviorSubgraph",
    "Chosen",
    "PromptPair",
    "Share",
    "StudyOptions",
    "choose_behavior_seeds",
    "extract_behavior_subgraph",
    "find_behavior",
    "load_behavior",
    "load_seeds",
    "overlap",
    "save_behaviors",
    "save_seeds",
    "shared_features",
    "study_behavior",
]

#: Name → its module, loaded when it is first asked for: that a configuration names known behaviours is checked without torch.
_LOADED_LATER = {
    "overlap": "compare",
    "shared_features": "compare",
    "extract_behavior_subgraph": "extract",
    "Share": "faithfulness",
    "load_seeds": "files",
    "save_behaviors": "files",
    "save_seeds": "files",
    "Chosen": "seeds",
    "BehaviorScore": "result",
    "BehaviorSubgraph": "result",
    "BehaviorStudy": "study",
    "StudyOptions": "study",
    "choose_behavior_seeds": "study",
    "study_behavior": "study",
}


def __getattr__(name: str) -> Any:
    if name not in _LOADED_LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LOADED_LATER[name]}"), name)
