"""The codecs of dictionaries on components: attention, the MLP's input and output, transcoders, and the stream between the two.

For each dictionary, by the name of its site (``L5``, ``L5.mlp``, ``L5.tc`` …):

1. what it records, or what the site's name says, gives the tensors that it may read and write (:mod:`placements`);
2. these are read from the model on a few contexts (:mod:`tensors`);
3. it is folded and compared with its own encoder, decoder and skip;
4. its reconstruction is compared with the tensor that it is to write: of several readings the one that reconstructs best is its own, and a
   dictionary that does no better than the mean is refused (:mod:`reconstruction`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph.artifacts import Site, SiteKind, SitePlace, ordered_sites, site_kind
from feature_graph.dictionaries.codec import SiteCodec
from feature_graph.dictionaries.codec_check import check_codec
from feature_graph.dictionaries.errors import LoadingError, UnsupportedSAEError
from feature_graph.dictionaries.keys import ID_KEY, RELEASE_KEY
from feature_graph.dictionaries.models import HookedModel
from feature_graph.dictionaries.placements import Placement, placements
from feature_graph.dictionaries.reconstruction import choose_placement
from feature_graph.dictionaries.recorded import BARE_OUTPUTS, bare_output
from feature_graph.dictionaries.sites import model_name, weights_hash
from feature_graph.dictionaries.tensors import (
    TensorHook,
    TensorName,
    has_norm_after,
    is_parallel,
    output_weights,
    read_tensors,
    tensor_hook,
    width_of,
)
from feature_graph.dictionaries.tokens import valid_mask

_CHECKED = 64
_BEFORE_MLP: tuple[TensorName, ...] = ("mlp_in", "mlp_normalized", "mlp_stream")


@dataclass(frozen=True)
class _Given:
    """One dictionary with its placements.

    Attributes:
        name: Of its site.
        sae: The dictionary.
        layer: Of the site.
        kind: Of the site.
        allowed: What its records allow and the model has.
        also: Other readings that the model has, for messages.
    """

    name: str
    sae: Any
    layer: int
    kind: SiteKind
    allowed: dict[Placement, TensorHook]
    also: dict[Placement, TensorHook]


@torch.no_grad()
def build_site_codecs(
    model: HookedModel,
    saes: Mapping[str, Any],
    tokens: Tensor | NDArray[Any],
    activity_threshold: float | None = None,
    *,
    judged: bool = True,
) -> dict[str, SiteCodec]:
    """Fold dictionaries of any kind and hold each against the model.

    Args:
        model: A HookedTransformer or TransformerBridge.
        saes: Name of the site (``L5``, ``L5.mlp``, ``L5.tc`` …) → SAELens SAE or transcoder.
        tokens: Text [n, context] on which they are judged; a few contexts are enough.
        activity_threshold: The user's own, in folded units; None: the default of each kind of dictionary.
        judged: Whether one that reconstructs no better than the mean is refused; False where the tokens are no text.

    Returns:
        Name of the site → its codec, in the order of the model.

    Raises:
        UnsupportedSAEError: If a dictionary is of a kind that is not supported, or it cannot be told where it reads.
        LoadingError: If one does not fit the model, its records contradict its site, or its folded form disagrees with its own.
        QualityError: If one reconstructs no better than the mean of what it is to write.
        feature_graph.artifacts.SiteError: If names are no sites', or the sites do not go together.
    """
    given = [_given(model, name, sae) for name, sae in saes.items()]
    places = [_place(model, one) for one in given]
    values = _read(model, given, torch.as_tensor(tokens))
    codecs = {one.name: _codec(model, one, values, activity_threshold, judged=judged) for one in given}
    return {place.name: codecs[place.name] for place in ordered_sites(places)}


def _given(model: HookedModel, name: str, sae: Any) -> _Given:
    layer, kind = site_kind(name)
    found = placements(sae, layer, kind)
    allowed, lacking = _readable(model, found)
    if not allowed:
        raise lacking[0]
    _check_widths(model, name, sae, found[0])
    bare = bare_output(sae.cfg.metadata)
    if bare is not None and has_norm_after(model, bare, layer):
        raise UnsupportedSAEError(
            f"{name}: the dictionary records that it writes what {BARE_OUTPUTS[bare]} gives before the norm that follows it in this model "
            f"({bare}); supported are those that write what is added to the stream (hook_{bare.split('.')[0]}_out)"
        )
    tried = {placement.reads for placement in found}
    others = [replace(found[0], reads=reads) for reads in _BEFORE_MLP if reads not in tried] if kind == "transcoder" else []
    return _Given(name, sae, layer, kind, allowed, _readable(model, others)[0])


def _readable(model: HookedModel, found: Iterable[Placement]) -> tuple[dict[Placement, TensorHook], list[LoadingError]]:
    """Those placements that the model has, and why it does not have the others."""
    made, lacking = {}, []
    for placement in found:
        try:
            made[placement] = tensor_hook(model, placement.reads, placement.block)
        except LoadingError as error:
            lacking.append(error)
    return made, lacking


def _check_widths(model: HookedModel, name: str, sae: Any, placement: Placement) -> None:
    for tensor, width in ((placement.reads, int(sae.W_enc.shape[0])), (placement.writes, int(sae.W_dec.shape[1]))):
        if width != width_of(model, tensor):
            raise LoadingError(
                f"{name}: the dictionary has vectors of {width} dimensions for {tensor}, the model of {width_of(model, tensor)}: not its "
                "dictionary, or another place"
            )


def _place(model: HookedModel, one: _Given) -> SitePlace:
    first = next(iter(one.allowed))
    point = first.block + (first.reads == "resid_post") if one.kind == "residual" else None
    return SitePlace(one.layer, one.kind, point, is_parallel(model))


def _read(model: HookedModel, given: list[_Given], tokens: Tensor) -> dict[TensorHook, Tensor]:
    """Every tensor that is read or written, at the tokens that count: [n, width]."""
    blocks = {placement.block for one in given for placement in one.allowed}
    valid = torch.as_tensor(valid_mask(model, tokens, [f"blocks.{block}.hook_resid_pre" for block in sorted(blocks)]))
    hooks = [hook for one in given for hook in (*one.allowed.values(), *one.also.values(), _written(model, one))]
    return {hook: x[valid.to(x.device)].float() for hook, x in read_tensors(model, tokens, hooks).items()}


def _written(model: HookedModel, one: _Given) -> TensorHook:
    first, hook = next(iter(one.allowed.items()))
    return hook if first.reads == first.writes else tensor_hook(model, first.writes, first.block)


def _codec(
    model: HookedModel, one: _Given, values: Mapping[TensorHook, Tensor], activity_threshold: float | None, *, judged: bool
) -> SiteCodec:
    first, hook = next(iter(one.allowed.items()))
    x = values[hook]
    site = _site(model, one, first, hook)
    codec = SiteCodec.from_sae(one.sae, site, float(x.norm(dim=1).mean()), activity_threshold, device=x.device)
    check_codec(codec, one.sae, x[:_CHECKED])
    reads = {placement: values[hook] for placement, hook in one.allowed.items()}
    also = {placement: values[hook] for placement, hook in one.also.items()}
    chosen = choose_placement(one.name, codec, reads, values[_written(model, one)], also if judged else None)
    w_out = output_weights(model, chosen.block).to(codec.w_dec) if chosen.writes == "z" else None
    return replace(codec, site=_site(model, one, chosen, one.allowed[chosen]), w_out=w_out)


def _site(model: HookedModel, one: _Given, placement: Placement, hook: TensorHook) -> Site:
    meta = one.sae.cfg.metadata
    place = _place(model, one)
    return Site(
        layer=one.layer,
        hook=hook.hook,
        point=place.reads.block,
        model=model_name(model),
        model_hash=weights_hash(model),
        release=str(meta.get(RELEASE_KEY) or f"unnamed-{weights_hash(one.sae)}"),
        sae_id=str(meta.get(ID_KEY) or meta.get("hook_name") or hook.hook),
        d_in=int(one.sae.W_enc.shape[0]),
        d_sae=int(one.sae.W_enc.shape[1]),
        architecture=one.sae.cfg.architecture(),
        neuronpedia_id=str(meta.get("neuronpedia_id") or ""),
        kind=one.kind,
        reads=placement.reads if one.kind != "residual" else "",
        writes=placement.writes if one.kind != "residual" else "",
        parallel=is_parallel(model),
    )
