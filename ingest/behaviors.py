"""Behaviours of a run, from behaviors.json (docs/artifacts.md), if the directory has one."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from ingest import runs
from ingest.connection import Database, Transaction
from ingest.errors import InvalidRun
from ingest.feature_ids import FeatureId
from ingest.provenance import MERGE_FEATURE, run_sites
from ingest.rundir import BEHAVIORS, RunDirectory
from ingest.sites import site_of, site_widths
from ingest.text import HALF, half_characters
from ingest.validate import split_uid

VERSION = 1
_VALUES = ("name", "prompts", "metric", "clean", "ablated", "corrupted", "accuracy", "confirmed")
_NAMED = f"MATCH (b:Behavior {{uid: $uid}}) UNWIND $rows AS row {MERGE_FEATURE} WITH b, f, row "
_COUNTS = (
    "MATCH (b:Behavior) WHERE b.run = $n AND b.uid STARTS WITH toString($n) + '/' "
    "RETURN count(b) AS all, sum(COUNT { (b)-[:SEEDED_BY]->() }) AS seeds, "
    "sum(COUNT { (b)-[:HAS_MEMBER]->() }) AS members, sum(COUNT { ()-[:WRITES_TO]->(b) }) AS outputs"
)


@dataclass(frozen=True)
class NamedFeature:
    """A feature that a behaviour names."""

    id: str
    uid: str
    layer: int
    index: int
    hook: str


@dataclass(frozen=True)
class Seed:
    """A feature that carries a behaviour."""

    feature: NamedFeature
    effect: float
    rank: int


@dataclass(frozen=True)
class Output:
    """What a feature writes into the answer itself."""

    feature: NamedFeature
    effect: float
    q: float | None


@dataclass(frozen=True)
class BehaviorRecord:
    """One behaviour: what shows it, how it is measured, what carries it."""

    name: str
    prompts: list[str]
    metric: str
    clean: float | None
    ablated: float | None
    corrupted: float | None
    accuracy: float | None
    confirmed: bool
    seeds: list[Seed]
    members: list[NamedFeature]
    outputs: list[Output]


def read(run: RunDirectory, features: pd.DataFrame) -> list[BehaviorRecord]:
    """The behaviours of a run; none if there is no file.

    Raises:
        InvalidRun: If the file is not in its format, or a feature lies at a site that the run does not have.
    """
    if not run.behaviors.is_file():
        return []
    sites = _sites(run, features)
    try:
        value = json.loads(run.behaviors.read_text(encoding="utf-8"))
        if half_characters(json.dumps(value, ensure_ascii=False)):
            raise ValueError(HALF)
        if (value.get("kind"), value.get("version")) != ("behaviors", VERSION):
            raise ValueError(f"got kind {value.get('kind')} version {value.get('version')}; expected behaviors version {VERSION}")
        found = [_behavior(item, sites) for item in value["behaviors"]]
        _check(found)
        return found
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"no field {error}" if isinstance(error, KeyError) else str(error)
        raise InvalidRun(str(run.root), [f"{BEHAVIORS}: {reason}; see docs/artifacts.md"]) from error


@dataclass(frozen=True)
class _BehaviorSite:
    """Where a behaviour's features lie: dictionary, hook, and features of the dictionary if known."""

    dictionary: str
    hook: str
    width: float


def _sites(run: RunDirectory, features: pd.DataFrame) -> dict[str, _BehaviorSite]:
    """Site by name (:mod:`ingest.sites`); one without measured features is known from its facts."""
    widths = site_widths(run)
    known = {
        name: _BehaviorSite(f"{s['model']}@{s['model_hash']}/{s['release']}/{s['sae_id']}", str(s["hook"]), widths.get(name, math.inf))
        for s in run.sites
        if (name := site_of(s)) and {"model", "model_hash", "release", "sae_id", "hook"} <= s.keys()
    }
    return known | {site.name: _BehaviorSite(site.sae, site.hook, widths.get(site.name, math.inf)) for site in run_sites(run, features)}


def _check(behaviors: list[BehaviorRecord]) -> None:
    """Names and features that stand once, shares that are shares.

    Raises:
        ValueError: If not.
    """
    _once([b.name for b in behaviors], "behaviour")
    for b in behaviors:
        _once([seed.feature.id for seed in b.seeds], f"{b.name}: seed")
        _once([seed.rank for seed in b.seeds], f"{b.name}: rank of a seed")
        _once([member.id for member in b.members], f"{b.name}: member")
        _once([output.feature.id for output in b.outputs], f"{b.name}: output")
        shares = {"accuracy": b.accuracy} | {f"q_value of output {o.feature.id}": o.q for o in b.outputs}
        for name, share in shares.items():
            if share is not None and not 0 <= share <= 1:
                raise ValueError(f"{b.name}: {name} = {share}; expected a value in [0, 1]")


