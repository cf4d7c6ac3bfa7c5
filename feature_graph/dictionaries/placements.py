"""Where a dictionary may read and write: what it records of itself (:mod:`recorded`), and what the caller says of it.

1. Transcoders read before the MLP and write its output; every other dictionary writes what it reads.
2. Where the records allow two tensors, both are placements; :mod:`reconstruction` tries them.
3. A dictionary that records nothing is of the kind that the caller says; where nobody says anything, it is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from feature_graph.artifacts import SiteKind
from feature_graph.dictionaries.errors import LoadingError, UnsupportedSAEError
from feature_graph.dictionaries.kinds import TRANSCODERS
from feature_graph.dictionaries.recorded import RecordedPlace, recorded_place, refuse_cross_layer
from feature_graph.dictionaries.tensors import TensorName

_KIND_OF: dict[TensorName, SiteKind] = {
    "resid_pre": "residual",
    "resid_post": "residual",
    "resid_mid": "resid_mid",
    "z": "hook_z",
    "attn_out": "attn_out",
    "mlp_in": "mlp_in",
    "mlp_normalized": "mlp_in",
    "mlp_stream": "mlp_in",
    "mlp_out": "mlp_out",
}
#: What a dictionary of a kind reads if it does not say.
_USUAL: dict[SiteKind, TensorName] = {
    "residual": "resid_post",
    "resid_mid": "resid_mid",
    "hook_z": "z",
    "attn_out": "attn_out",
    "mlp_in": "mlp_in",
    "mlp_out": "mlp_out",
    "transcoder": "mlp_in",
}
#: What a transcoder's input may be called → the tensor.
_BEFORE_MLP: dict[TensorName, TensorName] = {
    "mlp_in": "mlp_in",
    "mlp_normalized": "mlp_normalized",
    "mlp_stream": "mlp_stream",
    "resid_mid": "mlp_stream",
}


@dataclass(frozen=True)
class Placement:
    """Tensors that a dictionary may read and write.

    Attributes:
        kind: Of the site.
        block: Block of both tensors.
        reads: What its encoder takes.
        writes: What its decoder reconstructs.
    """

    kind: SiteKind
    block: int
    reads: TensorName
    writes: TensorName

    def in_words(self) -> str:
        """For messages."""
        return f"reads {self.reads} and writes {self.writes} of block {self.block}"


def placements(sae: Any, layer: int, kind: SiteKind | None = None) -> tuple[Placement, ...]:
    """The placements that a dictionary's records allow, the likeliest first.

    Args:
        sae: An SAELens SAE or transcoder.
        layer: The caller's number for it: of a component, its block.
        kind: The kind of site that the caller says it is of; None: what the records say.

    Raises:
        UnsupportedSAEError: For a cross-layer transcoder or crosscoder, or if nobody says where it reads.
        LoadingError: If the records contradict each other or the caller.
    """
    refuse_cross_layer(sae, layer)
    is_transcoder = sae.cfg.architecture() in TRANSCODERS
    if kind is not None and (kind == "transcoder") != is_transcoder:
        raise LoadingError(f"layer {layer}: got a {sae.cfg.architecture()!r} dictionary for a site of the kind {kind}")
    meta = sae.cfg.metadata
    read = recorded_place(meta, "hook_name", "hf_hook_name", layer) or _said(kind, layer)
    written = recorded_place(meta, "hook_name_out", "hf_hook_name_out", layer)
    found = _transcoder(read, written, layer) if is_transcoder else _autoencoder(read, written, layer)
    _compare(found[0], layer, kind)
    return found


def _said(kind: SiteKind | None, layer: int) -> RecordedPlace:
    if kind is None:
        raise UnsupportedSAEError(
            f"layer {layer}: the dictionary does not record where it reads (metadata.hook_name); set it, or say the kind of its site: "
            f"{', '.join(get_args(SiteKind))}"
        )
    return RecordedPlace(layer, (_USUAL[kind],))


def _transcoder(read: RecordedPlace, written: RecordedPlace | None, layer: int) -> tuple[Placement, ...]:
    written = written or RecordedPlace(read.block, ("mlp_out",))
    if written.block != read.block:
        raise UnsupportedSAEError(
            f"layer {layer}: the transcoder reads block {read.block} and writes block {written.block}: a cross-layer one; not supported"
        )
    reads = [_BEFORE_MLP[tensor] for tensor in read.tensors if tensor in _BEFORE_MLP]
    if not reads or "mlp_out" not in written.tensors:
        raise UnsupportedSAEError(
            f"layer {layer}: the transcoder reads {read.tensors[0]} and writes {written.tensors[0]}; supported are those of an MLP, from "
            "its input to its output"
        )
    return tuple(Placement("transcoder", read.block, tensor, "mlp_out") for tensor in reads)


def _autoencoder(read: RecordedPlace, written: RecordedPlace | None, layer: int) -> tuple[Placement, ...]:
    if written is not None and (written.block != read.block or not set(written.tensors) & set(read.tensors)):
        raise LoadingError(
            f"layer {layer}: the SAE records that it reads {read.tensors[0]} of block {read.block} and writes {written.tensors[0]} of "
            f"block {written.block}; an SAE writes what it reads"
        )
    return tuple(Placement(_KIND_OF[tensor], read.block, tensor, tensor) for tensor in read.tensors)


def _compare(first: Placement, layer: int, kind: SiteKind | None) -> None:
    if kind is not None and first.kind != kind:
        raise LoadingError(f"layer {layer}: the site is to be of the kind {kind}, but the dictionary records that it {first.in_words()}")
    if first.kind != "residual" and first.block != layer:
        raise LoadingError(f"layer {layer}: the dictionary {first.in_words()}; a component's layer is its block")
