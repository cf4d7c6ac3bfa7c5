"""Perturbations: deltas along directions, added at one position of each sample, and what follows at the later sites.

1. The clean run over some documents is kept: residual streams at the sites, keys and values of the blocks between.
2. Positions p..p+h of each sample run after the clean prefix, all *variants* of a sample in one batch. A variant is a set of
   perturbations; one without any is the clean run, in the same batch, so that nothing changes where nothing is perturbed.
3. A perturbation is added at p to what its site writes, and features are read at p from what their site reads: for the residual stream
   after the perturbations of the same site. Inside a block everything that follows (W_O, a norm, the MLP) is computed from there, so that
   what a transcoder reads is as it was, and what it writes is moved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph.dictionaries import SiteCodec
from feature_graph.interventions.analysed import AnalysedModel
from feature_graph.interventions.clamp import windows
from feature_graph.interventions.errors import InterventionError
from feature_graph.interventions.site_effects import clamped_at, observed_at, read_clean, site_span
from feature_graph.interventions.slices import CleanRun
from feature_graph.interventions.taps import BlockTaps, Where


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
        direction: [d_out], in units of the tensor that the site writes, per activation unit: a decoder row, or a random direction of its
            norm.
        delta: Activation units.
        feature: Feature that cannot be turned down below 0: where it is less active than −delta, it is turned off. None: no such bound.
    """

    layer: int
    direction: Tensor
    delta: float
    feature: int | None = None

    def amount(self, codec: SiteCodec, x: Tensor) -> Tensor:
        """What is added along the direction at each sample [samples], activation units; ``x`` is what the site reads [samples, d_in]."""
        delta = torch.full((len(x),), self.delta, dtype=codec.w_enc.dtype, device=x.device)
        if self.feature is None:
            return delta
        now = codec.encode(x.to(codec.w_enc.dtype), torch.as_tensor([self.feature], device=x.device))[:, 0]
        return torch.maximum(delta, -now)


@dataclass(frozen=True, eq=False)
class PerturbedRun:
    """What one variant did.

    Attributes:
        activations: Layer → [samples, features read], at the perturbed position.
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
        sites = analysed.sites
        start = min(site.point for site in sites.values()) if first is None else sites[first].point
        #: Layers of the sites that can be perturbed and read, in order.
        self.layers = [n for n in analysed.in_order if sites[n].point >= start]
        here = [sites[n] for n in self.layers]
        stop = analysed.slices.n_blocks if to_output else site_span(here[0], here)[1]
        self.clean: CleanRun = analysed.slices.residuals(tokens, [site.point for site in here], range(start, stop))

    def clean_activations(self, layer: int, features: Sequence[int], samples: SamplePositions) -> Tensor:
        """Activations of some features of a layer in the clean run, [samples, features]."""
        codec = self.analysed.codecs[layer]
        x = read_clean(self.analysed.slices, self.clean, codec.site, *self.located(samples))
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
        layers, sites = self._passed(variants, read), self.analysed.sites
        at, point = self.located(samples), sites[layers[0]].point
        asked = [n for n in layers if len(read.get(n, ()))]
        made = _Variants(self.analysed, variants, layers, asked)
        activations: list[dict[int, Tensor]] = [{} for _ in variants]
        x = windows(self.clean.residuals[point], *at, 1 + horizon)[:, None].repeat(1, len(variants), 1, 1)
        for layer in (n for n in layers if sites[n].kind == "residual"):
            x, point = self._advance(x, point, sites[layer].point, at, made.taps), sites[layer].point
            made.perturb(layer, x, x)
            if layer in asked:
                self._read(layer, read[layer], x, activations)
        stop = self.analysed.slices.n_blocks if self.to_output else made.stop
        x = self._advance(x, point, stop, at, made.taps)
        for layer in (n for n in asked if sites[n].kind != "residual"):
            self._read(layer, read[layer], made.taps.found[observed_at(sites[layer])], activations)
        return [
            PerturbedRun(activations[v], tuple(made.amounts[v][p] for p in variant), x[:, v] if self.to_output else None)
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

    def _advance(self, x: Tensor, start: int, stop: int, at: tuple[Tensor, Tensor], taps: BlockTaps) -> Tensor:
        return self.analysed.slices.advance(x, start, stop, self.clean, *at, taps) if stop > start else x

    def _read(self, layer: int, features: Sequence[int], x: Tensor, into: Sequence[dict[int, Tensor]]) -> None:
        """Add to each variant's activations those of a layer, of what its site reads [samples, variants, new, d_in]."""
        codec = self.analysed.codecs[layer]
        values = codec.encode(x[:, :, 0].to(codec.w_enc.dtype), self._index(features))
        for v, found in enumerate(into):
            found[layer] = values[:, v]

    def _index(self, features: Sequence[int]) -> Tensor:
        return torch.as_tensor(np.asarray(features, dtype=np.int64), device=self.analysed.slices.device)


class _Variants:
    """The perturbations of all variants: what each adds to what its site writes.

    Args:
        analysed: The model and its dictionaries.
        variants: Perturbations of each variant.
        layers: Layers of the sites that are passed, in order.
        asked: Those of them whose features are read.

    Attributes:
        amounts: Variant → perturbation → what was added, [samples].
        taps: Read and change what dictionaries on components read and write.
        stop: Block before which the run may stop, as far as these are concerned.
    """

    def __init__(
        self, analysed: AnalysedModel, variants: Sequence[Sequence[Perturbation]], layers: Sequence[int], asked: Sequence[int]
    ) -> None:
        self._codecs, self._variants = analysed.codecs, variants
        self.amounts: list[dict[Perturbation, Tensor]] = [{} for _ in variants]
        perturbed = {p.layer for variant in variants for p in variant}
        sites = {n: self._codecs[n].site for n in layers if n in perturbed or n in asked}
        parts = {n: site for n, site in sites.items() if site.kind != "residual"}
        at: dict[Where, list[int]] = {}
        for n in parts:
            if n in perturbed:
                at.setdefault(clamped_at(parts[n]), []).append(n)
        change: dict[Where, Callable[[Tensor], Tensor]] = {where: partial(self._changed, where, here) for where, here in at.items()}
        self.taps = BlockTaps({observed_at(site) for site in parts.values()}, change)
        self.stop = max((site.point + 1 for site in parts.values()), default=0)

    def perturb(self, layer: int, x: Tensor, seen: Tensor) -> None:
        """Add the perturbations of one site in place to what it writes [samples, variants, new, d_out]; ``seen`` is what it reads."""
        codec = self._codecs[layer]
        for v, variant in enumerate(self._variants):
            for perturbation in (p for p in variant if p.layer == layer):
                amount = perturbation.amount(codec, seen[:, v, 0])
                x[:, v, 0] += (amount[:, None] * perturbation.direction.to(amount)).to(x.dtype)
                self.amounts[v][perturbation] = amount

    def _changed(self, where: Where, layers: Sequence[int], x: Tensor) -> Tensor:
        """A tensor inside a block, with the perturbations of the sites that write it."""
        x = x.clone()
        for layer in layers:
            reads = observed_at(self._codecs[layer].site)
            self.perturb(layer, x, x if reads == where else self.taps.found[reads])
        return x
