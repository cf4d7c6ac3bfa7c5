"""What the report says of sites: which there are, in which order, and which pairs of them were measured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from ingest import counted
from ingest.feature_ids import FeatureId, sites_of
from ingest.site_kinds import place_in_layer


def where(config: dict[str, Any]) -> str:
    """At how many layers, and sites where these are more; empty if the configuration does not say it."""
    layers, sites = config.get("layers") or [], config.get("sites") or []
    if len(sites) > len(layers) > 0:
        return f" at {len(sites)} sites of {counted(len(layers), 'layer')}"
    return f" at {counted(len(layers), 'layer')}" if layers else ""


def in_order(key: str) -> tuple[Any, ...]:
    """Sorts what a manifest names dictionaries by: numbers of layers, or names of sites; other names come first."""
    found = FeatureId.read(f"{f'L{key}' if key.isdigit() else key}_F0")
    return (-1, (), key) if found is None else (found.layer, place_in_layer(found.site), key)


def by_sites(frame: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Rows of interactions.parquet by pair of sites, in the order of the model.

    Yields:
        Name of the source's and of the target's site, or the numbers of their layers where each has one site; and the rows.
    """
    ends = [sites_of(frame[f"{end}_id"].astype(str)) for end in ("src", "tgt")]
    ordered = sorted({*ends[0], *ends[1]}, key=in_order)
    plain = all(FeatureId.read(f"{name}_F0") is None or name.removeprefix("L").isdigit() for name in ordered)
    ranks = [names.map({name: rank for rank, name in enumerate(ordered)}) for names in ends]
    for pair, rows in frame.groupby(ranks, sort=True):
        source, target = (ordered[rank] for rank in np.asarray(pair, np.int64).tolist())
        yield (source.removeprefix("L"), target.removeprefix("L"), rows) if plain else (source, target, rows)
