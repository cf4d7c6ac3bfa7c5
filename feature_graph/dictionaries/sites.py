"""Where each dictionary really sits: hook, point in the model, and what both are called."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from feature_graph.artifacts import Site
from feature_graph.config import Config
from feature_graph.dictionaries.errors import LoadingError
from feature_graph.dictionaries.hook_names import hook_in
from feature_graph.dictionaries.keys import ID_KEY, RELEASE_KEY
from feature_graph.dictionaries.kinds import non_linearity, parse_hook
from feature_graph.dictionaries.models import Dictionaries, HookedModel

_hashes: WeakKeyDictionary[nn.Module | HookedModel, tuple[tuple[tuple[int, int], ...], str]] = WeakKeyDictionary()


def weights_hash(module: nn.Module | HookedModel) -> str:
    """First 8 hex digits of the sha256 over a module's parameters, by name, shape, type and bytes.

    Computed once per module, and again if a parameter was replaced or written to.
    """
    parameters = sorted(module.named_parameters())
    state = tuple((p.data_ptr(), p._version) for _, p in parameters)
    known = _hashes.get(module)
    if known is not None and known[0] == state:
        return known[1]
    digest = hashlib.sha256()
    for name, parameter in parameters:
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
        digest.update(parameter.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    _hashes[module] = (state, digest.hexdigest()[:8])
    return _hashes[module][1]


def model_name(model: HookedModel) -> str:
    """What the model calls itself (not what a configuration calls it)."""
    return str(getattr(model.cfg, "model_name", "") or "custom").split("/")[-1]


def describe_sites(model: HookedModel, saes: Dictionaries, cfg: Config | None = None) -> dict[int, Site]:
    """Say for each layer which hook is read and which dictionary sits there.

    Works for any HookedTransformer and any SAELens SAEs, loaded by this library or not: names come from the model and
    the dictionaries themselves. The configuration's ids (``sites``, ``sae_id_template``) are used only for a dictionary that
    does not record its hook.

    Args:
        model: A HookedTransformer.
        saes: {layer: SAE}; the layers are the caller's own keys.
        cfg: The run's configuration, if there is one.

    Returns:
        {layer: Site}, layers ascending.

    Raises:
        LoadingError: If a hook does not exist in the model, widths differ, or a later layer lies earlier in the model.
        UnsupportedSAEError: If a dictionary is of a kind that is not analysed.
    """
    if not saes:
        raise LoadingError("no SAEs: got an empty dict, expected {layer: SAE}")
    name, digest = model_name(model), weights_hash(model)
    sites = {layer: _site(model, name, digest, layer, saes[layer], cfg) for layer in sorted(saes)}
    ordered = list(sites.values())
    for before, after in pairwise(ordered):
        if after.point <= before.point:
            raise LoadingError(
                f"layer {after.layer} reads {after.hook}, layer {before.layer} reads {before.hook}: a higher layer must lie later "
                "in the model; use other keys in the dict of SAEs"
            )
    return sites


def _site(model: HookedModel, name: str, digest: str, layer: int, sae: Any, cfg: Config | None) -> Site:
    non_linearity(sae, layer)
    hook = parse_hook(_hook_name(sae, layer, cfg), layer)
    if hook.name not in model.hook_dict:
        raise LoadingError(f"layer {layer}: the SAE reads {hook.name}, but {name} has blocks 0 to {model.cfg.n_layers - 1}")
    if sae.cfg.d_in != model.cfg.d_model:
        raise LoadingError(f"layer {layer}: the SAE reads {sae.cfg.d_in} dimensions, {name} has d_model = {model.cfg.d_model}: not its SAE")
    meta = sae.cfg.metadata
    return Site(
        layer=layer,
        hook=hook.name,
        point=hook.point,
        model=name,
        model_hash=digest,
        release=str(meta.get(RELEASE_KEY) or f"unnamed-{weights_hash(sae)}"),
        sae_id=str(meta.get(ID_KEY) or hook.name),
        d_in=sae.cfg.d_in,
        d_sae=sae.cfg.d_sae,
        architecture=sae.cfg.architecture(),
        neuronpedia_id=str(meta.get("neuronpedia_id") or ""),
    )


def _hook_name(sae: Any, layer: int, cfg: Config | None) -> str:
    recorded = sae.cfg.metadata.get("hook_name")
    if recorded:
        return str(recorded)
    if cfg is not None:
        named = cfg.sae_id(layer)
        return hook_in(named) or named
    raise LoadingError(f"layer {layer}: the SAE does not record its hook (metadata.hook_name); set it, or give a configuration")
