"""Copy families: one direction of the stream for which several sites have a feature each. The one rule for pipeline and graph.

1. A *copy* is an edge whose total effect is mostly the identity path's: copy / total is above :data:`MIN_COPY_SHARE`, and the total effect,
   which excites, is above :data:`MIN_STRENGTH`.
2. Of a feature's copies, only those to the nearest later site that has any count, and of these the one with the largest copy: its
   successor. Likewise backward: its predecessor.
3. Two features belong together where each is the other's choice. A family is a chain of such pairs, with one member per site.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ingest.feature_ids import sites_of, split_site_name
from ingest.site_kinds import place_in_layer

MIN_COPY_SHARE, MIN_STRENGTH = 0.5, 0.25
#: Columns that the rule reads, as interactions.parquet names them.
FAMILY_COLUMNS = ("src_id", "tgt_id", "src_layer", "tgt_layer", "span", "mean_strength", "copy_strength")


@dataclass(frozen=True)
class CopyFamily:
    """Features of successive sites, each mostly a copy of the one before.

    Attributes:
        id: Short id of the first member, which stands for all.
        members: Short ids, in the order of their sites; two or more.
        first_layer: Layer of the first member.
        last_layer: Layer of the last one.
        copy_share: Mean of copy / total over the edges from one member to the next.
    """

    id: str
    members: tuple[str, ...]
    first_layer: int
    last_layer: int
    copy_share: float

    @property
    def lifetime(self) -> int:
        """Layers from the first member to the last."""
        return self.last_layer - self.first_layer


def is_copy(total: np.ndarray, copy: np.ndarray) -> np.ndarray:
    """Which edges are copies by which a feature lives on; bool [n], False where something is NaN."""
    return np.asarray((total > MIN_STRENGTH) & (copy > MIN_COPY_SHARE * total), bool)


def families_of(edges: pd.DataFrame) -> list[CopyFamily]:
    """The families among significant edges of one method, longest life first.

    Args:
        edges: The columns :data:`FAMILY_COLUMNS`, a row per edge, no pair twice.
    """
    total, copy = (edges[name].to_numpy(np.float64, na_value=np.nan) for name in ("mean_strength", "copy_strength"))
    copies = edges.loc[is_copy(total, copy), list(FAMILY_COLUMNS)]
    links = copies.loc[_chosen(copies, "src_id", "tgt_id") & _chosen(copies, "tgt_id", "src_id")]
    after: dict[str, Any] = {link.src_id: link for link in links.itertuples(index=False)}
    followers = {link.tgt_id for link in after.values()}
    found = [_family(after, first) for first in after if first not in followers]
    return sorted(found, key=lambda f: (-f.lifetime, -len(f.members), f.first_layer, f.id))


def _chosen(copies: pd.DataFrame, own: str, other: str) -> np.ndarray:
    """Which rows are the choice of their feature in the column ``own``; bool [n]. Equal copies: by id."""
    near = _place(copies[other]) if own == "src_id" else -_place(copies[other])
    order = copies.reset_index(drop=True).assign(near=near)
    order = order.sort_values(["span", "near", "copy_strength", other], ascending=[True, True, False, True])
    chosen = np.zeros(len(copies), bool)
    chosen[order.index[~order.duplicated(own).to_numpy()]] = True
    return chosen


def _place(ids: pd.Series[str]) -> np.ndarray:
    """Place of each feature's site within its layer; int64 [n]."""
    names = sites_of(ids.astype(str)).tolist()
    known = {name: place_in_layer(split_site_name(name)[1]) for name in set(names)}
    places = {key: place for place, key in enumerate(sorted(set(known.values())))}
    return np.array([places[known[name]] for name in names], np.int64)


def _family(after: Mapping[str, Any], first: str) -> CopyFamily:
    links = [after[first]]
    while (link := after.get(links[-1].tgt_id)) is not None:
        links.append(link)
    members = (first, *(link.tgt_id for link in links))
    share = sum(link.copy_strength / link.mean_strength for link in links) / len(links)
    return CopyFamily(first, members, int(links[0].src_layer), int(links[-1].tgt_layer), float(share))
