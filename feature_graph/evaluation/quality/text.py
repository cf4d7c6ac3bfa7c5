"""The text that dictionaries are measured on: which tokens count, and how much of it is run at a time."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from feature_graph.dictionaries import SiteCodec, valid_mask
from feature_graph.interventions import ModelSlices, Where, read_at, write_at

#: Contexts that are run together at the most, and bytes of the tensors that are kept of them.
_CONTEXTS, _BYTES = 8, 512_000_000


def counted(slices: ModelSlices, codecs: Iterable[SiteCodec], ids: Tensor) -> Tensor:
    """Bool [n_docs, context]: no special token, and not position 0 where it is an outlier at a site (or at the block of one)."""
    hooks = {codec.site.hook if codec.site.kind == "residual" else f"blocks.{codec.site.point}.hook_resid_pre" for codec in codecs}
    return torch.as_tensor(valid_mask(slices.model, ids, sorted(hooks)), device=slices.device)


def tensors_of(slices: ModelSlices, codecs: Iterable[SiteCodec]) -> set[Where]:
    """What dictionaries read and write, and the streams before their blocks."""
    ends = {of(codec.site, slices.n_blocks) for codec in codecs for of in (read_at, write_at)}
    return ends | {(block, "resid_pre") for block, _ in ends}


def contexts_together(slices: ModelSlices, codecs: Iterable[SiteCodec], context: int) -> int:
    """Contexts to run at a time, so that what is kept of them stays small; 1 at the least."""
    every = list(codecs)
    widths = len(tensors_of(slices, every)) * slices.d_model + 3 * max((codec.d_sae for codec in every), default=0)
    return max(1, min(_CONTEXTS, _BYTES // max(1, 4 * widths * context)))
