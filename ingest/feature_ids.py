"""Ids of features: ``L5_F12`` where a layer has one site, ``L5.mlp_F12`` where it has several. Read and written here, for every program.

What stands before ``_F`` is the site's name (:mod:`ingest.sites`). ``queries``, which imports nothing of this package, recognises them by
:mod:`queries.feature_ids`; a test holds the two against each other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

import pandas as pd

_NUMBER = "0|[1-9][0-9]{0,9}"
_SITE = "[A-Za-z0-9-]+(?:_[A-Za-z0-9-]+)*"
_ID = re.compile(rf"L(?P<layer>{_NUMBER})(?:\.(?P<site>{_SITE}))?_F(?P<index>{_NUMBER})")
_LOOSE = re.compile(rf"\s*[Ll]?0*(?P<layer>\d{{1,10}})(?:\.(?P<site>{_SITE}?))?[\s_:/-]*[Ff]0*(?P<index>\d{{1,10}})\s*")


@dataclass(frozen=True, order=True)
class FeatureId:
    """A feature's id in its parts; ids sort by layer, site and index.

    Attributes:
        layer: Number of the layer.
        site: Which site of the layer, such as ``mlp``; empty where ids name none.
        index: Index in the site's dictionary.
    """

    layer: int
    site: str
    index: int

    def __str__(self) -> str:
        return feature_id(self.layer, self.index, self.site)

    @property
    def site_name(self) -> str:
        """What the id begins with: ``L5``, ``L5.mlp``."""
        return site_name(self.layer, self.site)

    @classmethod
    def read(cls, text: object) -> Self | None:
        """The parts of an id; None if ``text`` is none."""
        match = _ID.fullmatch(text) if isinstance(text, str) else None
        return None if match is None else cls(int(match["layer"]), match["site"] or "", int(match["index"]))


def feature_id(layer: int, index: int, site: str = "") -> str:
    """``L<layer>_F<index>``, or ``L<layer>.<site>_F<index>``; unique within a run."""
    return f"{site_name(layer, site)}_F{index}"


def site_name(layer: int, site: str = "") -> str:
    """What ids of a site's features begin with: ``L5``, ``L5.mlp``."""
    return f"L{layer}.{site}" if site else f"L{layer}"


def split_site_name(name: str) -> tuple[int, str]:
    """Layer and site of a site's name that is well formed, the inverse of :func:`site_name`."""
    layer, _, site = name.removeprefix("L").partition(".")
    return int(layer), site


def site_of_feature(feature: str) -> str:
    """Name of the site of a feature, of an id that is well formed."""
    return feature.rpartition("_F")[0]


def is_site(text: str) -> bool:
    """Whether ids can name a site so: letters, digits and hyphens, joined by underscores."""
    return re.fullmatch(_SITE, text) is not None


def sites_of(ids: pd.Series[str]) -> pd.Series[str]:
    """Name of the site of each feature, of ids that are well formed."""
    return ids.str.replace(r"_F\d+$", "", regex=True)


def meant(text: str) -> str | None:
    """The id that a text stands for, mistyped (``l15_f2184``, ``L5F12``, ``L05_F12``) or not; None if there is no telling."""
    match = _LOOSE.fullmatch(text)
    return None if match is None else feature_id(int(match["layer"]), int(match["index"]), match["site"] or "")
