"""Mean change of later features when deltas are added along one direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from feature_graph.interventions import Perturbation, Perturber, SamplePositions
from feature_graph.steering.effects import Floats


@dataclass(frozen=True)
class MeanChange:
    """Change of each feature's activation at the perturbed position, over samples.

    Attributes:
        mean: float64 [deltas, features].
        se: float64 [deltas, features], standard error over the samples.
    """

    mean: Floats
    se: Floats


def mean_changes(
    perturber: Perturber,
    layer: int,
    direction: Tensor,
    deltas: Sequence[float],
    samples: SamplePositions,
    read: Mapping[int, Sequence[int]],
) -> dict[int, MeanChange]:
    """Add ``delta × direction`` to the residual stream of one site at each sample's position, and read later features there.

    Args:
        perturber: The model with its clean run.
        layer: Layer of the site that is perturbed.
        direction: [d_model], residual units per activation unit: a decoder row, or a random direction of its norm.
        deltas: Activation units.
        samples: Where.
        read: Layer → indices to read; layers not downstream of ``layer`` are left out.

    Returns:
        Layer → change compared with the clean run.
    """
    wanted = {n: read[n] for n in perturber.analysed.later(layer) if len(read.get(n, ()))}
    runs = perturber.run(samples, [[Perturbation(layer, direction, delta)] for delta in deltas], wanted)
    found = {}
    for n, features in wanted.items():
        after = torch.stack([run.activations[n] for run in runs], dim=1)
        found[n] = _mean_change(after - perturber.clean_activations(n, features, samples)[:, None])
    return found


def _mean_change(change: Tensor) -> MeanChange:
    """[samples, deltas, features] → mean and standard error over samples."""
    values = change.double().cpu().numpy()
    n = len(values)
    se = values.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.full(values.shape[1:], np.nan)
    return MeanChange(values.mean(axis=0), se)