def _once(values: list[Any], what: str) -> None:
    twice = [value for value, n in Counter(values).items() if n > 1]
    if twice:
        raise ValueError(f"{what} {twice[0]!r} appears {Counter(values)[twice[0]]} times; expected once")


def _behavior(item: dict[str, Any], sites: dict[str, _BehaviorSite]) -> BehaviorRecord:
    return BehaviorRecord(
        name=str(item["name"]),
        prompts=[str(p) for p in item["prompts"]],
        metric=str(item["metric"]),
        clean=_finite(item.get("clean"), "clean"),
        ablated=_finite(item.get("ablated"), "ablated"),
        corrupted=_finite(item.get("corrupted"), "corrupted"),
        accuracy=_finite(item.get("accuracy"), "accuracy"),
        confirmed=bool(item["confirmed"]),
        seeds=[Seed(_place(seed["id"], "seed", sites), _effect(seed, "seed"), int(seed["rank"])) for seed in item["seeds"]],
        members=[_place(member, "member", sites) for member in item.get("members", [])],
        outputs=[_output(row, sites) for row in item.get("outputs", []) if row.get("significant", True)],
    )


def _output(row: dict[str, Any], sites: dict[str, _BehaviorSite]) -> Output:
    return Output(_place(row["feature_id"], "output", sites), _effect(row, "output"), _finite(row.get("q_value"), "q_value"))


def _place(name: Any, what: str, sites: dict[str, _BehaviorSite]) -> NamedFeature:
    found = FeatureId.read(str(name))
    if found is None:
        raise ValueError(f"{what} id: got {name!r}, expected L<layer>_F<index>")
    if found.site_name not in sites:
        raise ValueError(f"{what} {name}: the run has the sites {', '.join(sites)}")
    site = sites[found.site_name]
    if found.index >= site.width:
        raise ValueError(f"{what} {name}: its dictionary has {site.width:.0f} features, the last is {site.width - 1:.0f}")
    return NamedFeature(str(found), f"{site.dictionary}/{found.index}", found.layer, found.index, site.hook)


def _effect(item: dict[str, Any], what: str) -> float:
    effect = _finite(item["effect"], "effect")
    if effect is None:
        raise ValueError(f"{what} {item.get('id', item.get('feature_id'))}: effect is required")
    return effect


def _finite(value: Any, name: str) -> float | None:
    if value is None:
        return None
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name}: got {value}; expected a finite number or null")
    return number


def counts(behaviors: list[BehaviorRecord]) -> dict[str, int]:
    """How many behaviours, seeds, members and features that write into the answer."""
    parts = ("seeds", "members", "outputs")
    return {"behaviours": len(behaviors)} | {f"{name} of behaviours": sum(len(getattr(b, name)) for b in behaviors) for name in parts}


def stored(database: Database, n: int) -> dict[str, int]:
    """The same of a run in the database."""
    row = database.read(_COUNTS, n=n)[0]
    return {"behaviours": row["all"], **{f"{name} of behaviours": row[name] for name in ("seeds", "members", "outputs")}}


def write(database: Database, lease: runs.Claim, behaviors: list[BehaviorRecord]) -> None:
    """Write the behaviours, their seeds and members; those outside the measured features become Feature nodes."""
    for behavior in behaviors:
        database.write(partial(_write, lease=lease, behavior=behavior))


def _write(tx: Transaction, lease: runs.Claim, behavior: BehaviorRecord) -> None:
    runs.hold(tx, lease)
    values = {key: getattr(behavior, key) for key in _VALUES}
    uid = f"{lease.n}/{behavior.name}"
    tx.run("MERGE (b:Behavior {uid: $uid}) SET b += $values, b.run = $n", uid=uid, values=values, n=lease.n)
    seeds = [_row(seed.feature, effect=seed.effect, rank=seed.rank) for seed in behavior.seeds]
    tx.run(_NAMED + "MERGE (b)-[s:SEEDED_BY]->(f) SET s += row.values", uid=uid, n=lease.n, rows=seeds)
    tx.run(_NAMED + "MERGE (b)-[m:HAS_MEMBER]->(f) SET m += row.values", uid=uid, n=lease.n, rows=[_row(m) for m in behavior.members])
    outputs = [_row(output.feature, effect=output.effect, q=output.q) for output in behavior.outputs]
    tx.run(_NAMED + "MERGE (f)-[w:WRITES_TO]->(b) SET w += row.values", uid=uid, n=lease.n, rows=outputs)


def _row(named: NamedFeature, **values: float | None) -> dict[str, Any]:
    model, dictionary, _ = split_uid(named.uid)
    release, _, sae_id = dictionary.partition("/")
    feature: dict[str, Any] = {"uid": named.uid, "model": model, "release": release, "sae_id": sae_id}
    feature |= {"id": named.id, "layer": named.layer, "hook": named.hook, "index": named.index}
    return {"feature": feature, "values": {"id": named.id, **values}}
