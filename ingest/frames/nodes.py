"""The features of a run, from a table of them, or from the ids that edges name.

An id is either of the form ``L5_F12`` (``L5.attn_F12``), and says layer, site and index, or any other name; then the layer comes from a
column, the index is given out in the order of the names, and the name becomes the label.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ingest.casting import FormatError
from ingest.feature_ids import FeatureId, feature_id, is_site, site_name
from ingest.formats import FEATURES
from ingest.frames.columns import UserTable, missing
from ingest.site_kinds import kind_named, place_in_layer

_MODEL = re.compile(r"(?P<name>.+?)(@(?P<hash>[0-9a-f]{8}))?")
_MADE_OF = re.compile(r"(?P<model>.+@[0-9a-f]{8})/(?P<release>[^/]+)/")
_UNKNOWN_HASH = "00000000"
_LAYERLESS = (
    "expected ids such as L5_F12, a column layer of the features, or columns source_layer and target_layer of the edges "
    "(whole numbers from 0)"
)


@dataclass(frozen=True)
class Nodes:
    """The features, sorted as in the file.

    Attributes:
        frame: Columns of features.parquet that are known.
        fid: Name in the user's tables → fid.
        rank: int64 [features], place of the feature's site among all.
        sites: Facts of the sites, for the file's metadata.
        release: Name of the set of dictionaries.
        model: ``<name>@<hash>``.
        rows: int64 [features], row of the user's table; -1 where the edges alone name features.
    """

    frame: pd.DataFrame
    fid: dict[str, int]
    rank: np.ndarray
    sites: list[dict[str, Any]]
    release: str
    model: str
    rows: np.ndarray


def nodes_of(table: UserTable | None, ends: dict[str, int | None], model: str, release: str, site_order: Sequence[str]) -> Nodes:
    """The features of a run.

    Args:
        table: The user's features; those of the edges if None.
        ends: Names that the edges have → layer, if they say it.
        model: Name, or name@hash, of the model; "unknown" if empty and no uid says it.
        release: Name of the set of dictionaries; one made of the features if empty.
        site_order: Names of the sites of a layer, in their order; that of their kinds if empty.

    Raises:
        FormatError: If a feature has no layer, stands twice, is named by an edge and not in the table, or its names contradict each other.
    """
    frame = _places(table, ends, site_order)
    frame = _sorted(frame)
    frame["fid"] = np.arange(len(frame))
    named = _names(frame, table, model, release)
    facts = ["layer", "site", "order"]
    places = [tuple(values) for values in frame[facts].itertuples(index=False)]
    distinct = sorted(set(places), key=lambda place: (place[0], place[2]))
    steps = {key: i for i, key in enumerate(dict.fromkeys((layer, order) for layer, _, order in distinct))}
    rank = np.array([steps[layer, order] for layer, _, order in places], np.int64)
    sites = [_fact(place) for place in distinct]
    fid = dict(zip(frame["name"], range(len(frame)), strict=True))
    kept = named[[c for c in FEATURES.names if c in named]]
    made = _MADE_OF.match(str(named["uid"].iloc[0])) if len(named) else None
    names = (made["release"], made["model"]) if made else (release, model)
    return Nodes(kept, fid, rank, sites, *names, frame["row"].to_numpy())


def _fact(place: tuple[Any, ...]) -> dict[str, Any]:
    """What the file's metadata say of a site; ``order`` where a layer may have several."""
    layer, site, order = place
    return {"layer": int(layer)} | ({"site": site} if site else {}) | ({"order": int(order)} if site or order else {})


