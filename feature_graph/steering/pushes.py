"""What really happens to features when one direction is pushed: additive deltas at one position, read at the later sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph.dictionaries import SiteCodec
from feature_graph.interventions import CleanRun, ModelSlices

Ints = NDArray[np.int64]
Float = NDArray[np.float64]


@dataclass(frozen=True)
class Samples:
    """(document, position) pairs, rows of a clean run. Both int64 [n]."""

    documents: Ints
    positions: Ints

    def __len__(self) -> int:
        return len(self.documents)


@dataclass(frozen=True)
class Moved:
    """Change of each feature's activation at the pushed position, over samples.

    Attributes:
        mean: float64 [deltas, features].
        se: float64 [deltas, features], standard error over the samples.
    """

    mean: Float
    se: Float


class Pusher:
    """A model with the clean run over some documents, in which directions are pushed.

    Args:
        slices: The model.
        codecs: Layer → dictionary.
        tokens: int64 [documents, context].
    """

    def __init__(self, slices: ModelSlices, codecs: Mapping[int, SiteCodec], tokens: NDArray[np.int64]) -> None:
        self.slices, self.codecs = slices, dict(codecs)
        points = sorted(codec.site.point for codec in self.codecs.values())
        self.clean: CleanRun = slices.residuals(tokens, points, range(points[0], points[-1]))

    def later(self, layer: int) -> list[int]:
        """Layers behind one, in order."""
        point = self.codecs[layer].site.point
        return sorted((n for n, c in self.codecs.items() if c.site.point > point), key=lambda n: self.codecs[n].site.point)

    @torch.no_grad()
    def push(
        self, layer: int, direction: Tensor, deltas: Sequence[float], samples: Samples, read: Mapping[int, Sequence[int]]
    ) -> dict[int, Moved]:
        """Add ``delta × direction`` to the residual stream of one site at each sample's position, and read later features there.

        Args:
            layer: Layer of the site that is pushed.
            direction: [d_model], residual units per activation unit: a decoder row, or a random direction of its norm.
            deltas: Activation units.
            samples: Where.
            read: Layer → indices to read; layers not behind ``layer`` are left out.

        Returns:
            Layer → change against the clean run.
        """
        device, start = self.slices.device, self.codecs[layer].site.point
        documents, positions = (torch.as_tensor(v, device=device) for v in (samples.documents, samples.positions))
        shift = torch.as_tensor(deltas, dtype=self.slices.dtype, device=device)[:, None] * direction.to(self.slices.dtype)
        x = (self.clean.residuals[start][documents, positions][:, None, :] + shift)[:, :, None, :]
        found, point = {}, start
        for name in self.later(layer):
            if not any(len(read.get(n, ())) for n in self.later(layer) if self.codecs[n].site.point >= self.codecs[name].site.point):
                break
            codec = self.codecs[name]
            x, point = self.slices.advance(x, point, codec.site.point, self.clean, documents, positions), codec.site.point
            if len(read.get(name, ())):
                index = torch.as_tensor(np.asarray(read[name]), device=device)
                before = codec.encode(self.clean.residuals[point][documents, positions].to(codec.w_enc.dtype), index)
                found[name] = _moved(codec.encode(x[:, :, 0].to(codec.w_enc.dtype), index) - before[:, None])
        return found


def _moved(change: Tensor) -> Moved:
    """[samples, deltas, features] → mean and standard error over samples."""
    values = change.double().cpu().numpy()
    n = len(values)
    se = values.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.full(values.shape[1:], np.nan)
    return Moved(values.mean(axis=0), se)
