"""Do atlas, dictionaries, store and configuration belong together? Asked before any work is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from feature_graph.artifacts import SELECT, ActivationStore, CoactivationAtlas, Site, by_site, is_component_key, keys_of, pairs_in_window
from feature_graph.candidates.errors import CandidateError
from feature_graph.config import Config
from feature_graph.dictionaries import Dictionaries, HookedModel, SiteCodec
from feature_graph.interventions import AnalysedModel


def analysed_of(model: HookedModel | AnalysedModel, saes: Dictionaries, cfg: Config) -> AnalysedModel:
    """The model with the dictionaries of the configuration's layers.

    Raises:
        CandidateError: If an SAE is missing.
    """
    return AnalysedModel.of(model, _wanted(saes, cfg), cfg, components=True)


def codecs_without_model(saes: Dictionaries, cfg: Config, store: ActivationStore | None) -> dict[int, SiteCodec]:
    """Codecs of the configuration's layers, by the sites that the store or the dictionaries record.

    Raises:
        CandidateError: If an SAE is missing.
    """
    wanted = _wanted(saes, cfg)
    return {layer: SiteCodec.from_sae(sae, _site(layer, n, sae, store)) for n, (layer, sae) in enumerate(wanted.items())}


def _wanted(saes: Dictionaries, cfg: Config) -> Dictionaries:
    given, layers = by_site(saes), keys_of(cfg)
    lacking = [layer for layer in layers if layer not in given]
    if lacking:
        raise CandidateError(f"saes: got layers {list(given)}, the configuration asks for {lacking} too; load them")
    return {layer: given[layer] for layer in layers}


def _site(layer: int, place: int, sae: Any, store: ActivationStore | None) -> Site:
    if store is not None and layer in store.sites:
        return store.sites[layer]
    if is_component_key(layer):
        raise CandidateError(f"{layer}: without the model or its activations it cannot be told where the dictionary sits; give one of them")
    hook = str(sae.cfg.metadata.get("hook_name") or "")
    return Site(layer, hook, place, "", "", "", hook, int(sae.cfg.d_in), int(sae.cfg.d_sae))


def check_inputs(atlas: CoactivationAtlas, codecs: Mapping[int, SiteCodec], cfg: Config, store: ActivationStore | None) -> None:
    """Refuse what was made by another run.

    Raises:
        CandidateError: Saying what does not fit.
    """
    lacking = [pair for pair in window_of(codecs, cfg) if pair not in atlas.counts]
    if lacking:
        raise CandidateError(f"atlas: layer pairs {lacking} are missing, it has {atlas.layer_pairs}; build it with this configuration")
    if atlas.min_count > max(cfg.min_coactivation, 1):
        raise CandidateError(
            f"min_coactivation: got {cfg.min_coactivation}, the atlas keeps pairs from {atlas.min_count} upwards; build it again"
        )
    if atlas.horizon != cfg.position_horizon:
        raise CandidateError(f"position_horizon: got {cfg.position_horizon}, the atlas was built with {atlas.horizon}; build it again")
    for layer, codec in codecs.items():
        if len(atlas.active[layer]) != codec.d_sae:
            raise CandidateError(
                f"layer {layer}: the atlas has {len(atlas.active[layer])} features, the SAE {codec.d_sae}: not the same SAE"
            )
    widths = {layer: int(codec.w_dec.shape[1]) for layer, codec in codecs.items() if not is_component_key(layer)}
    if len(set(widths.values())) > 1:
        raise CandidateError(f"saes: got residual streams of different widths, {widths} by layer; all must be of one model")
    if store is not None:
        _check_store(atlas, codecs, store)


def window_of(codecs: Mapping[int, SiteCodec], cfg: Config) -> list[tuple[int, int]]:
    """Pairs of sites inside the window, ascending."""
    return pairs_in_window({layer: codec.site for layer, codec in codecs.items()}, cfg.layer_window, weights=cfg.weight_pairs)


def _check_store(atlas: CoactivationAtlas, codecs: Mapping[int, SiteCodec], store: ActivationStore) -> None:
    n_select = len(store.rows_of(SELECT))
    if n_select != atlas.n_tokens:
        raise CandidateError(f"activation_store: it has {n_select} select tokens, the atlas counted {atlas.n_tokens}: not the same run")
    for layer, codec in codecs.items():
        if layer not in store.sites:
            raise CandidateError(f"activation_store: layer {layer} was not collected, it has {store.layers}")
        if store.sites[layer] != codec.site:
            raise CandidateError(
                f"layer {layer}: the store was collected with {store.sites[layer].uid(0)[:-2]}, got {codec.site.uid(0)[:-2]}; "
                "collect again with this model and these SAEs"
            )
