"""Which residual stream a dictionary reads, by the names that people give to folders and modules."""

from __future__ import annotations

import re

_SAELENS = re.compile(
    r"blocks\.(\d+)\.(?:hook_resid_(?:pre|mid|post)|hook_(?:attn|mlp)_(?:out|in)|attn\.hook_\w+?|mlp\.hook_\w+?|ln\d\.hook_\w+?)(?=$|[/_-])"
)
#: A block of a transformers model by its module: its output is the residual stream after it.
_MODULE = re.compile(r"(?:(?:gpt_neox|model|transformer|backbone)\.)*(?:layers|h|blocks)[._](\d+)((?:\.\w+)*)")
_OTHER_PLACE = re.compile(r"(attn|att|attention|mlp|transcoder|transcoders|clt|crosscoder)(?:_(?:out|in))?_layer_?(\d+)")
_DICTIONARY_LEARNING = re.compile(r"resid(?:ual)?_(post|out|pre|in|mid)_layer_?(\d+)")
_LAYER = re.compile(r"layer_?(\d+)(?=$|[/_.-])")
_EMBEDDING = re.compile(r"(^|/)(embed|embed_tokens|embedding|embeddings)(?=$|/)")


def module_hook(name: str) -> str | None:
    """``blocks.5.hook_resid_post`` for ``model.layers.5`` and its kin; None if ``name`` is not a whole block of a transformers model."""
    match = _MODULE.fullmatch(name)
    return f"blocks.{match[1]}.hook_resid_post" if match and match[2] in ("", ".output") else None


def hook_in(name: str) -> str | None:
    """The hook that an id or folder names, None if it names none.

    Attention, MLP and embedding places come back as they are written, for the refusal that names them.
    """
    saelens = _SAELENS.search(name)
    if saelens:
        return saelens[0]
    if _EMBEDDING.search(name):
        return "hook_embed"
    other = _OTHER_PLACE.search(name)
    if other:
        return other[0]
    learning = _DICTIONARY_LEARNING.search(name)
    if learning:
        side = {"post": "post", "out": "post", "pre": "pre", "in": "pre", "mid": "mid"}[learning[1]]
        return f"blocks.{learning[2]}.hook_resid_{side}"
    for part in name.split("/"):
        module = _MODULE.fullmatch(part)
        if module:
            return module_hook(part) or part
    return None


def block_in(name: str) -> int | None:
    """The block that an id or folder names, by a hook or as ``layer_5``; None if it names none."""
    hook = hook_in(name)
    match = re.search(r"\d+", hook) if hook else _LAYER.search(name)
    return None if match is None else int(match[match.re.groups])
