"""The smallest effect that counts, per pair: per unit of the source, or as a share of the target's own spread."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_graph.artifacts import ActivationStore
from feature_graph.config import Config

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SmallestEffect:
    """δ of the null hypothesis |effect| ≤ δ.

    Attributes:
        per_unit: ``min_effect``, target units per source unit.
        in_sd: ``min_effect_sd``: over the whole clamp, in standard deviations of the target; None if δ is ``per_unit`` for every pair.
        sd: Layer → standard deviation of its features [d_sae]; empty if ``in_sd`` is None.
    """

    per_unit: float = 0.0
    in_sd: float | None = None
    sd: dict[int, Floats] = field(default_factory=dict)

    @classmethod
    def of(cls, cfg: Config, store: ActivationStore) -> SmallestEffect:
        """From the configuration and the recorded activations."""
        sd = {} if cfg.min_effect_sd is None else {layer: feature_sd(store, layer) for layer in store.layers}
        return cls(cfg.min_effect, cfg.min_effect_sd, sd)

    def on(self, layer: int, indices: NDArray[Any], unit: float) -> Floats:
        """δ for some targets of a layer.

        Args:
            layer: Of the targets.
            indices: int [T].
            unit: High minus low level of the source.

        Returns:
            float64 [T], target units per source unit.
        """
        if self.in_sd is None:
            return np.full(len(indices), self.per_unit)
        return self.in_sd * self.sd[layer][indices] / unit


def feature_sd(store: ActivationStore, layer: int) -> Floats:
    """Standard deviation of every feature of a layer over counted tokens, zeros included; float64 [d_sae]."""
    matrix, n = store.activations[layer], max(store.n_tokens, 1)
    values = matrix.data.astype(np.float64)
    mean, square = (np.bincount(matrix.indices, weights=w, minlength=matrix.shape[1]) / n for w in (values, values**2))
    return np.sqrt(np.maximum(square - mean**2, 0))


def target_sd(store: ActivationStore, layers: NDArray[Any], indices: NDArray[Any]) -> Floats:
    """:func:`feature_sd` of features of several layers; [n], in the order given."""
    sd = np.full(len(layers), np.nan)
    for layer in np.unique(layers).tolist():
        where = layers == layer
        sd[where] = feature_sd(store, layer)[indices[where]]
    return sd
