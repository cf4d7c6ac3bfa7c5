"""Forecasts of what one unit of a source does to every feature of a later site; none has seen the confirm documents.

| forecast | what it is | needs |
|---|---|---|
| response | screened total: P · ⟨response, w⟩, P how often the target is on where the source is | responses |
| edge | clamp between the run's levels on test documents, everything free | the model |
| paths | screened totals from each site to the next, multiplied along paths and summed over all features between | responses |
| cosine, −cosine | of the two decoder rows | weights |
| virtual weight, −virtual weight | P · ⟨d, w⟩ | weights, activity |
| TWERA | E[a_i a_j] / E[a_j] · ⟨d, w⟩ | weights, activity |
| co-activation | least-squares slope of the target's activation on the source's | activity |
| mean Jacobian | P · ⟨J̄ d, w⟩, J̄ the mean derivative at random tokens | the model |

d is the source's direction, w the target's reader. A forecast of the total change is one of the computed change when its P · ⟨d, w⟩ (of the
edge: its own measured copy) is taken off; cosines, weights and co-activation forecast the computed change as they are.

Between dictionaries on components ⟨d, w⟩ is what is left of d where the target reads if nothing is computed in between, through a norm
there, and cosines are of what the two features add to the residual stream. Paths are sums over all paths through features of transcoders
there, each step a virtual weight: the stream carries a write past the sites that follow it, and a product from site to site would leave
that out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph.artifacts import SELECT, ActivationStore
from feature_graph.evaluation.forecasts.truth import DocumentEffects
from feature_graph.interventions import DirectionTokens, Setting, carry_directions, carry_site_directions
from feature_graph.responses import ResponseScreen

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
BASELINES = (
    "paths",
    "cosine",
    "−cosine",
    "virtual weight",
    "−virtual weight",
    "TWERA",
    "co-activation",
    "mean Jacobian",
)
FORECASTERS = ("response", "edge", *BASELINES)


@dataclass(frozen=True)
class SiteForecast:
    """Forecasts of one source for all features of one later site.

    Attributes:
        on: float64 [d_sae], P̂(target on | source on).
        total: Forecaster → forecast of the total change per unit of the source, [d_sae].
        computed: Forecaster → forecast of the computed change.
    """

    on: Floats
    total: dict[str, Floats]
    computed: dict[str, Floats]


class Forecasts:
    """Everything that is forecast from what was recorded; one analysed run.

    Args:
        screen: Screen of the sources at every later site.
        activations: Recorded activations.
    """

    def __init__(self, screen: ResponseScreen, activations: ActivationStore) -> None:
        self.screen, self._activations = screen, activations
        self._rows = activations.rows_of(SELECT)
        self._components = any(codec.site.kind != "residual" for codec in screen.codecs.values())
        self._select: dict[int, sp.csr_matrix] = {}

    def of(
        self, layer: int, index: int, along: Mapping[int, Floats], edges: Mapping[int, DocumentEffects], arrived: Mapping[int, Floats]
    ) -> dict[int, SiteForecast]:
        """Forecasts of one source; later layer → forecasts.

        Args:
            layer: Layer of the source.
            index: Its index.
            along: Later layer → its path sums, [d_sae].
            edges: Later layer → its edges, measured by clamps.
            arrived: Later layer → J̄ d of the source, [d_model].
        """
        return {n: self._site(layer, index, n, along[n], edges[n], arrived[n]) for n in edges}

    def _site(self, layer: int, index: int, n: int, along: Floats, edge: DocumentEffects, arrived: Floats) -> SiteForecast:
        parts = self._screened(layer, index, n)
        gates = self.screen.gates.of(layer, np.array([index]), n)
        readers = self._readers[n]
        often = (gates.on + gates.jump)[0]
        jacobian = often * (arrived @ readers)
        cosine = self._cosines(layer, index, n)
        twera, slope = self._activity(layer, index, n)
        copy = parts["copy"]
        weights = {"cosine": cosine, "−cosine": -cosine, "virtual weight": copy, "−virtual weight": -copy}
        weights |= {"TWERA": twera * self._virtual(layer, index, n, copy, often), "co-activation": slope}
        mine, whole = edge.total.mean(axis=0), {"response": parts["total"], "paths": along, "mean Jacobian": jacobian}
        computed = {name: values - copy for name, values in whole.items()} | {"edge": mine - edge.copy.mean(axis=0)}
        return SiteForecast(parts["on"], weights | whole | {"edge": mine}, weights | computed)

    def _screened(self, layer: int, index: int, n: int) -> dict[str, Floats]:
        """Screened total, copy and P̂ of one source on all features of one site."""
        (block,) = self.screen.blocks(layer, n, np.array([index]))
        return {"total": block.effects["total"][0], "copy": block.effects["copy"][0], "on": block.on[0]}

    @cached_property
    def _readers(self) -> dict[int, Floats]:
        return {n: codec.w_enc.double().cpu().numpy() for n, codec in self.screen.codecs.items()}

    def _virtual(self, layer: int, index: int, n: int, copy: Floats, often: Floats) -> Floats:
        """⟨d, w⟩; between components the screened copy without the gates."""
        if self._components:
            return np.divide(copy, often, out=np.zeros_like(copy), where=often > 0)
        return np.asarray(self.screen.codecs[layer].w_dec[index].double().cpu().numpy() @ self._readers[n])

    def _cosines(self, layer: int, index: int, n: int) -> Floats:
        row, rows = (self.screen.codecs[m].stream_directions(which).double() for m, which in ((layer, [index]), (n, None)))
        row = row[0]
        found = (rows @ row / (rows.norm(dim=1) * row.norm()).clamp(min=1e-12)).cpu().numpy()
        return np.asarray(found)

    def _activity(self, layer: int, index: int, n: int) -> tuple[Floats, Floats]:
        """E[a_i a_j] / E[a_j], and the slope of a_j on a_i, over the select tokens."""
        mine, theirs = self._on_select(layer)[:, index].toarray().ravel().astype(np.float64), self._on_select(n)
        joint = np.asarray(theirs.T @ mine) / len(mine)
        mean = np.asarray(theirs.sum(axis=0), dtype=np.float64).ravel() / len(mine)
        variance = mine.var()
        slope = (joint - mine.mean() * mean) / variance if variance > 0 else np.zeros_like(mean)
        return np.divide(joint, mean, out=np.zeros_like(mean), where=mean > 0), slope

    def _on_select(self, layer: int) -> sp.csr_matrix:
        if layer not in self._select:
            self._select[layer] = sp.csr_matrix(self._activations.activations[layer][self._rows])
        return self._select[layer]


def mean_jacobian(setting: Setting, layer: int, indices: Sequence[int], documents: Ints, positions: Ints) -> dict[int, Floats]:
    """J̄ d of some sources: the mean over tokens of the derivative of what each later site reads along their directions.

    Args:
        setting: Clean run of the documents.
        layer: Layer of the sources.
        indices: The sources.
        documents: Of the tokens, [n].
        positions: Of the tokens, [n].

    Returns:
        Later layer → float64 [sources, d_in].
    """
    device, later = setting.slices.device, setting.model.later(layer)
    rows = setting.codecs[layer].w_dec[torch.as_tensor(indices, device=device)]
    at = torch.as_tensor(setting.rows[documents], device=device), torch.as_tensor(positions, device=device)
    derive = _site_derivatives if setting.model.has_components else _stream_derivatives
    return {
        k: vectors.double().cpu().numpy().mean(axis=0) for k, vectors in zip(later, derive(setting, layer, rows, at, later), strict=True)
    }


def _stream_derivatives(setting: Setting, layer: int, rows: Tensor, at: tuple[Tensor, Tensor], later: Sequence[int]) -> Iterator[Tensor]:
    """For each later layer [tokens, sources, d_model]."""
    n, sources = len(at[0]), len(rows)
    tokens = _each_at_each(at, sources)
    points = [setting.model.point(k) for k in later]
    carried = carry_directions(setting.slices, setting.clean, setting.model.point(layer), tokens, rows.repeat(n, 1), points)
    return (vectors.reshape(n, sources, -1) for vectors in carried)


def _site_derivatives(setting: Setting, layer: int, rows: Tensor, at: tuple[Tensor, Tensor], later: Sequence[int]) -> Iterator[Tensor]:
    """For each later site [tokens, sources, d_in]."""
    site, targets = setting.codecs[layer].site, [setting.codecs[k].site for k in later]
    n, sources = len(at[0]), len(rows)
    carried = carry_site_directions(setting.slices, setting.clean, site, _each_at_each(at, sources), rows.repeat(n, 1), targets)
    return (found.arrived.reshape(n, sources, -1) for found in carried)


def _each_at_each(at: tuple[Tensor, Tensor], sources: int) -> DirectionTokens:
    """Every source at every token."""
    return DirectionTokens(*at, torch.arange(len(at[0]), device=at[0].device).repeat_interleave(sources))
