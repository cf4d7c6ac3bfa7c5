"""What steering one feature needs: the model, its dictionaries, the graph's features, and samples in held-out documents."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from feature_graph.artifacts import ActivationStore, feature_id, parse_feature_id
from feature_graph.config import Config
from feature_graph.dictionaries import build_codecs
from feature_graph.interventions import ModelSlices
from feature_graph.steering.cascade import near_names
from feature_graph.steering.errors import SteeringError
from feature_graph.steering.ground import SteeringSamples, by_layer
from feature_graph.steering.pushes import Float
from feature_graph.steering.trials import Arm, Push, Trials
from feature_graph.utils import derived_seed


def check_steer(G: nx.DiGraph, store: ActivationStore, source: str, delta: float) -> None:
    """Refuse what cannot be steered, before anything is loaded or run.

    Raises:
        SteeringError: If the feature is not in the graph or not in the recorded dictionaries, or the delta is 0 or no number.
    """
    if not (math.isfinite(delta) and delta != 0):
        raise SteeringError(f"delta: got {delta}, expected a finite number of activation units other than 0")
    check_features(G, "source", [source])
    layer, index = parse_feature_id(source)
    if layer not in store.mean_activations or index >= len(store.mean_activations[layer]):
        raise SteeringError(f"source: the recorded activations have no {source}; they hold layers {store.layers}")


def check_features(G: nx.DiGraph, what: str, names: list[str]) -> None:
    """Refuse names that are not features of the graph.

    Raises:
        SteeringError: Naming the first of them, and features near it.
    """
    for name in names:
        if name not in G:
            near = ", ".join(near_names([str(n) for n in G], name)) or "none"
            raise SteeringError(f"{what}: {name!r} is not among the {len(G)} features of the graph; near: {near}")


def check_layers(G: nx.DiGraph, layers: Collection[int]) -> None:
    """Refuse a graph that has features of layers without a dictionary.

    Raises:
        SteeringError: Naming them.
    """
    missing = {parse_feature_id(str(node))[0] for node in G} - set(layers)
    if missing:
        raise SteeringError(f"G: has features of layers {sorted(missing)}; dictionaries were given for {sorted(layers)}")


def longest_path(G: nx.DiGraph, source: str) -> int:
    """Edges that a path from a feature can have at most: the layers of the graph behind its own, at least 1."""
    first = parse_feature_id(source)[0]
    return max(1, len({layer for layer in (parse_feature_id(str(node))[0] for node in G) if layer > first}))


class SteeringExperiment:
    """The model with the graph's features, ready to be steered at one source.

    Args:
        model: A HookedTransformer.
        saes: Layer → SAELens SAE.
        G: Interaction graph of the same run.
        store: Recorded activations of the same run.
        cfg: Configuration of the run; gives the seed.
        source: Id of the steered feature.
        horizon: Later positions run.
    """

    def __init__(
        self, model: Any, saes: Mapping[int, Any], G: nx.DiGraph, store: ActivationStore, cfg: Config | None, source: str, horizon: int
    ) -> None:
        check_layers(G, saes)
        if horizon < 0:
            raise SteeringError(f"horizon: got {horizon}, expected 0 or more later positions")
        self.seed = derived_seed(cfg.seed if cfg is not None else 0, "steer", source)
        self.rng = np.random.default_rng(self.seed)
        self.slices, self.codecs, self.store = ModelSlices(model), build_codecs(model, saes, cfg), store
        self.source, self.horizon = source, horizon
        self.layer, self.index = parse_feature_id(source)
        self.ground = SteeringSamples(store, self.rng)
        self.features = by_layer(str(node) for node in G)
        self.labels = {str(node): str(data.get("label") or "") for node, data in G.nodes(data=True)}

    def trials(self, split: int, most: int, least: int) -> Trials:
        """Samples of one split at which the source is active, one a document.

        Raises:
            SteeringError: If there are fewer than ``least``.
        """
        samples = self.ground.samples(self.layer, self.index, split, most)
        if len(samples) < max(least, 1):
            raise SteeringError(
                f"source: {self.source} is active in {len(samples)} documents that are kept for this; expected {least} or more. Collect "
                "more text, or lower min_documents"
            )
        rows = self.ground.documents[split]
        tokens, counted = self.store.tokens[rows], self.store.valid[rows]
        return Trials(self.slices, self.codecs, tokens, counted, samples, self.layer, self.horizon)

    def push(self, feature: str, delta: float, *, floored: bool = False) -> Push:
        """Delta along a feature's decoder row."""
        layer, index = parse_feature_id(feature)
        return Push(layer, self.codecs[layer].w_dec[index], delta, index if floored else None)

    def placebos(self, delta: float, n: int) -> list[Push]:
        """Random directions of the source's decoder norm."""
        row = self.codecs[self.layer].w_dec[self.index]
        drawn = row.new_tensor(self.rng.standard_normal((n, len(row))))
        return [Push(self.layer, d * (row.norm() / d.norm()), delta) for d in drawn]

    def unit(self, feature: str) -> float:
        """Mean activation of a feature where it is active, over the recorded text; 0 if it never is."""
        layer, index = parse_feature_id(feature)
        return float(self.store.mean_activations[layer][index])

    def values(self, arm: Arm, features: list[str]) -> Float:
        """Activations of some features, [samples, features]."""
        columns = [self._column(arm, *parse_feature_id(name)) for name in features]
        return np.stack(columns, axis=1) if columns else np.zeros((len(arm.final), 0))

    def _column(self, arm: Arm, layer: int, index: int) -> Float:
        return np.asarray(arm.activations[layer][:, self.features[layer].index(index)])

    def downstream(self, trials: Trials) -> list[str]:
        """Ids of the graph's features behind the source's site, in the order of layers."""
        behind = [n for n in trials.order if n != self.layer]
        return [feature_id(n, i) for n in behind for i in self.features.get(n, [])]

    def thresholds(self, features: list[str]) -> NDArray[np.float64]:
        """Activity thresholds of some features: *active* means above."""
        pairs = (parse_feature_id(name) for name in features)
        return np.array([float(self.store.thresholds[layer][index]) for layer, index in pairs])
