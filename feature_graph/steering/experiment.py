"""What steering one feature needs: the model, its dictionaries, the graph's features, and samples in held-out documents."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from feature_graph.artifacts import ActivationStore, feature_id, feature_key
from feature_graph.config import Config
from feature_graph.interventions import AnalysedModel, Perturbation, PerturbedRun, random_directions
from feature_graph.steering.batch import SteeredBatch
from feature_graph.steering.effects import Floats
from feature_graph.steering.errors import SteeringError
from feature_graph.steering.names import check_features, site_places
from feature_graph.steering.samples import SteeringSamples, by_layer
from feature_graph.utils import derived_seed


def check_steer(G: nx.DiGraph, store: ActivationStore, source: str, delta: float) -> None:
    """Refuse what cannot be steered, before anything is loaded or run.

    Raises:
        SteeringError: If the feature is not in the graph or not in the recorded dictionaries, or the delta is 0 or no number.
    """
    if not (math.isfinite(delta) and delta != 0):
        raise SteeringError(f"delta: got {delta}, expected a finite number of activation units other than 0")
    check_features(G, "source", [source])
    layer, index = feature_key(source, store.layers)
    if layer not in store.mean_activations or index >= len(store.mean_activations[layer]):
        raise SteeringError(f"source: the recorded activations have no {source}; they hold layers {store.layers}")


def check_layers(G: nx.DiGraph, layers: Collection[int]) -> None:
    """Refuse a graph that has features of layers without a dictionary.

    Raises:
        SteeringError: Naming them.
    """
    missing = {feature_key(str(node), layers)[0] for node in G} - set(layers)
    if missing:
        raise SteeringError(f"G: has features of layers {sorted(missing)}; dictionaries were given for {sorted(layers)}")


def longest_path(G: nx.DiGraph, source: str) -> int:
    """Edges that a path from a feature can have at most: the sites of the graph downstream of its own, at least 1."""
    places = site_places(G)
    return max(1, len({place for place in places.values() if place > places[source]}))


class SteeringExperiment:
    """The analysed model with the graph's features, ready to be steered at one source.

    Args:
        analysed: The model and its dictionaries.
        G: Interaction graph of the same run.
        store: Recorded activations of the same run.
        cfg: Configuration of the run; gives the seed.
        source: Id of the steered feature.
        horizon: Later positions run.

    Raises:
        SteeringError: If the graph has features of layers without a dictionary, or the horizon makes no sense.
    """

    def __init__(
        self, analysed: AnalysedModel, G: nx.DiGraph, store: ActivationStore, cfg: Config | None, source: str, horizon: int
    ) -> None:
        check_layers(G, analysed.codecs)
        if horizon < 0:
            raise SteeringError(f"horizon: got {horizon}, expected 0 or more later positions")
        self.seed = derived_seed(cfg.seed if cfg is not None else 0, "steer", source)
        self.rng = np.random.default_rng(self.seed)
        self.analysed, self.store, self.source, self.horizon = analysed, store, source, horizon
        self.layer, self.index = self.key(source)
        self.samples = SteeringSamples(store, self.rng)
        self.features = by_layer((str(node) for node in G), analysed.codecs)
        self.labels = {str(node): str(data.get("label") or "") for node, data in G.nodes(data=True)}

    def key(self, feature: str) -> tuple[int, int]:
        """Layer of a feature's site, and its index."""
        return feature_key(feature, self.analysed.codecs)

    def batch(self, split: int, most: int, least: int) -> SteeredBatch:
        """Samples of one split at which the source is active, one per document.

        Raises:
            SteeringError: If there are fewer than ``least``.
        """
        samples = self.samples.samples(self.layer, self.index, split, most)
        if len(samples) < max(least, 1):
            raise SteeringError(
                f"source: {self.source} is active in {len(samples)} documents that are kept for this; expected {least} or more. Collect "
                "more text, or lower min_documents"
            )
        rows = self.samples.documents[split]
        return SteeredBatch(self.analysed, self.store.tokens[rows], self.store.valid[rows], samples, self.layer, self.horizon)

    def perturbation(self, feature: str, delta: float, *, floored: bool = False) -> Perturbation:
        """Delta along a feature's decoder row; floored: the feature is turned off where it is less active than −delta."""
        layer, index = self.key(feature)
        return Perturbation(layer, self.analysed.codecs[layer].w_dec[index], delta, index if floored else None)

    def random_perturbations(self, delta: float, n: int) -> list[Perturbation]:
        """Random directions of the source's decoder norm."""
        row = self.analysed.codecs[self.layer].w_dec[self.index]
        return [Perturbation(self.layer, d, delta) for d in random_directions(n, len(row), self.rng, row.norm())]

    def unit(self, feature: str) -> float:
        """Mean activation of a feature where it is active, over the recorded text; 0 if it never is."""
        layer, index = self.key(feature)
        return float(self.store.mean_activations[layer][index])

    def values(self, run: PerturbedRun, features: list[str]) -> Floats:
        """Activations of some features, [samples, features]."""
        columns = [self._column(run, *self.key(name)) for name in features]
        return np.stack(columns, axis=1) if columns else np.zeros((len(next(iter(run.activations.values()), ())), 0))

    def _column(self, run: PerturbedRun, layer: int, index: int) -> Floats:
        return np.asarray(run.activations[layer][:, self.features[layer].index(index)].double().cpu().numpy())

    def downstream(self) -> list[str]:
        """Ids of the graph's features downstream of the source's site, in the order of layers."""
        return [feature_id(n, i) for n in self.analysed.later(self.layer) for i in self.features.get(n, [])]

    def from_here(self, features: Iterable[str]) -> list[str]:
        """Those of some features that belong to the source's site, or to one that comes after it in the model."""
        order = self.analysed.in_order
        passed = set(order[order.index(self.layer) :])
        return [name for name in features if self.key(name)[0] in passed]

    def thresholds(self, features: list[str]) -> NDArray[np.float64]:
        """Activity thresholds of some features: *active* means above."""
        pairs = (self.key(name) for name in features)
        return np.array([float(self.store.thresholds[layer][index]) for layer, index in pairs])
