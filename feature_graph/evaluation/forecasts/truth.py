"""What a perturbation of one source does to every feature of every later site, document by document.

Steering adds a delta along the source's direction and leaves everything else free; the copied part is what that delta alone, arriving at
the target's site unchanged (through a norm that the target reads through), does to the target at the very same token, through its own
non-linearity. Both are read by the engine that measures edges, with the clean run as its lower level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph.activations import SampleRows
from feature_graph.config import Config
from feature_graph.interventions import Clamps, Effects, Reading, Setting, clamp_effects, site_clamp_effects
from feature_graph.stats import DocumentMeans, document_means

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class DocumentEffects:
    """Effects of one source on all features of a later site, target units per source unit.

    Attributes:
        total: float64 [documents, d_sae], mean over the tokens of each document.
        copy: The same, if only the delta itself arrived.
        documents: int64 [documents], which these are.
    """

    total: Floats
    copy: Floats
    documents: Ints


def steered(setting: Setting, layer: int, index: int, samples: SampleRows, delta: float) -> dict[int, DocumentEffects]:
    """Add ``delta`` activation units of a source at its tokens, and divide the change by it; later layer → effects."""
    high = torch.full((len(samples.values),), delta)
    return _effects(setting, layer, index, samples, high, torch.zeros_like(high), delta)


def clamped(setting: Setting, layer: int, index: int, samples: SampleRows, high: float, cfg: Config) -> dict[int, DocumentEffects]:
    """Clamp a source to ``high`` and to the configuration's low level, as edges are measured; later layer → effects."""
    now = torch.as_tensor(samples.values)
    return _effects(setting, layer, index, samples, high - now, cfg.clamp_low - now, high - cfg.clamp_low)


def _effects(
    setting: Setting, layer: int, index: int, samples: SampleRows, high: Tensor, low: Tensor, scale: float
) -> dict[int, DocumentEffects]:
    device, later = setting.slices.device, setting.model.later(layer)
    direction = setting.codecs[layer].w_dec[index].to(setting.slices.dtype)
    clamps = Clamps(
        torch.as_tensor(setting.rows[samples.documents], device=device),
        torch.as_tensor(samples.positions, device=device),
        direction.expand(len(samples.values), -1),
        high.to(direction),
        low.to(direction),
    )
    path = [Reading(setting.codecs[n], None) for n in later]
    found = _measured(setting, layer, clamps, path)

    def per_document(values: Tensor) -> DocumentMeans:
        return document_means(values.double().cpu().numpy(), samples.documents)

    def effects_of(effects: Effects) -> DocumentEffects:
        total, copy = per_document(effects.total), per_document(effects.copy)
        return DocumentEffects(total.values / scale, copy.values / scale, total.documents)

    return {n: effects_of(effects) for n, effects in zip(later, found, strict=True)}


def _measured(setting: Setting, layer: int, clamps: Clamps, path: list[Reading]) -> list[Effects]:
    run, site = (setting.slices, setting.clean), setting.codecs[layer].site
    if setting.model.has_components:
        return site_clamp_effects(*run, site, clamps, path, 0, setting.counted, direct=False)
    return clamp_effects(*run, site.point, clamps, path, 0, setting.counted, direct=False)
