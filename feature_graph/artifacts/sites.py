"""Where features live: one hook of one layer with its dictionary, and how a feature is named."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Self

from feature_graph.artifacts.errors import FeatureIdError
from ingest.feature_ids import FeatureId, feature_id, meant

__all__ = ["Site", "feature_id", "indices_by_layer", "parse_feature_id", "read_feature_id"]


@dataclass(frozen=True)
class Site:
    """One analysed residual stream with its SAE.

    Attributes:
        layer: Key of the user's ``saes`` dict and configuration.
        hook: Hook that is really read, such as ``blocks.6.hook_resid_pre``.
        point: Transformer blocks run before this residual exists (``resid_pre`` of block b: b; ``resid_post``: b + 1).
        model: Name of the model.
        model_hash: First 8 hex digits of the hash over the model's weights.
        release: SAE release, or a name for dictionaries made elsewhere.
        sae_id: Id of the SAE that was really loaded.
        d_in: Width of the residual stream.
        d_sae: Features in the dictionary.
        architecture: SAELens' name: standard, jumprelu, topk, batchtopk …
        neuronpedia_id: Such as ``gpt2-small/6-res-jb``; empty if there is none.
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

    def uid(self, index: int) -> str:
        """What the feature is, the same in every run (ARCHITECTURE.md, "Identity of a feature")."""
        return f"{self.model}@{self.model_hash}/{self.release}/{self.sae_id}/{index}"

    def neuronpedia_url(self, index: int) -> str:
        """Page of the feature on Neuronpedia, or an empty string."""
        return f"https://www.neuronpedia.org/{self.neuronpedia_id}/{index}" if self.neuronpedia_id else ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

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
