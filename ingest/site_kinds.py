"""The kinds of sites: what ids call them, and which tensors of a block they read and write, in the order in which these are computed.

Whoever orders sites, pipeline, files and graph alike, takes the order from here, unless the files of a run give one of their own.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

SiteKind = Literal["residual", "resid_mid", "mlp_out", "attn_out", "hook_z", "mlp_in", "transcoder"]


class BlockTensor(IntEnum):
    """Tensors of a block in the order in which they are computed; the stream after it is the next block's first."""

    RESID_PRE = 0
    Z = 1
    ATTN_OUT = 2
    RESID_MID = 3
    MLP_IN = 4
    MLP_OUT = 5


#: Kind → the tensor that its encoder takes.
READS: dict[SiteKind, BlockTensor] = {
    "residual": BlockTensor.RESID_PRE,
    "resid_mid": BlockTensor.RESID_MID,
    "mlp_out": BlockTensor.MLP_OUT,
    "attn_out": BlockTensor.ATTN_OUT,
    "hook_z": BlockTensor.Z,
    "mlp_in": BlockTensor.MLP_IN,
    "transcoder": BlockTensor.MLP_IN,
}
#: Kind → the tensor that its decoder adds to.
WRITES: dict[SiteKind, BlockTensor] = READS | {"transcoder": BlockTensor.MLP_OUT}
#: Kind → what ids name the site by; ids of the residual stream name none.
ID_SITES: dict[SiteKind, str] = {
    "residual": "",
    "resid_mid": "mid",
    "mlp_out": "mlp",
    "attn_out": "attn",
    "hook_z": "z",
    "mlp_in": "mlpin",
    "transcoder": "tc",
}
_KINDS = {site: kind for kind, site in ID_SITES.items()}


def kind_named(site: str) -> SiteKind | None:
    """The kind that ids mean by a site's name within its layer, such as ``mlp``; None of a name of another program."""
    return _KINDS.get(site)


def read_point(kind: SiteKind, layer: int, point: int | None = None) -> int:
    """Place of the tensor that is read among all tensors of a model, from 0; of two tensors the later one has the larger number.

    Args:
        kind: Kind of the site.
        layer: Its block.
        point: For a residual site, blocks run before the stream exists. ``None``: those up to and with ``layer``.
    """
    return _place(READS[kind], kind, layer, point)


def write_point(kind: SiteKind, layer: int, point: int | None = None) -> int:
    """The same of the tensor that is written."""
    return _place(WRITES[kind], kind, layer, point)


def place_in_layer(site: str) -> tuple[int, int, str]:
    """Key by which sites of one layer sort where nothing else orders them: by what they read, then by what they write.

    The residual stream is taken as the one after the block; names of other programs come before it, by their alphabet.
    """
    kind = kind_named(site)
    return (len(BlockTensor) - 1, len(BlockTensor), site) if kind is None else (read_point(kind, 0), write_point(kind, 0), site)


def _place(tensor: BlockTensor, kind: SiteKind, layer: int, point: int | None) -> int:
    block = layer if kind != "residual" else layer + 1 if point is None else point
    return len(BlockTensor) * block + tensor
