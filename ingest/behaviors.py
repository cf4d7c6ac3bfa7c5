"""Behaviours of a run, from behaviors.json (docs/artifacts.md), if the directory has one."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from ingest import runs
from ingest.connection import Database, Transaction
from ingest.errors import InvalidRun
from ingest.rundir import BEHAVIORS, RunDirectory
from ingest.validate import split_uid

_ID = re.compile(r"L(\d+)_F(\d+)")
VERSION = 1


@dataclass(frozen=True)
class Seed:
    """A feature that carries a behaviour."""

    id: str
    uid: str
    layer: int
    index: int
    hook: str
    effect: float
    rank: int


@dataclass(frozen=True)
class Behavior:
    """One behaviour: what shows it, how it is measured, what carries it."""

    name: str
    prompts: list[str]
    metric: str
    clean: float | None
    ablated: float | None
    confirmed: bool
    seeds: list[Seed]


def read(run: RunDirectory, features: pd.DataFrame) -> list[Behavior]:
    """The behaviours of a run; none if there is no file.

    Raises:
        InvalidRun: If the file is not in its format, or a seed lies at a layer that the run does not have.
    """
    if not run.behaviors.is_file():
        return []
    sites = _sites(run, features)
    try:
        value = json.loads(run.behaviors.read_text(encoding="utf-8"))
        if (value.get("kind"), value.get("version")) != ("behaviors", VERSION):
            raise ValueError(f"got kind {value.get('kind')} version {value.get('version')}; expected behaviors version {VERSION}")
        return [_behavior(item, sites) for item in value["behaviors"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"no field {error}" if isinstance(error, KeyError) else str(error)
        raise InvalidRun(str(run.root), [f"{BEHAVIORS}: {reason}; see docs/artifacts.md"]) from error


def _sites(run: RunDirectory, features: pd.DataFrame) -> dict[int, tuple[str, str]]:
    """Layer → dictionary and hook; a layer without measured features is known from the facts of its site."""
    known = {
        int(s["layer"]): (f"{s['model']}@{s['model_hash']}/{s['release']}/{s['sae_id']}", str(s["hook"]))
        for s in run.sites
        if {"layer", "model", "model_hash", "release", "sae_id", "hook"} <= s.keys()
    }
    seen = {int(f["layer"].iloc[0]): (f["uid"].iloc[0].rpartition("/")[0], f["hook"].iloc[0]) for _, f in features.groupby("layer")}
    return known | seen


def _behavior(item: dict[str, Any], sites: dict[int, tuple[str, str]]) -> Behavior:
    return Behavior(
        name=str(item["name"]),
        prompts=[str(p) for p in item["prompts"]],
        metric=str(item["metric"]),
        clean=_finite(item.get("clean"), "clean"),
        ablated=_finite(item.get("ablated"), "ablated"),
        confirmed=bool(item["confirmed"]),
        seeds=[_seed(seed, sites) for seed in item["seeds"]],
    )


def _seed(item: dict[str, Any], sites: dict[int, tuple[str, str]]) -> Seed:
    match = _ID.fullmatch(str(item["id"]))
    if match is None:
        raise ValueError(f"seed id: got {item['id']!r}, expected L<layer>_F<index>")
    layer, index = int(match[1]), int(match[2])
    if layer not in sites:
        raise ValueError(f"seed {item['id']}: the run has layers {sorted(sites)}")
    dictionary, hook = sites[layer]
    effect = _finite(item["effect"], "effect")
    if effect is None:
        raise ValueError(f"seed {item['id']}: effect is required")
    return Seed(match[0], f"{dictionary}/{index}", layer, index, hook, effect, int(item["rank"]))


def _finite(value: Any, name: str) -> float | None:
    if value is None:
        return None
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name}: got {value}; expected a finite number or null")
    return number


def write(database: Database, lease: runs.Claim, behaviors: list[Behavior]) -> None:
    """Write the behaviours and their seeds; seeds outside the measured features become Feature nodes."""
    for behavior in behaviors:
        database.write(partial(_write, lease=lease, behavior=behavior))


def _write(tx: Transaction, lease: runs.Claim, behavior: Behavior) -> None:
    runs.hold(tx, lease)
    values = {key: getattr(behavior, key) for key in ("name", "prompts", "metric", "clean", "ablated", "confirmed")}
    tx.run(
        "MERGE (b:Behavior {uid: $uid}) SET b += $values, b.run = $n WITH b "
        "UNWIND $seeds AS seed MERGE (f:Feature {uid: seed.feature.uid}) ON CREATE SET f = seed.feature "
        "MERGE (b)-[s:SEEDED_BY]->(f) SET s.effect = seed.effect, s.rank = seed.rank, s.id = seed.id",
        uid=f"{lease.n}/{behavior.name}",
        values=values,
        n=lease.n,
        seeds=[_row(seed) for seed in behavior.seeds],
    )


def _row(seed: Seed) -> dict[str, Any]:
    model, dictionary, _ = split_uid(seed.uid)
    release, _, sae_id = dictionary.partition("/")
    feature: dict[str, Any] = {"uid": seed.uid, "model": model, "release": release, "sae_id": sae_id}
    feature |= {"layer": seed.layer, "hook": seed.hook, "index": seed.index}
    return {"feature": feature, "id": seed.id, "effect": seed.effect, "rank": seed.rank}
