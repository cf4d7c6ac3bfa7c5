"""Perturbations: deltas along directions, added at one position of each sample, and what follows at the later sites.

1. The clean run over some documents is kept: residual streams at the sites, keys and values of the blocks between.
2. Positions p..p+h of each sample run after the clean prefix, all *variants* of a sample in one batch. A variant is a set of
   perturbations; one without any is the clean run, in the same batch, so that nothing changes where nothing is perturbed.
3. A perturbation is added at p when its site is reached, and features are read at p after the perturbations of their own site.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph.dictionaries import SiteCodec
from feature_graph.interventions.analysed import AnalysedModel
from feature_graph.interventions.clamp import windows
from feature_graph.interventions.errors import InterventionError
from feature_graph.interventions.slices import CleanRun


@dataclass(frozen=True)
class SamplePositions:
    """(document, position) pairs, rows of a clean run. Both int64 [samples]."""

    documents: NDArray[np.int64]
    positions: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.documents)


@dataclass(frozen=True, eq=False)
class Perturbation:
    """An additive delta along one direction at one site.

    Attributes:
        layer: Layer of the site.
        direction: [d_model], residual units per activation unit: a decoder row, or a random direction of its norm.
        delta: Activation units.
        feature: Feature that cannot be turned down below 0: where it is less active than −delta, it is turned off. None: no such bound.
    """

    layer: int
    direction: Tensor
    delta: float
    feature: int | None = None

    def amount(self, codec: SiteCodec, x: Tensor) -> Tensor:
        """What is added along the direction at each sample [samples], activation units; ``x`` is the residual stream [samples, d_model]."""
        delta = torch.full((len(x),), self.delta, dtype=codec.w_enc.dtype, device=x.device)
        if self.feature is None:
            return delta
        now = codec.encode(x.to(codec.w_enc.dtype), torch.as_tensor([self.feature], device=x.device))[:, 0]
        return torch.maximum(delta, -now)


@dataclass(frozen=True, eq=False)
class PerturbedRun:
    """What one variant did.

    Attributes:
        activations: Layer → [samples, features read], at the perturbed position, after the perturbations of that site.
        amounts: What each perturbation of the variant really added, in activation units, [samples] each.
        final: [samples, 1 + horizon, d_model], residual stream after the last block; None where the run ends at the last site.
    """

    activations: dict[int, Tensor]
    amounts: tuple[Tensor, ...]
    final: Tensor | None = None


class Perturber:
    """An analysed model with the clean run over some documents, ready to be perturbed.

    Args:
        analysed: The model and its dictionaries.
        tokens: int64 [documents, context].
        first: Layer of the earliest site that is perturbed; None: the first analysed one.
        to_output: Whether the runs go on to the last block.
    """

    def __init__(self, analysed: AnalysedModel, tokens: Any, first: int | None = None, *, to_output: bool = False) -> None:
        self.analysed, self.to_output = analysed, to_output
        start = analysed.points[0] if first is None else analysed.point(first)
        #: Layers of the sites that can be perturbed and read, in order.
        self.layers = [n for n in analysed.codecs if analysed.point(n) >= start]
        points = [analysed.point(n) for n in self.layers]
        self.clean: CleanRun = analysed.slices.residuals(
            tokens, points, range(start, analysed.slices.n_blocks if to_output else points[-1])
        )

    def clean_activations(self, layer: int, features: Sequence[int], samples: SamplePositions) -> Tensor:
        """Activations of some features of a layer in the clean run, [samples, features]."""
        documents, positions = self.located(samples)
        codec = self.analysed.codecs[layer]
        x = self.clean.residuals[codec.site.point][documents, positions]
        return codec.encode(x.to(codec.w_enc.dtype), self._index(features))

    @torch.no_grad()
    def run(
        self,
        samples: SamplePositions,
        variants: Sequence[Sequence[Perturbation]],
        read: Mapping[int, Sequence[int]],
        horizon: int = 0,
    ) -> list[PerturbedRun]:
        """Run several variants of the same samples in one batch.

        Args:
            samples: Rows of ``tokens``, and the positions that are perturbed.
            variants: Perturbations of each variant; an empty one is the clean run.
            read: Layer → indices of features to read; layers before the first perturbed site are left out.
            horizon: Later positions run; beyond the context's end they mean nothing.

        Returns:
            One entry per variant.

        Raises:
            InterventionError: If nothing is perturbed, or something at a site that the clean run does not hold.
        """
        layers = self._passed(variants, read)
        point = self.analysed.point(layers[0])
        documents, positions = self.located(samples)
        x = windows(self.clean.residuals[point], documents, positions, 1 + horizon)[:, None].repeat(1, len(variants), 1, 1)
        activations: list[dict[int, Tensor]] = [{} for _ in variants]
        amounts: list[dict[Perturbation, Tensor]] = [{} for _ in variants]
        for layer in layers:
            codec = self.analysed.codecs[layer]
            x, point = self._advance(x, point, codec.site.point, documents, positions), codec.site.point
            for v, variant in enumerate(variants):
                amounts[v] |= _perturb(x[:, v, 0], codec, [p for p in variant if p.layer == layer])
            if len(read.get(layer, ())):
                values = codec.encode(x[:, :, 0].to(codec.w_enc.dtype), self._index(read[layer]))
                for v, found in enumerate(activations):
                    found[layer] = values[:, v]
        if self.to_output:
            x = self._advance(x, point, self.analysed.slices.n_blocks, documents, positions)
        return [
            PerturbedRun(activations[v], tuple(amounts[v][p] for p in variant), x[:, v] if self.to_output else None)
            for v, variant in enumerate(variants)
        ]

    def located(self, samples: SamplePositions) -> tuple[Tensor, Tensor]:
        """Documents and positions of the samples on the model's device, int64 [samples] each."""
        device = self.analysed.slices.device
        return torch.as_tensor(samples.documents, device=device), torch.as_tensor(samples.positions, device=device)

    def _passed(self, variants: Sequence[Sequence[Perturbation]], read: Mapping[int, Sequence[int]]) -> list[int]:
        """Layers from the first perturbed site to the last one that is perturbed or read."""
        perturbed = {p.layer for variant in variants for p in variant}
        unknown = sorted(perturbed - set(self.layers))
        if unknown or not perturbed:
            got = f"layers {unknown}" if unknown else "none"
            raise InterventionError(f"variants: got perturbations of {got}; expected some, of layers {self.layers}")
        first = min(self.layers.index(n) for n in perturbed)
        wanted = perturbed | {n for n in self.layers if len(read.get(n, ()))}
        return self.layers[first : 1 + max(self.layers.index(n) for n in wanted)]

    def _advance(self, x: Tensor, start: int, stop: int, documents: Tensor, positions: Tensor) -> Tensor:
        return self.analysed.slices.advance(x, start, stop, self.clean, documents, positions) if stop > start else x

    def _index(self, features: Sequence[int]) -> Tensor:
        return torch.as_tensor(np.asarray(features, dtype=np.int64), device=self.analysed.slices.device)


def _perturb(x: Tensor, codec: SiteCodec, perturbations: Sequence[Perturbation]) -> dict[Perturbation, Tensor]:
    """Add perturbations of one site to the residual stream [samples, d_model] in place; what each added [samples]."""
    added = {}
    for perturbation in perturbations:
        amount = perturbation.amount(codec, x)
        x += (amount[:, None] * perturbation.direction.to(amount)).to(x.dtype)
        added[perturbation] = amount
    return added
