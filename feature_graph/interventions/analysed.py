"""The analysed model: a model that can be run in block ranges, with the dictionary of every analysed site."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from numpy.typing import NDArray

from feature_graph.artifacts import BySite, Site, by_site, is_component_key, is_pair
from feature_graph.config import Config
from feature_graph.dictionaries import (
    Dictionaries,
    HookedModel,
    SiteCodec,
    TensorHook,
    TensorName,
    UnsupportedSAEError,
    build_codecs,
    build_site_codecs,
    random_tokens,
    read_tensors,
    residual_norms,
    tensor_hook,
)
from feature_graph.interventions.slices import ModelSlices


@dataclass(frozen=True, eq=False)
class AnalysedModel:
    """A model and its dictionaries, built and checked once and handed on from stage to stage.

    What is by layer is by site where there are dictionaries on components (:mod:`feature_graph.artifacts.site_keys`).

    Attributes:
        slices: The model in block ranges.
        codecs: Layer → dictionary in residual units, layers ascending; a later layer lies later in the model.
        saes: Layer → the dictionary as it was given.
        activity_threshold: The user's own, with which the codecs were made; None: the default of each kind of dictionary.
        weight_pairs: Whether what a component adds to the stream is followed to the dictionary that reads the stream right after it.
    """

    slices: ModelSlices
    codecs: dict[int, SiteCodec]
    saes: Dictionaries = field(default_factory=dict)
    activity_threshold: float | None = None
    weight_pairs: bool = False

    @classmethod
    def of(
        cls, model: HookedModel | AnalysedModel, saes: Dictionaries, cfg: Config | None = None, *, components: bool = False
    ) -> AnalysedModel:
        """Cut the model into slices, fold its dictionaries, and compare each with the SAE's own encoder.

        Args:
            model: A HookedTransformer or TransformerBridge; or an analysed model, which is given back as it is if it was made of these
                dictionaries.
            saes: Layer → SAELens SAE; or name of the site → SAELens SAE or transcoder.
            cfg: The configuration; gives the activity threshold, the hooks of dictionaries that do not record theirs, and
                ``weight_pairs`` (without it that of a given analysed model stays).
            components: Whether the caller works with dictionaries on components.

        Raises:
            UnsupportedSAEError: If there are dictionaries on components and the caller does not work with them.
            InterventionError: If the model has a part that the slices do not reproduce.
            feature_graph.dictionaries.LoadingError: If a dictionary does not fit the model, or disagrees with its own encoder.
        """
        given, threshold = by_site(saes), cfg.activity_threshold if cfg is not None else None
        if not components:
            _refuse_components(given)
        weights = cfg.weight_pairs if cfg is not None else isinstance(model, AnalysedModel) and model.weight_pairs
        if isinstance(model, AnalysedModel):
            if dict(model.saes) == given and model.activity_threshold == threshold:
                return model if model.weight_pairs == weights else replace(model, weight_pairs=weights)
            model = model.model
        return cls(ModelSlices(model), _codecs(model, given, cfg), given, threshold, weights)

    @property
    def model(self) -> HookedModel:
        """The model itself."""
        return self.slices.model

    @property
    def has_components(self) -> bool:
        """Whether a dictionary sits elsewhere than on the residual stream before or after a block."""
        return any(map(is_component_key, self.codecs))

    @property
    def points(self) -> list[int]:
        """Points of the analysed sites, ascending."""
        return [codec.site.point for codec in self.codecs.values()]

    @property
    def sites(self) -> dict[int, Site]:
        """Layer → where its dictionary sits."""
        return {layer: codec.site for layer, codec in self.codecs.items()}

    @property
    def in_order(self) -> list[int]:
        """Layers of the sites in the order of the model."""
        return sorted(self.codecs, key=lambda layer: self.codecs[layer].site.place.order)

    def point(self, layer: int) -> int:
        """Point of one layer's site."""
        return self.codecs[layer].site.point

    def later(self, layer: int) -> list[int]:
        """Layers whose site lies downstream of that of ``layer``, in order."""
        here = self.codecs[layer].site.place
        places = {n: codec.site.place for n, codec in self.codecs.items()}
        return [n for n, place in places.items() if is_pair(here, place, weights=self.weight_pairs)]

    def streams(self) -> dict[int, str]:
        """Layer → hook of the residual stream there; of a component, of the stream that its block begins with."""
        sites = self.sites
        return {n: site.hook if site.kind == "residual" else f"blocks.{site.point}.hook_resid_pre" for n, site in sites.items()}

    def reads(self) -> dict[int, TensorHook]:
        """Layer → how what the dictionary reads is read from the model."""
        return {n: self._hook(site, site.reads) for n, site in self.sites.items()}

    def writes(self) -> dict[int, TensorHook]:
        """Layer → how what the dictionary writes is read from the model."""
        return {n: self._hook(site, site.writes) for n, site in self.sites.items()}

    def _hook(self, site: Site, name: str) -> TensorHook:
        if site.kind == "residual":
            return TensorHook("resid_post" if "post" in site.hook else "resid_pre", site.point, site.hook)
        return tensor_hook(self.model, cast("TensorName", name), site.point)

    def check(self, tokens: Any) -> float:
        """Compare the slices with the model on a few contexts [n, context]; see :meth:`ModelSlices.check`."""
        return self.slices.check(tokens)

    def mean_norms(self, tokens: NDArray[Any] | torch.Tensor) -> dict[int, float]:
        """Layer → mean norm of what is written at its site, on ``tokens`` [n, context], position 0 left out."""
        if self.has_components:
            hooks = self.writes()
            values = read_tensors(self.model, torch.as_tensor(tokens), hooks.values())
            return {n: float(values[hook][:, 1:].float().norm(dim=-1).mean()) for n, hook in hooks.items()}
        found = residual_norms(self.model, [codec.site.hook for codec in self.codecs.values()], torch.as_tensor(tokens))
        return {layer: found[codec.site.hook].mean_norm for layer, codec in self.codecs.items()}


def _codecs(model: HookedModel, saes: Mapping[int, Any], cfg: Config | None) -> dict[int, SiteCodec]:
    """The codec of every dictionary. With those on components, what they read is told by random tokens, the same in every stage."""
    if not any(map(is_component_key, saes)):
        return build_codecs(model, saes, cfg)
    threshold = None if cfg is None else cfg.activity_threshold
    found = build_site_codecs(model, {str(key): sae for key, sae in saes.items()}, random_tokens(model), threshold, judged=False)
    return BySite((key, found[str(key)]) for key in saes)


def _refuse_components(saes: Mapping[int, Any]) -> None:
    named = [str(key) for key in saes if is_component_key(key)]
    if named:
        raise UnsupportedSAEError(
            f"saes: got the sites {', '.join(named)}; this works with SAEs on the residual stream before or after a block alone. "
            "Dictionaries on components are collected, chosen, measured, made into a graph and steered; behaviours are studied with them"
        )
