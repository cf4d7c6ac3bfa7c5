"""By which part of the blocks does an effect reach a feature of any site? With dictionaries between: through their features or past them?

What reaches the stream that a target's reading begins with is what the source adds to it, and the change of every component's output
between. A component is credited with the whole change of its output, whatever caused it, as in
:mod:`feature_graph.interventions.mediation`:

- ``direct``: what the source itself adds to the stream, no block run; all, where it writes inside the component that the target reads;
- ``attention``: outputs of attention that no dictionary describes;
- ``features``: outputs of MLPs and attention, as far as the features of their dictionary that are on account for them;
- ``skip``: the same for the linear map of a skip transcoder, which belongs to no feature;
- ``error``: what dictionary and component differ by;
- ``mlp``: outputs of MLPs that no dictionary describes.

These are derivatives at the clean run, everything free: through the target's norm and component, which are linear in them, the parts add
up to the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from feature_graph.artifacts import Site
from feature_graph.dictionaries import SiteCodec, dictionary_response
from feature_graph.interventions.clamp import Reading
from feature_graph.interventions.mediation import Mediated
from feature_graph.interventions.site_tangents import TensorTangent, read_at, site_tangents, stream_before, write_at
from feature_graph.interventions.slices import CleanRun, ModelSlices
from feature_graph.interventions.taps import Where

#: Parts of an effect between any two sites.
SITE_PARTS = ("direct", "attention", "features", "skip", "error", "mlp")


@dataclass(frozen=True)
class MovedTokens:
    """Where a source's direction is put in.

    Attributes:
        documents: int64 [S], rows of the clean run.
        positions: int64 [S].
        directions: [S, d_out], in units of the tensor that the source writes.
    """

    documents: Tensor
    positions: Tensor
    directions: Tensor


@torch.no_grad()
def site_mediation(
    slices: ModelSlices, clean: CleanRun, source: Site, moved: MovedTokens, target: Reading, between: Iterable[SiteCodec] = ()
) -> Mediated:
    """Split the derivatives of features of one site along a direction of another.

    Args:
        slices: The model.
        clean: Clean run with the residual streams before, and keys and values of, the blocks from the source's to the target's.
        source: Where the direction is written.
        moved: Tokens and directions.
        target: Site and features that are read; they have to lie after the source.
        between: Dictionaries that may describe components between; of an MLP with several, a transcoder rather than an SAE on its output.

    Returns:
        Per unit of the direction, [S, T]: the whole effect through the target's gate, and its parts; they add up but for rounding.
    """
    walk = _Walk(slices, clean, source, moved, target.codec.site)
    parts = walk.parts({codec.site.name: codec for codec in between})
    codec, asked = target.codec, target.features
    whole = walk.read()
    weights = codec.w_enc if asked is None else codec.w_enc.T[asked].T
    gate = codec.gate(codec.preactivation(whole.value.to(weights.dtype), asked), asked).to(weights.dtype)
    shares = {name: gate * (walk.arriving(change).to(weights.dtype) @ weights) for name, change in parts.items()}
    return Mediated(gate * (whole.tangent.to(weights.dtype) @ weights), shares)


class _Walk:
    """One source and one target site: the derivatives of every tensor between, from one pass."""

    def __init__(self, slices: ModelSlices, clean: CleanRun, source: Site, moved: MovedTokens, target: Site) -> None:
        self._slices, self._clean, self._moved = slices, clean, moved
        n = slices.n_blocks
        self._at, self._read_at = write_at(source, n), read_at(target, n)
        self._entry = self._read_at if target.kind in ("residual", "resid_mid") else _entry(target)
        self._inside = _comes_after(self._at, self._entry)
        serial = not target.parallel
        last, at_mlp = self._entry[0], self._entry[1] in ("mlp_stream", "resid_mid")
        ends = last + (self._entry[1] == "resid_post")
        self._attention = [b for b in range(self._at[0], ends + (at_mlp and serial)) if b > self._at[0] or self._at[1] == "resid_pre"]
        self._mlps = [b for b in range(self._at[0], ends) if slices.block(b).mlp is not None and (b, "mlp_out") != self._at]
        self._found: dict[Where, TensorTangent] = {}

    def read(self) -> TensorTangent:
        """What the target reads."""
        return self._tangents([self._read_at])[self._read_at]

    def arriving(self, change: Tensor) -> Tensor:
        """What a change of the stream before the target's reading makes of what it reads."""
        if self._inside or self._entry == self._read_at:
            return change
        return self._along(self._entry, change, [self._read_at])[0].tangent

    def parts(self, between: Mapping[str, SiteCodec]) -> dict[str, Tensor]:
        """Name of the part → its change of the stream before the target's reading; of what is read, where nothing lies between."""
        if self._inside:
            whole = self.read().tangent
            return {name: whole if name == "direct" else torch.zeros_like(whole) for name in SITE_PARTS}
        described = [(b, "attn_out", _first(between, b, (".attn", ".z"))) for b in self._attention]
        described += [(b, "mlp_out", _first(between, b, (".tc", ".mlp"))) for b in self._mlps]
        outputs: list[Where] = [(b, name) for b, name, _ in described]  # type: ignore[misc]
        reads = [read_at(codec.site, self._slices.n_blocks) for _, _, codec in described if codec is not None]
        added: list[Where] = [(self._at[0], "attn_out")] if self._at[1] == "z" else []
        self._tangents([*outputs, *reads, *added])
        start = self._direct()
        parts = {name: start if name == "direct" else torch.zeros_like(start) for name in SITE_PARTS}
        for where, (_, _, codec) in zip(outputs, described, strict=True):
            for name, change in self._described(where, codec).items():
                parts[name] = parts[name] + change
        return parts

    def _direct(self) -> Tensor:
        """What the source adds to the stream."""
        if self._at[1] == "z":
            return self._found[self._at[0], "attn_out"].tangent
        given = self._moved.directions.to(self._slices.dtype)
        return torch.zeros_like(given) if self._at[1] in ("mlp_in", "mlp_normalized", "mlp_stream") else given

    def _described(self, where: Where, codec: SiteCodec | None) -> dict[str, Tensor]:
        """The change of a component's output, by part."""
        whole = self._found[where].tangent
        if codec is None:
            return {"attention" if where[1] == "attn_out" else "mlp": whole}
        reads = self._found[read_at(codec.site, self._slices.n_blocks)]
        found = dictionary_response(codec, reads.value, reads.tangent)
        features, skip = found.features.to(whole), found.skip.to(whole)
        if codec.site.kind == "hook_z":  # W_O and a norm follow
            features = self._along((where[0], "z"), features, [where])[0].tangent
            skip = torch.zeros_like(features)
        return {"features": features, "skip": skip, "error": whole - features - skip}

    def _tangents(self, wanted: list[Where]) -> dict[Where, TensorTangent]:
        missing = [where for where in dict.fromkeys(wanted) if where not in self._found]
        if missing:
            self._found |= zip(missing, self._along(self._at, self._moved.directions, missing), strict=True)
        return self._found

    def _along(self, at: Where, directions: Tensor, read: list[Where]) -> list[TensorTangent]:
        return site_tangents(self._slices, self._clean, self._moved.documents, self._moved.positions, at, directions, read)


def _entry(target: Site) -> Where:
    """The stream that what a target reads is computed from."""
    return stream_before(target) or (target.point, "mlp_stream")


def _comes_after(at: Where, entry: Where) -> bool:
    """Whether the source writes inside the component that the target reads, after the stream that it begins with."""
    inside = {"mlp_stream": ("mlp_in", "mlp_normalized", "mlp_stream"), "resid_pre": ("z", "attn_out")}
    return at[0] == entry[0] and at[1] in inside.get(entry[1], ())


def _first(between: Mapping[str, SiteCodec], block: int, names: tuple[str, ...]) -> SiteCodec | None:
    return next((between[f"L{block}{name}"] for name in names if f"L{block}{name}" in between), None)
