"""Where a dictionary reads and writes, and which pairs of sites can be edges.

A block computes its tensors in the order of :class:`BlockTensor`. A *site* is a dictionary's place in the model: it reads one tensor and
writes one, often the same. Its *read point* and *write point* are these tensors in the order of the whole model.

A feature of one site can drive a feature of another where the first one's write point lies strictly before the second one's read point:

- between blocks, always;
- inside a block: z → attention output; attention (z or output) → middle of the residual stream, MLP input, transcoder, MLP output; middle →
  MLP input, transcoder, MLP output; MLP input → MLP output; each of them → the residual stream after the block;
- in a block whose attention and MLP both read the stream before it (Pythia, GPT-J), attention and MLP drive nothing of each other;
- where a write is added to the stream and read after the same block with nothing computed between, the effect is one weight: such a pair is
  left out unless it is asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import get_args

from feature_graph.artifacts.errors import SiteError
from ingest.feature_ids import FeatureId, site_name
from ingest.site_kinds import ID_SITES, READS, WRITES, BlockTensor, SiteKind, kind_named

_ATTENTION, _MLP = {BlockTensor.Z, BlockTensor.ATTN_OUT}, {BlockTensor.MLP_IN, BlockTensor.MLP_OUT}


@dataclass(frozen=True, order=True)
class ModelPoint:
    """A tensor of the model.

    Attributes:
        block: Its block; the stream after the last block counts as the first tensor of a block after it.
        tensor: Which tensor of the block.
    """

    block: int
    tensor: BlockTensor


@dataclass(frozen=True)
class SitePlace:
    """Where a dictionary sits.

    Attributes:
        layer: Number that the user calls it by; of a component, its block.
        kind: What it reads and writes.
        point: For a residual site, blocks run before the stream exists. ``None``: those up to and with ``layer``.
        parallel: Whether the model's attention and MLP both read the stream before the block.

    Raises:
        SiteError: For a kind that is not known, or the middle of the stream in a parallel block, which has none.
    """

    layer: int
    kind: SiteKind = "residual"
    point: int | None = None
    parallel: bool = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(SiteKind):
            raise SiteError(f"layer {self.layer}: got the kind of site {self.kind!r}; expected one of {', '.join(get_args(SiteKind))}")
        if self.parallel and self.kind == "resid_mid":
            raise SiteError(
                f"layer {self.layer}: resid_mid: attention and MLP of this model read the same residual stream, none lies between them"
            )

    @property
    def name(self) -> str:
        """What ids of its features begin with: ``L5``, ``L5.mlp``."""
        return site_name(self.layer, ID_SITES[self.kind])

    @property
    def reads(self) -> ModelPoint:
        """The tensor that its encoder takes."""
        return ModelPoint(self._block, READS[self.kind])

    @property
    def writes(self) -> ModelPoint:
        """The tensor that its decoder adds to."""
        return ModelPoint(self._block, WRITES[self.kind])

    @property
    def order(self) -> tuple[ModelPoint, ModelPoint]:
        """Sites sort by this into the order of the model: by what they read, then by what they write."""
        return self.reads, self.writes

    @property
    def block(self) -> int:
        """The block that it belongs to; of the residual stream, the one after which it is read (−1: before the first)."""
        return self._block - 1 if self.kind == "residual" else self._block

    @property
    def _block(self) -> int:
        if self.kind != "residual":
            return self.layer
        return self.layer + 1 if self.point is None else self.point


def site_kind(name: str) -> tuple[int, SiteKind]:
    """Layer and kind that a site's name says: ``L5.tc`` is a transcoder of layer 5.

    Raises:
        SiteError: If it is no name of a site.
    """
    found = FeatureId.read(f"{name}_F0")
    kind = None if found is None else kind_named(found.site)
    if found is None or kind is None:
        known = ", ".join(SitePlace(5, kind).name for kind in ID_SITES)
        raise SiteError(f"site: got {name!r}; expected a layer with the kind of site, as ids begin with it: {known}")
    return found.layer, kind


def can_drive(source: SitePlace, target: SitePlace) -> bool:
    """Whether the source's write point lies strictly before the target's read point."""
    written, read = source.writes, target.reads
    if written.block != read.block:
        return written.block < read.block
    apart = source.parallel and ({written.tensor, read.tensor} & _ATTENTION) and ({written.tensor, read.tensor} & _MLP)
    return not apart and written.tensor < read.tensor


def is_weight(source: SitePlace, target: SitePlace) -> bool:
    """Whether the target is the residual stream after the block and nothing is computed between the source's write and it."""
    added = source.writes.tensor is BlockTensor.MLP_OUT or (source.parallel and source.writes.tensor in _ATTENTION)
    return added and target.kind == "residual" and target.block == source.block


def is_pair(source: SitePlace, target: SitePlace, *, weights: bool = False) -> bool:
    """Whether features of two sites can be an edge: the source can drive the target, and by more than one weight, unless ``weights``."""
    return can_drive(source, target) and (weights or not is_weight(source, target))


def pairs(sites: Iterable[SitePlace], *, weights: bool = False) -> list[tuple[SitePlace, SitePlace]]:
    """Pairs of sites that can be edges, sorted by the source's and the target's place in the model.

    Args:
        sites: Sites of one model.
        weights: Whether pairs whose whole effect is one weight (:func:`is_weight`) take part, too.

    Raises:
        SiteError: If the sites are not those of one model; see :func:`ordered_sites`.
    """
    every = ordered_sites(sites)
    return [(s, t) for s in every for t in every if is_pair(s, t, weights=weights)]


def ordered_sites(sites: Iterable[SitePlace]) -> list[SitePlace]:
    """The sites in the order of the model: by what they read, then by what they write.

    Raises:
        SiteError: If two of one kind lie on one layer, blocks are parallel for some only, or a higher layer lies earlier in the model.
    """
    every = sorted(sites, key=lambda site: (*site.order, site.layer))
    twice = [name for name, n in Counter(site.name for site in every).items() if n > 1]
    if twice:
        raise SiteError(f"sites: {', '.join(twice)} given twice; a layer has one dictionary of each kind")
    if len({site.parallel for site in every}) > 1:
        raise SiteError("sites: parallel for some of them only; it is a property of the model")
    for one, two in pairwise(every):
        if two.layer < one.layer:
            raise SiteError(
                f"sites: {two.name} lies after {one.name} in the model, and its layer is lower; a higher layer must lie later in the model"
            )
    return every


def spans(source: SitePlace, target: SitePlace, layers: Sequence[int]) -> int:
    """Distinct analysed layers that an edge crosses: 1 to the next one, 0 inside a layer.

    Args:
        source: Where it starts.
        target: Where it ends.
        layers: The analysed layers, in any order, repeated or not.
    """
    places = {layer: place for place, layer in enumerate(sorted(set(layers)))}
    return places[target.layer] - places[source.layer]
