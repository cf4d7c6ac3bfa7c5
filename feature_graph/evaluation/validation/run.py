"""Validate one run: every behaviour studied, the cascade's forecast measured, all written to ``validation.json``.

A behaviour or a cascade that is finished is kept in a part file, so that a validation that was cut off goes on; parts of other inputs,
options or another version of the library are measured anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import networkx as nx

from feature_graph.analysis import replication
from feature_graph.artifacts import ActivationStore, InteractionSet, JsonParts, PartFiles, RunPaths
from feature_graph.config import Config
from feature_graph.evaluation.validation.behaviors import behavior_figures, plain
from feature_graph.evaluation.validation.cascade import cascade_figures
from feature_graph.graph import load_graph
from feature_graph.interventions import AnalysedModel
from feature_graph.loading import load_model_and_saes
from feature_graph.steering import validate_cascade
from feature_graph.subgraphs import PREDEFINED_BEHAVIORS, Behavior, find_behavior, overlap, shared_features, study_behavior
from feature_graph.utils import sha256_file, sha256_json, write_json

logger = logging.getLogger(__name__)

KIND, VERSION = "validation", 1
ALL_BEHAVIORS = tuple(PREDEFINED_BEHAVIORS)
#: Hops told apart in the figures; forecasts follow paths of any length.
_HOPS = 3
#: Multiple of the mean activation that the cascade's figures are of: down by half, a size and sign that no clamp had.
_MAIN = -0.5
_PAIR_COLUMNS = ["source", "target", "hop", "forecast", "measured", "se"]


def validate_run(run_dir: str | Path, behaviors: Sequence[str] = ALL_BEHAVIORS, *, n_sources: int = 60, n_hubs: int = 10) -> dict[str, Any]:
    """Measure what a run's graph is worth, and write ``validation.json`` into its directory.

    Args:
        run_dir: A finished run.
        behaviors: Names or YAML files.
        n_sources: Random sources steered.
        n_hubs: Hubs steered.

    Returns:
        ``behaviors`` (name → :func:`behavior_figures`), ``cascade`` (:func:`cascade_figures`), ``replication_rate``, ``overlap`` and
        ``shared`` of the behaviours' subgraphs, ``pairs`` of the cascade.

    Raises:
        BehaviorError: If a behaviour is unknown.
        feature_graph.artifacts.ArtifactError: If a file of the run is missing or damaged, or a dictionary is not the one that the run used.
    """
    paths = RunPaths.of(run_dir)
    cfg = Config.load(paths.config)
    wanted = {name: find_behavior(name) for name in behaviors}
    store, interactions = ActivationStore.load(paths.activations), InteractionSet.load(paths.interactions)
    G = load_graph(paths.graph_json)
    parts = _Parts(paths.parts("validate"), {"graph": sha256_file(paths.graph_json), "config": cfg.model_dump(mode="json")})
    lazily = _Models(cfg, paths.root)
    studied = {}
    for found in wanted.values():
        options = {"prompts": repr(found.pairs), "metric": found.metric}
        studied[found.name] = parts.get(f"behavior-{found.name}", options, partial(_studied, lazily, G, found, cfg))
    pushed = {"sources": n_sources, "hubs": n_hubs, "paths": "any length"}
    steered = parts.get("cascade", pushed, partial(_steered, lazily, G, store, cfg, n_sources, n_hubs))
    together = _put_together(studied, steered, G, interactions)
    write_json(paths.validation, {"kind": KIND, "version": VERSION, **together})
    return together


def _studied(models: _Models, G: nx.DiGraph, behavior: Behavior, cfg: Config) -> dict[str, Any]:
    model = models.get()
    return behavior_figures(study_behavior(model, model.saes, G, behavior, cfg))


def _steered(models: _Models, G: nx.DiGraph, store: ActivationStore, cfg: Config, n_sources: int, n_hubs: int) -> dict[str, Any]:
    model = models.get()
    found = validate_cascade(model, model.saes, G, store, cfg, n_sources=n_sources, n_hubs=n_hubs)
    main = found.pairs[(found.pairs["multiple"] == _MAIN) & (found.pairs["hop"] <= _HOPS)]
    return {"figures": cascade_figures(found, _HOPS, _MAIN), "pairs": main[_PAIR_COLUMNS].to_dict("list")}


def _put_together(studied: dict[str, Any], steered: dict[str, Any], G: nx.DiGraph, interactions: InteractionSet) -> dict[str, Any]:
    members = {name: figures["members"] for name, figures in studied.items() if figures["able"]}
    repeated = replication(interactions.frame)
    return {
        "behaviors": studied,
        "cascade": steered["figures"],
        "replication_rate": plain(repeated.rate),
        "overlap": overlap(members, set(G)).to_dict("records"),
        "shared": [{"feature": node, "behaviors": names} for node, names in shared_features(members)[:20]],
        "pairs": steered["pairs"],
    }


class _Models:
    """The model and its dictionaries, loaded and analysed when something must be measured."""

    def __init__(self, cfg: Config, root: Path) -> None:
        self.cfg = cfg
        self.root = root
        self._analysed: AnalysedModel | None = None

    def get(self) -> AnalysedModel:
        if self._analysed is None:
            self._analysed = AnalysedModel.of(*load_model_and_saes(self.cfg, self.root), self.cfg, components=True)
        return self._analysed


class _Parts:
    """Finished parts in a folder, each under the hash of what it depends on."""

    def __init__(self, folder: Path, inputs: dict[str, Any]) -> None:
        self.folder = folder
        self.inputs = inputs | {"library": version("feature-graph"), "format": VERSION}

    def get(self, name: str, options: dict[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        parts = PartFiles(self.folder, sha256_json(self.inputs | options), JsonParts())
        logger.info("validate: %s was measured before" if parts.has(name) else "validate: %s", name)
        return parts.get(name, make)
