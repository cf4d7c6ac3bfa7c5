"""What a dictionary records of the places it reads and writes: names of hooks and of modules, and the tensors that they mean.

``hook_mlp_in`` means one of two: in TransformerLens the stream before the norm, in Gemma Scope 2 what the MLP reads.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from feature_graph.dictionaries.errors import LoadingError, UnsupportedSAEError
from feature_graph.dictionaries.keys import ID_KEY, RELEASE_KEY
from feature_graph.dictionaries.tensors import TensorName

_HOOK = re.compile(r"blocks\.(\d+)\.([\w.]+)")
_MODULE = re.compile(r"(?:(?:gpt_neox|model|language_model|transformer|backbone)\.)*(?:layers|h|blocks)\.(\d+)((?:\.\w+)*)")
#: What attention and the MLP themselves give: the same as what they add to the stream only where no norm follows them.
BARE_OUTPUTS = {"attn.hook_out": "attention", "mlp.hook_out": "the MLP"}
#: TransformerLens' names below a block → the tensors that they may mean.
_HOOKS: dict[str, tuple[TensorName, ...]] = {
    "hook_resid_pre": ("resid_pre",),
    "hook_resid_mid": ("resid_mid",),
    "hook_resid_post": ("resid_post",),
    "attn.hook_z": ("z",),
    "hook_attn_out": ("attn_out",),
    "attn.hook_out": ("attn_out",),
    "ln2.hook_normalized": ("mlp_normalized",),
    "mlp.hook_in": ("mlp_in",),
    "hook_mlp_in": ("mlp_in", "mlp_stream"),
    "hook_mlp_out": ("mlp_out",),
    "mlp.hook_out": ("mlp_out",),
}
#: The same for names of transformers' modules with their side; a norm's name says enough only where one architecture has it.
_MODULES: dict[str, tuple[TensorName, ...]] = {
    "": ("resid_post",),
    ".output": ("resid_post",),
    ".input": ("resid_pre",),
    ".self_attn.o_proj.input": ("z",),
    ".attention.dense.input": ("z",),
    ".attn.c_proj.input": ("z",),
    ".pre_feedforward_layernorm.output": ("mlp_in",),
    ".mlp.input": ("mlp_in",),
    ".post_feedforward_layernorm.output": ("mlp_out",),
}
_CROSS_LAYER = re.compile(r"(?:^|[-_/. ])(clts?|cross[-_ ]?layer|crosscoders?)(?=$|[-_/. ])", re.IGNORECASE)


@dataclass(frozen=True)
class RecordedPlace:
    """A place that a dictionary names.

    Attributes:
        block: Its block.
        tensors: The tensors that it may mean; several where the name alone does not tell.
    """

    block: int
    tensors: tuple[TensorName, ...]


def recorded_place(meta: Any, hook_key: str, module_key: str, layer: int) -> RecordedPlace | None:
    """The place that a hook's name and a module's name mean together; None if neither is recorded.

    Args:
        meta: Metadata of the dictionary.
        hook_key: Key of the hook's name, such as ``hook_name``.
        module_key: Key of the module's name, such as ``hf_hook_name``.
        layer: The caller's number for the dictionary, for messages.

    Raises:
        UnsupportedSAEError: If no name is known.
        LoadingError: If they name different places.
    """
    said = {key: str(meta.get(key)) for key in (hook_key, module_key) if meta.get(key)}
    words = ", ".join(f"{key} = {name!r}" for key, name in said.items())
    known = [place for name in said.values() if (place := _place(name)) is not None]
    if not known:
        if said:
            raise UnsupportedSAEError(f"layer {layer}: {words}: not a place at which this library reads dictionaries")
        return None
    common = tuple(tensor for tensor in known[0].tensors if all(tensor in other.tensors for other in known))
    if len({place.block for place in known}) > 1 or not common:
        raise LoadingError(f"layer {layer}: the dictionary records two places: {words}")
    return RecordedPlace(known[0].block, common)


def _place(name: str) -> RecordedPlace | None:
    for pattern, known in ((_HOOK, _HOOKS), (_MODULE, _MODULES)):
        match = pattern.fullmatch(name)
        if match is not None and match[2] in known:
            return RecordedPlace(int(match[1]), known[match[2]])
    return None


def bare_output(meta: Any) -> str | None:
    """The hook of ``BARE_OUTPUTS`` that the dictionary records to write; None if it records another."""
    written = str(meta.get("hook_name_out") or meta.get("hook_name"))
    return next((hook for hook in BARE_OUTPUTS if written.endswith(f".{hook}")), None)


def refuse_cross_layer(sae: Any, layer: int) -> None:
    """Refuse dictionaries that write to several layers at once, also where one layer of them is given apart.

    A cross-layer transcoder that was released layer by layer, its decoders summed, looks like an ordinary transcoder and writes in a
    direction that no layer has: only its release tells.

    Raises:
        UnsupportedSAEError: Naming what tells.
    """
    if sae.W_dec.ndim != 2:
        raise UnsupportedSAEError(
            f"layer {layer}: W_dec has shape {tuple(sae.W_dec.shape)}: a crosscoder or cross-layer transcoder; not supported"
        )
    refuse_cross_layer_names(sae.cfg.metadata, layer)


def refuse_cross_layer_names(meta: Any, layer: int) -> None:
    """The same by the names alone, before anything is loaded.

    Args:
        meta: What is known of a dictionary; of it, the release, the id and the page.
        layer: The caller's number for it.

    Raises:
        UnsupportedSAEError: Naming the name.
    """
    for name in _names(meta):
        if _CROSS_LAYER.search(name):
            raise UnsupportedSAEError(
                f"layer {layer}: {name!r} names a cross-layer transcoder or crosscoder. Its features write to several layers, and a "
                "decoder for one layer is a sum over them, which no layer computes; not supported"
            )


def _names(meta: Any) -> list[str]:
    """What the release, the dictionary, its repository, its loader and its page are called."""
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    found = [str(meta.get(key)) for key in (RELEASE_KEY, ID_KEY, "neuronpedia_id") if meta.get(key)]
    entry = get_pretrained_saes_directory().get(str(meta.get(RELEASE_KEY)))
    return found if entry is None else [*found, entry.repo_id, str(entry.conversion_func)]