def _places(table: UserTable | None, ends: dict[str, int | None], site_order: Sequence[str]) -> pd.DataFrame:
    """One row per feature: name and row in the user's tables, layer, site, order of the site, index, and whether the name is its own."""
    if table is None:
        names, rows = list(ends), np.full(len(ends), -1)
    else:
        names, rows = _table_names(table), np.arange(len(table))
        lost = sorted(set(ends) - set(names))
        if lost:
            raise FormatError(f"edges name {len(lost)} features that are not in the table of features, such as {lost[0]!r}")
    parsed = [FeatureId.read(name) for name in names]
    frame = pd.DataFrame({"name": names, "row": rows, "own": [found is None for found in parsed]})
    frame["layer"] = _column(table, "layer", [found.layer if found else ends.get(n) for n, found in zip(names, parsed, strict=True)])
    frame["index"] = _column(table, "index", [found.index if found else None for found in parsed])
    for row in np.flatnonzero(frame["layer"].isna() | ~frame["layer"].fillna(0).between(0, 2**31 - 1)):
        raise FormatError(f"the layer of {names[row]!r} is not known: got {frame['layer'].iloc[row]}; {_LAYERLESS}")
    frame["site"], frame["order"] = _sites(table, [found.site if found else "" for found in parsed], site_order)
    return _given_out(frame.astype({"layer": int}))


def _table_names(table: UserTable) -> list[str]:
    """Names of the features of a table: its ids, else made of layer and index."""
    column = table.found("id")
    if column is not None:
        names = table.ids(column)
    elif table.found("layer") and table.found("index"):
        sites = table.frame["site"].fillna("").astype(str) if "site" in table.frame else [""] * len(table)
        places = zip(table.need("layer", "layer").to_pylist(), sites, table.need("index", "index").to_pylist(), strict=True)
        names = [feature_id(layer, index, site) for layer, site, index in places]
    else:
        raise FormatError(f"features: no column for the id; found {', '.join(map(str, table.frame))}; expected id, or layer and index")
    twice = pd.Series(names, dtype=object).duplicated()
    for row in np.flatnonzero(twice):
        raise FormatError(f"features, row {row}: {names[row]!r} appears twice; expected one row per feature")
    return names


def _column(table: UserTable | None, name: str, parsed: list[int | None]) -> pd.Series[Any]:
    """Numbers of a column, and those that ids say; the two must agree."""
    said = pd.Series(parsed, dtype="Int64")
    if table is None or table.found(name) is None:
        return said
    given = pd.Series(table.get(name).to_pylist(), dtype="Int64")
    for row in np.flatnonzero((given.notna() & said.notna() & (given != said)).fillna(False)):
        own = table.frame[table.found("id") or name].iloc[row]
        raise FormatError(f"features, row {row}: {name} = {given.iloc[row]}, id = {own!r}: they contradict each other")
    return given.fillna(said)


def _sites(table: UserTable | None, parsed: list[str], site_order: Sequence[str]) -> tuple[list[str], list[int]]:
    """Name and order of every feature's site."""
    names = list(parsed)
    if table is not None and "site" in table.frame:
        given = ["" if pd.isna(v) else str(v) for v in table.frame["site"]]
        names = [a or b for a, b in zip(parsed, given, strict=True)]
        for row in [i for i, (a, b) in enumerate(zip(parsed, given, strict=True)) if a and b and a != b]:
            raise FormatError(
                f"features, row {row}: site = {given[row]!r}, id = {table.frame['id'].iloc[row]!r}: they contradict each other"
            )
    column = next((c for c in ("site_order", "order") if table is not None and c in table.frame), None)
    if column is not None and table is not None:
        orders = [0 if v is None else v for v in table.typed(column, pa.int32()).to_pylist()]
        if len(set(orders)) > 1:
            names = [name or f"s{order}" for name, order in zip(names, orders, strict=True)]
    else:
        places = {name: i for i, name in enumerate(site_order or _by_kind(set(names)))}
        unknown = sorted(set(names) - set(places) - {""}) if site_order else []
        if unknown:
            raise FormatError(f"site_order: got {', '.join(site_order)}; the features have a site {unknown[0]!r}, too")
        orders = [places.get(name, 0) for name in names]
    for name in sorted({name for name in names if name and not is_site(name)}):
        raise FormatError(f"site: got {name!r}; expected letters, digits, - and _ (such as attn, mlp or resid)")
    return names, orders


def _by_kind(names: set[str]) -> list[str]:
    """Names of sites in their order in a block; none if one of them is another program's."""
    return [] if any(kind_named(name) is None for name in names) else sorted(names, key=place_in_layer)


