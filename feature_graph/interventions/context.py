"""What every measurement starts from: a model, its dictionaries and a text, checked against each other; and the clean run over it.

The main measurement, the exhaustive one and the follow-ups on chosen edges all open a :class:`MeasurementContext`, say which documents they
need, and ask :class:`CleanDocuments` for one source site after the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph.artifacts import ActivationStore
from feature_graph.config import Config
from feature_graph.dictionaries import SiteCodec
from feature_graph.interventions.analysed import AnalysedModel
from feature_graph.interventions.errors import MeasureError
from feature_graph.interventions.site_effects import site_span
from feature_graph.interventions.slices import CleanRun, CleanSweep, ModelSlices

Ints = NDArray[np.int64]

#: Memory for the clean residuals, keys and values kept at once, in bytes.
CLEAN_BYTES = 3 * 2**30
#: Contexts on which the slices are compared with the model, and on which the residual stream's norm is measured.
_CHECKED_DOCUMENTS, _NORM_DOCUMENTS = 2, 8


def check_sites(store: ActivationStore, model: AnalysedModel) -> None:
    """Refuse activations of other dictionaries, and text that the model cannot read.

    Raises:
        MeasureError: Naming the layer.
    """
    model.slices.tokens(store.tokens[:1])
    for layer, codec in model.codecs.items():
        known = store.sites.get(layer)
        if known is not None and (known.hook, known.reads, known.d_sae) != (codec.site.hook, codec.site.reads, codec.site.d_sae):
            raise MeasureError(
                f"layer {layer}: the activations are of {known.d_sae} features at {known.hook}, the SAE given has {codec.site.d_sae} at "
                f"{codec.site.hook}; collect the activations again"
            )


class _OfAnalysedModel:
    """Shortcuts to the parts of an analysed model."""

    model: AnalysedModel

    @property
    def slices(self) -> ModelSlices:
        """The model in block ranges."""
        return self.model.slices

    @property
    def codecs(self) -> dict[int, SiteCodec]:
        """Layer → dictionary, layers ascending."""
        return self.model.codecs


@dataclass(frozen=True)
class MeasurementContext(_OfAnalysedModel):
    """A model, its dictionaries and its text, checked against each other.

    Attributes:
        model: The model and its dictionaries.
        store: Recorded activations.
        norms: Layer → mean residual norm.
        cfg: The configuration.
    """

    model: AnalysedModel
    store: ActivationStore
    norms: dict[int, float]
    cfg: Config

    @classmethod
    def open(cls, model: AnalysedModel, store: ActivationStore, cfg: Config) -> MeasurementContext:
        """Check that the parts belong together.

        Raises:
            MeasureError: If the activations are of other dictionaries.
            feature_graph.interventions.InterventionError: If the slices do not compute what the model computes.
        """
        check_sites(store, model)
        model.check(store.tokens[:_CHECKED_DOCUMENTS])
        return cls(model, store, model.mean_norms(store.tokens[:_NORM_DOCUMENTS]), cfg)

    def input_hashes(self) -> dict[str, object]:
        """Hashes of the text, the recorded activations and the dictionaries."""
        store = self.store
        return {
            "tokens": hashlib.sha256(store.tokens.tobytes() + store.valid.tobytes() + store.splits.tobytes()).hexdigest(),
            "active": {
                str(n): hashlib.sha256(store.feature_frequencies[n].tobytes() + store.mean_activations[n].tobytes()).hexdigest()
                for n in self.codecs
            },
            "sites": [c.site.to_dict() for c in self.codecs.values()],
        }

    def document_bytes(self, windows: Iterable[Sequence[int]]) -> int:
        """Bytes that the clean run of one document takes in the widest window: residuals, keys and values.

        Args:
            windows: Of each source site its layer and the later layers that are read, ascending.
        """
        cfg = self.slices.model.cfg
        cached = 2 * int(cfg.n_key_value_heads or cfg.n_heads) * int(cfg.d_head)
        most = 0
        for layers in windows:
            first, last, points = _window(self.model, layers)
            most = max(most, (last - first) * cached + (len(points) + 1) * self.slices.d_model)  # with the sweep's frontier
        return max(1, most * self.store.context_length * 4)


@dataclass(frozen=True)
class Setting(_OfAnalysedModel):
    """What every block of one source site shares.

    Attributes:
        model: The model and its dictionaries.
        clean: Clean run at the site and over its window.
        rows: Document → row of the clean run, −1 where it has none.
        counted: bool [rows of the clean run, context].
        horizon: Later positions.
    """

    model: AnalysedModel
    clean: CleanRun
    rows: Ints
    counted: Tensor
    horizon: int


def _window(model: AnalysedModel, layers: Sequence[int]) -> tuple[int, int, list[int]]:
    """First block to run, the block before which to stop, and the points whose residual stream is kept.

    With dictionaries on components, points of sites that are not read are among them: a later window may begin there.
    """
    if not model.has_components:
        points = [model.point(layer) for layer in layers]
        return points[0], points[-1], points
    sites = model.sites
    first, last = site_span(sites[layers[0]], [sites[layer] for layer in layers[1:]])
    return first, last, sorted({point for point in model.points if first <= point <= last})


class CleanDocuments:
    """The clean run over some documents, walked up the model once; windows are asked for in ascending order.

    Args:
        context: Model and text.
        documents: int64 [n], ascending.
    """

    def __init__(self, context: MeasurementContext, documents: Ints) -> None:
        self._context = context
        self.rows = np.full(len(context.store.tokens), -1, dtype=np.int64)
        self.rows[documents] = np.arange(len(documents))
        self._counted = torch.as_tensor(context.store.valid[documents], device=context.slices.device)
        self._sweep = CleanSweep(context.slices, context.store.tokens[documents])

    def setting(self, layers: Sequence[int]) -> Setting:
        """The clean run from a source site over its window.

        Args:
            layers: The source's layer and the later layers that are read, ascending.

        Raises:
            MeasureError: If the residual stream is NaN or infinite there.
        """
        context = self._context
        first, last, points = _window(context.model, layers)
        clean = self._sweep.window(first, last, points)
        for point in points:
            if not torch.isfinite(clean.residuals[point]).all():
                raise MeasureError(
                    f"the model's residual stream after {point} blocks is NaN or infinite on the run's text; check its weights"
                )
        return Setting(context.model, clean, self.rows, self._counted, context.cfg.position_horizon)
