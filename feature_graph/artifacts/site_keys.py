"""By what number a run calls each of its sites.

A run of residual SAEs alone calls a site by its layer, as its configuration and the caller's ``{layer: SAE}`` do. Where dictionaries sit on
components a layer has several sites, which the caller calls by name (``L5``, ``L5.tc``). Each is then called by a :class:`SiteKey`: a whole
number that stands for layer and kind, sorts by layer and by place in the block, and is written as the name. :func:`by_site` decides which
it is; everything after that takes the number as it comes, and asks :func:`layer_of` and :func:`id_site_of` where it needs more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_graph.artifacts.errors import SiteError
from feature_graph.artifacts.places import site_kind
from feature_graph.config import Config
from ingest.feature_ids import FeatureId, site_name
from ingest.site_kinds import ID_SITES, SiteKind, place_in_layer

_FIRST = 1 << 20
#: In the order of the block; the residual stream is the one after it.
_KINDS: tuple[SiteKind, ...] = tuple(sorted(ID_SITES, key=lambda kind: place_in_layer(ID_SITES[kind])))
_STEP = 8
#: Columns of a table of pairs that name the sites, where layers have several.
SITE_COLUMNS = ["src_site", "tgt_site"]
V = TypeVar("V")


class SiteKey(int):
    """A site of a run with dictionaries on components: a whole number that is written as the site's name."""

    def __str__(self) -> str:
        return site_name(layer_of(self), id_site_of(self))

    __repr__ = __str__


class BySite(dict[int, V]):
    """Values by site; ``[]`` takes the site's name, too."""

    def __missing__(self, key: object) -> V:
        if not isinstance(key, str):
            raise KeyError(key)
        layer, kind = site_kind(key)
        for number in (key_of(layer, kind), *([layer] if kind == "residual" else [])):
            if number in self:
                return self[number]
        raise KeyError(f"{key}: there are {', '.join(map(str, self))}")


def key_of(layer: int, kind: SiteKind) -> SiteKey:
    """The number of a site in a run with dictionaries on components."""
    return SiteKey(_FIRST + _STEP * layer + _KINDS.index(kind))


def is_component_key(key: int) -> bool:
    """Whether a number is a :class:`SiteKey`'s, and not a layer."""
    return key >= _FIRST


def as_key(number: int) -> int:
    """The number as the key that it is, after it went through an array or a table."""
    return SiteKey(number) if is_component_key(number) else int(number)


def read_key(text: str) -> int:
    """The inverse of ``str``: a layer's number, or a site's name."""
    return int(text) if text.isdecimal() else key_of(*site_kind(text))


def layer_of(key: int) -> int:
    """The layer that a key lies on; of a component, its block."""
    return (int(key) - _FIRST) // _STEP if is_component_key(key) else int(key)


def kind_of(key: int) -> SiteKind:
    """The kind of site that a key stands for."""
    return _KINDS[(int(key) - _FIRST) % _STEP] if is_component_key(key) else "residual"


def id_site_of(key: int) -> str:
    """What ids of a site's features name it by within the layer; empty for the residual stream."""
    return ID_SITES[kind_of(key)]


def keys_of(cfg: Config) -> list[int]:
    """The sites of a configuration, ascending."""
    if cfg.sites is None or not cfg.has_components:
        return [*cfg.layers]
    return sorted(key_of(site.layer, site.kind) for site in cfg.sites)


def by_site(given: Mapping[Any, V]) -> BySite[V]:
    """A caller's mapping by layer or by name of the site as one by key, ascending.

    Args:
        given: {layer: value}, {name of a site: value}, or one that was made here.

    Raises:
        SiteError: If keys are neither, or some are the one and some the other.
    """
    if all(isinstance(key, int) for key in given):
        return BySite((as_key(key), given[key]) for key in sorted(given))
    if not all(isinstance(key, str) for key in given):
        raise SiteError(f"got the keys {list(given)}; expected layers (5) or names of sites (L5, L5.tc), one or the other")
    places = {name: site_kind(name) for name in given}
    plain = all(kind == "residual" for _, kind in places.values())
    keys = {name: layer if plain else key_of(layer, kind) for name, (layer, kind) in places.items()}
    return BySite((keys[name], given[name]) for name in sorted(given, key=keys.__getitem__))


def keys_in(frame: pd.DataFrame, side: str) -> NDArray[np.int64]:
    """The site of each feature on one side (``src`` or ``tgt``) of a table of pairs."""
    name = f"{side}_site"
    if name not in frame:
        return frame[f"{side}_layer"].to_numpy(np.int64)
    known = {site: int(key_of(*site_kind(site))) for site in frame[name].unique()}
    return frame[name].map(known).to_numpy(np.int64)


def by_keys(frame: pd.DataFrame) -> pd.DataFrame:
    """A table of pairs with keys in place of layers, as the engine works with it; without names of sites it is that table."""
    if SITE_COLUMNS[0] not in frame:
        return frame
    return frame.assign(src_layer=keys_in(frame, "src"), tgt_layer=keys_in(frame, "tgt")).drop(columns=SITE_COLUMNS)


def with_sites(frame: pd.DataFrame) -> pd.DataFrame:
    """The inverse of :func:`by_keys`: layers, and names of the sites where layers have several."""
    made = frame.copy(deep=False)
    for side, name in zip(("src", "tgt"), SITE_COLUMNS, strict=True):
        keys = frame[f"{side}_layer"].to_numpy(np.int64).tolist()
        if not keys or not is_component_key(keys[0]):
            return frame
        names = {key: str(as_key(key)) for key in dict.fromkeys(keys)}
        made[name] = [names[key] for key in keys]
        made[f"{side}_layer"] = pd.Series([layer_of(key) for key in keys], index=frame.index).astype(frame[f"{side}_layer"].dtype)
    return made


def blocks_between(frame: pd.DataFrame) -> NDArray[np.int32]:
    """Distance in blocks of each row of a table of pairs, with layers or with keys."""
    source, target = (frame[f"{side}_layer"].to_numpy(np.int64) for side in ("src", "tgt"))
    source, target = (np.where(keys < _FIRST, keys, (keys - _FIRST) // _STEP) for keys in (source, target))
    return (target - source).astype(np.int32)


def without_empty_sites(frame: pd.DataFrame) -> pd.DataFrame:
    """A table of pairs without its columns of sites, where these name none."""
    return frame.drop(columns=SITE_COLUMNS) if not frame[SITE_COLUMNS[0]].any() else frame


def key_of_id(found: FeatureId, keys: Iterable[int]) -> int:
    """The site of a feature's id in a run that has these sites."""
    if not found.site and not any(map(is_component_key, keys)):
        return found.layer
    return key_of(*site_kind(found.site_name))