def _given_out(frame: pd.DataFrame) -> pd.DataFrame:
    """Give an index to every feature without one, in the order of the names, after those that are taken."""
    for _, part in frame.groupby(["layer", "site"]):
        without = part[part["index"].isna()].sort_values("name")
        first = 0 if part["index"].isna().all() else int(part["index"].max()) + 1
        frame.loc[without.index, "index"] = np.arange(first, first + len(without))
    for row in np.flatnonzero((frame["index"] < 0) | (frame["index"] > 2**31 - 1)):
        raise FormatError(f"features, row {row}: index = {frame['index'].iloc[row]}; expected 0 or more, in 32 bits")
    twice = frame.duplicated(["layer", "site", "index"])
    for row in np.flatnonzero(twice):
        raise FormatError(f"features, row {row}: layer, site and index of {frame['name'].iloc[row]!r} are those of another feature")
    return frame.astype({"index": int})


def _sorted(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values(["layer", "order", "site", "index"], ignore_index=True)


def _names(frame: pd.DataFrame, table: UserTable | None, model: str, release: str) -> pd.DataFrame:
    """Columns of features.parquet: names, and what else the table holds."""
    made = frame[["fid", "layer", "index"]].copy()
    prefix = [site_name(layer, site) for layer, site in zip(frame["layer"], frame["site"], strict=True)]
    made.insert(1, "id", [str(FeatureId(*place)) for place in zip(frame["layer"], frame["site"], frame["index"], strict=True)])
    rows = frame["row"].to_numpy()
    if table is not None:
        for name in [c.name for c in FEATURES.columns if c.name not in {*made.columns, "uid"} and table.found(c.name)]:
            values: list[Any] = table.get(name).take(pa.array(rows)).to_pylist()
            made[name] = pd.Series(values, index=made.index, dtype="object")
    made["label"] = _labels(frame, made["label"].tolist() if "label" in made else [None] * len(made))
    for name in ("hook", "neuronpedia_url"):
        made[name] = [v or "" for v in made[name]] if name in made else ""
    made["hook"] = [hook or f"layer.{p.removeprefix('L')}" for hook, p in zip(made["hook"], prefix, strict=True)]
    made["uid"] = _uids(frame.assign(id=made["id"]), table, prefix, model, release)
    return _activity(made)


def _labels(frame: pd.DataFrame, given: list[str | None]) -> list[str]:
    """Labels; a name that is not of our form is kept in front of one."""
    rows = zip(frame["name"], frame["own"], given, strict=True)
    return [(label or "") if not own else name if not label or label == name else f"{name}: {label}" for name, own, label in rows]


def _activity(made: pd.DataFrame) -> pd.DataFrame:
    """``dead`` and ``dense`` where the density says them."""
    density = pd.to_numeric(made["density"]) if "density" in made else pd.Series(np.nan, index=made.index)
    dead = made["dead"] if "dead" in made else pd.Series([None] * len(made), dtype=object)
    made["dead"] = dead.where(dead.notna(), density == 0).astype(bool)
    if "dense" in made or density.notna().any():
        dense = made["dense"] if "dense" in made else pd.Series([None] * len(made), dtype=object)
        made["dense"] = dense.where(dense.notna() | density.isna(), density > 0.2)
    return made


def _uids(frame: pd.DataFrame, table: UserTable | None, prefix: list[str], model: str, release: str) -> list[str]:
    """uids of the table, or made of model, release, site and index."""
    if table is not None and table.found("uid"):
        given = table.get("uid").take(pa.array(frame["row"].to_numpy()))
        if not missing(given).any() and not any(v == "" for v in given.to_pylist()):
            return [str(v) for v in given.to_pylist()]
    named = _MODEL.fullmatch(re.sub(r"\s+", "-", model.strip()) or "unknown")
    name, weights = (named["name"], named["hash"] or _UNKNOWN_HASH) if named else ("unknown", _UNKNOWN_HASH)
    known = "\n".join(f"{i} {n}" for i, n in zip(frame["id"], frame["name"], strict=True))
    own = re.sub(r"[\s/]+", "-", release.strip()) or "own-" + hashlib.sha256(f"{name}\n{known}".encode()).hexdigest()[:8]
    start = f"{name}@{weights}/{own}/layer."
    return [f"{start}{p.removeprefix('L')}/{i}" for p, i in zip(prefix, frame["index"], strict=True)]
