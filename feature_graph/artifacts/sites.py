"""Where features live: one hook of one layer with its dictionary, and how a feature is named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from feature_graph.artifacts.errors import FeatureIdError
from feature_graph.artifacts.places import SitePlace, is_pair, ordered_sites, spans
from feature_graph.artifacts.site_keys import id_site_of, is_component_key, key_of, key_of_id, layer_of
from ingest.feature_ids import FeatureId, meant
from ingest.feature_ids import feature_id as written_id
from ingest.site_kinds import ID_SITES, SiteKind

__all__ = [
    "Site",
    "feature_id",
    "feature_key",
    "indices_by_layer",
    "key_of_site",
    "pairs_in_window",
    "parse_feature_id",
    "read_feature_id",
    "site_facts",
]

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
        """Plain values, for JSON; those that only components have are left out for the residual stream, unless blocks are parallel."""
        values = asdict(self)
        return (
            values
            if self.kind != "residual"
            else {name: value for name, value in values.items() if name not in _OF_COMPONENTS or value is True}
        )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`."""
        return cls(**values)


def pairs_in_window(sites: Mapping[int, Site], window: int, *, weights: bool = False) -> list[tuple[int, int]]:
    """Pairs of sites that can be edges, by key, ascending: (source, target).

    Args:
        sites: Key → site.
        window: Distinct analysed layers that a pair may cross.
        weights: Whether pairs whose whole effect is one weight (:func:`feature_graph.artifacts.places.is_weight`) are among them.
    """
    layers = [site.layer for site in sites.values()]
    places = {key: sites[key].place for key in sorted(sites)}
    return [
        (source, target)
        for source, one in places.items()
        for target, two in places.items()
        if is_pair(one, two, weights=weights) and 0 <= spans(one, two, layers) <= window
    ]


def key_of_site(site: Site, beside: int) -> int:
    """The key of a site in a run that calls another one ``beside``."""
    return key_of(site.layer, site.kind) if is_component_key(beside) else site.layer


def site_facts(sites: Mapping[int, Site]) -> dict[str, dict[str, Any]]:
    """What files say of each site of a run: its facts by its key. Where layers have several, what ids name it by and its place in the layer
    are among them (``site``, ``order``)."""
    if all(site.kind == "residual" for site in sites.values()):
        return {str(key): site.to_dict() for key, site in sites.items()}
    in_order = {place.name: n for n, place in enumerate(ordered_sites(site.place for site in sites.values()))}
    found, places = {}, Counter[int]()
    for key in sorted(sites, key=lambda key: in_order[sites[key].name]):
        site = sites[key]
        found[str(key)] = site.to_dict() | {"site": site.id_site, "order": places[site.layer]}
        places[site.layer] += 1
    return found


def feature_id(key: int, index: int, site: str = "") -> str:
    """Short id of a feature: ``L5_F12``, ``L5.tc_F12``.

    Args:
        key: Of its site: the layer, or a :class:`feature_graph.artifacts.site_keys.SiteKey`.
        index: In the dictionary.
        site: Where ``key`` is a layer, which site of it; empty for the residual stream.
    """
    return written_id(layer_of(key), index, site or id_site_of(key))


def feature_key(text: str, keys: Iterable[int]) -> tuple[int, int]:
    """Key of the site, and index, of a feature of a run that has sites of these keys.

    Raises:
        FeatureIdError: If the text is not an id.
    """
    found = read_feature_id(text)
    return key_of_id(found, keys), found.index


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
