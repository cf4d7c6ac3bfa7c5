"""The analysed model: a model that can be run in block ranges, with the dictionary of every analysed site."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import NDArray

from feature_graph.artifacts import Site
from feature_graph.config import Config
from feature_graph.dictionaries import Dictionaries, HookedModel, SiteCodec, build_codecs, residual_norms
from feature_graph.interventions.slices import ModelSlices


@dataclass(frozen=True, eq=False)
class AnalysedModel:
    """A model and its dictionaries, built and checked once and handed on from stage to stage.

    Attributes:
        slices: The model in block ranges.
        codecs: Layer → dictionary in residual units, layers ascending; a later layer lies later in the model.
        saes: Layer → the dictionary as it was given.
        activity_threshold: The user's own, with which the codecs were made; None: the default of each kind of dictionary.
    """

    slices: ModelSlices
    codecs: dict[int, SiteCodec]
    saes: Dictionaries = field(default_factory=dict)
    activity_threshold: float | None = None

    @classmethod
    def of(cls, model: HookedModel | AnalysedModel, saes: Dictionaries, cfg: Config | None = None) -> AnalysedModel:
        """Cut the model into slices, fold its dictionaries, and compare each with the SAE's own encoder.

        Args:
            model: A HookedTransformer or TransformerBridge; or an analysed model, which is given back as it is if it was made of these
                dictionaries.
            saes: Layer → SAELens SAE.
            cfg: The configuration; gives the activity threshold, and the hooks of dictionaries that do not record theirs.

        Raises:
            InterventionError: If the model has a part that the slices do not reproduce.
            feature_graph.dictionaries.LoadingError: If a dictionary does not fit the model, or disagrees with its own encoder.
        """
        threshold = cfg.activity_threshold if cfg is not None else None
        if isinstance(model, AnalysedModel):
            if dict(model.saes) == dict(saes) and model.activity_threshold == threshold:
                return model
            model = model.model
        return cls(ModelSlices(model), build_codecs(model, saes, cfg), saes, threshold)

    @property
    def model(self) -> HookedModel:
        """The model itself."""
        return self.slices.model

    @property
    def points(self) -> list[int]:
        """Points of the analysed sites, ascending."""
        return [codec.site.point for codec in self.codecs.values()]

    @property
    def sites(self) -> dict[int, Site]:
        """Layer → where its dictionary sits."""
        return {layer: codec.site for layer, codec in self.codecs.items()}

    def point(self, layer: int) -> int:
        """Point of one layer's site."""
        return self.codecs[layer].site.point

    def later(self, layer: int) -> list[int]:
        """Layers whose site lies downstream of that of ``layer``, in order."""
        return [n for n in self.codecs if self.point(n) > self.point(layer)]

    def check(self, tokens: Any) -> float:
        """Compare the slices with the model on a few contexts [n, context]; see :meth:`ModelSlices.check`."""
        return self.slices.check(tokens)

    def mean_norms(self, tokens: NDArray[Any] | torch.Tensor) -> dict[int, float]:
        """Layer → mean norm of the residual stream at its site, on ``tokens`` [n, context], position 0 left out."""
        found = residual_norms(self.model, [codec.site.hook for codec in self.codecs.values()], torch.as_tensor(tokens))
        return {layer: found[codec.site.hook].mean_norm for layer, codec in self.codecs.items()}
