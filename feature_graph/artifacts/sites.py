"""Where features live: one hook of one layer with its dictionary, and how a feature is named."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Self

from feature_graph.artifacts.errors import FeatureIdError
from feature_graph.artifacts.places import SitePlace
from ingest.feature_ids import FeatureId, feature_id, meant
from ingest.site_kinds import ID_SITES, SiteKind

__all__ = ["Site", "feature_id", "indices_by_layer", "parse_feature_id", "read_feature_id"]

_OF_COMPONENTS = frozenset({"kind", "reads", "writes", "parallel"})


@dataclass(frozen=True)
class Site:
    """One analysed tensor with its dictionary.

    Attributes:
        layer: Key of the user's ``saes`` dict and configuration; of a component, its block.
        hook: Hook that is really read, such as ``blocks.6.hook_resid_pre``.
        point: Transformer blocks run before this residual exists (``resid_pre`` of block b: b; ``resid_post``: b + 1); of a component, the
            blocks run before its own.
        model: Name of the model.
        model_hash: First 8 hex digits of the hash over the model's weights.
        release: SAE release, or a name for dictionaries made elsewhere.
        sae_id: Id of the SAE that was really loaded.
        d_in: Width of the tensor that is read.
        d_sae: Features in the dictionary.
        architecture: SAELens' name: standard, jumprelu, topk, batchtopk …
        neuronpedia_id: Such as ``gpt2-small/6-res-jb``; empty if there is none.
        kind: What is read and written.
        reads: Name of the tensor that is read (``feature_graph.dictionaries.tensors``); empty for the residual stream, which ``hook`` says.
        writes: The same of the one that is written.
        parallel: Whether attention and MLP of the model's blocks read the same stream.
    """

    layer: int
    hook: str
    point: int
    model: str
    model_hash: str
    release: str
    sae_id: str
    d_in: int
    d_sae: int
    architecture: str = "standard"
    neuronpedia_id: str = ""
    kind: SiteKind = "residual"
    reads: str = ""
    writes: str = ""
    parallel: bool = False

    @property
    def place(self) -> SitePlace:
        """Its read point and write point."""
        return SitePlace(self.layer, self.kind, self.point if self.kind == "residual" else None, self.parallel)

    @property
    def name(self) -> str:
        """What ids of its features begin with: ``L5``, ``L5.mlp``."""
        return self.place.name

    @property
    def id_site(self) -> str:
        """What ids of its features name it by within the layer; empty for the residual stream."""
        return ID_SITES[self.kind]

    def uid(self, index: int) -> str:
        """What the feature is, the same in every run (ARCHITECTURE.md, "Identity of a feature")."""
        return f"{self.model}@{self.model_hash}/{self.release}/{self.sae_id}/{index}"

    def neuronpedia_url(self, index: int) -> str:
        """Page of the feature on Neuronpedia, or an empty string."""
        return f"https://www.neuronpedia.org/{self.neuronpedia_id}/{index}" if self.neuronpedia_id else ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; those that only components have are left out for the residual stream."""
        values = asdict(self)
        return values if self.kind != "residual" else {name: value for name, value in values.items() if name not in _OF_COMPONENTS}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`."""
        return cls(**values)


def indices_by_layer(features: Iterable[tuple[int, int]]) -> dict[int, list[int]]:
    """Layer → indices of (layer, index) pairs, in the order given."""
    found: dict[int, list[int]] = {}
    for layer, index in features:
        found.setdefault(layer, []).append(index)
    return found


def parse_feature_id(text: str) -> tuple[int, int]:
    """Layer and index of a feature of the residual stream, such as ``L5_F12``.

    Raises:
        FeatureIdError: If the text is not an id, or names a feature of another site of the layer (``L5.mlp_F12``).
    """
    found = read_feature_id(text)
    if found.site:
        raise FeatureIdError(
            f"feature id: got {text!r}, a feature of the site {found.site_name}; expected one of the residual stream, such as "
            f"{feature_id(found.layer, found.index)}"
        )
    return found.layer, found.index


def read_feature_id(text: str) -> FeatureId:
    """Layer, site and index of any short id.

    Raises:
        FeatureIdError: If the text is not an id.
    """
    found = FeatureId.read(text)
    if found is None:
        likely = meant(text)
        hint = f"; did you mean {likely}?" if likely else ""
        raise FeatureIdError(f"feature id: got {text!r}, expected L<layer>_F<index>, such as L5_F1024{hint}")
    return found
