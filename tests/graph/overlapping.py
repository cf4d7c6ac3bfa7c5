"""Runs that share features, and nodes of other programs beside them, for tests of what a run may touch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pytest

import ingest.drop
from feature_graph.database.store import Store
from ingest import DriverDatabase
from ingest.connection import Transaction
from ingest.schema import SCORE_NAMES
from tests.rundirs import dense, write_files
from tests.strategies import random_interactions

T = TypeVar("T")

#: A customer database that uses this program's labels and relationship types for things of its own.
FOREIGN = """
CREATE (lake:Feature {name: 'Lake', layer: 3}), (river:Feature {name: 'River', uid: 'geo/1', layer: 'north'}), (:Feature {name: 'Pond'})
CREATE (lake)-[:AFFECTS {weight: 0.5}]->(river)-[:AFFECTS {weight: 0.1, run: 1}]->(lake), (lake)-[:COACTIVATES]->(river)
CREATE (walk:Run {name: 'Marathon', km: 42}), (:Run {name: 'Sprint', id: 7}), (:Run {name: 'Relay', id: 'r-1', status: 'ready'})
CREATE (site:Site {name: 'Office'})-[:OF]->(model:Model {name: 'T', year: 1908})-[:OF]->(lake)
CREATE (walk)-[:OF_MODEL]->(model), (walk)-[:COVERS]->(site), (walk)-[:ON]->(:Dataset {name: 'Roads'})
CREATE (walk)-[:USES_SAE]->(:SAE {name: 'x'}), (:IngestBatch {supplier: 'ACME', run: 1})
CREATE (club:Community {name: 'Joggers', run: 1})<-[:IN_COMMUNITY]-(lake), (:Motif {name: 'Rose', run: 1})-[:EXAMPLE]->(lake)
CREATE (:Family {name: 'Miller', run: 1})<-[:MEMBER_OF]-(lake)
CREATE (:Behavior {name: 'Waving', run: 1})-[:SEEDED_BY]->(lake), (:Analysis {title: 'Q3', run: 1})
CREATE (river)-[:WRITES_TO]->(:Behavior {name: 'Flow'})-[:HAS_MEMBER]->(river), (:Observation {note: 'wet', run: 1})-[:OF]->(river)
CREATE (:SchemaVersion {version: '2.1'}), (:Person {name: 'Ann'})-[:LIKES]->(lake)
"""
_SNAPSHOT = """
MATCH (x) WHERE elementId(x) IN $ids
RETURN elementId(x) AS id, labels(x) AS labels, properties(x) AS properties,
       COLLECT { MATCH (x)-[r]-(y) RETURN [type(r), elementId(startNode(r)), elementId(endNode(r)), properties(r)] } AS relationships
ORDER BY id
"""


class Foreign:
    """What another program keeps in the database; :meth:`check` tells whether it is as it was."""

    def __init__(self, store: Store, statement: str = FOREIGN) -> None:
        before = set(store.cypher("MATCH (x) RETURN elementId(x) AS id")["id"])
        store.write(statement)
        self.ids = sorted(set(store.cypher("MATCH (x) RETURN elementId(x) AS id")["id"]) - before)
        self._store, self._before = store, self._state(store)
        assert len(self._before) == len(self.ids) > 0

    def _state(self, store: Store) -> list[dict[str, Any]]:
        rows = store.cypher(_SNAPSHOT, ids=self.ids).to_dict("records")
        return [row | {"labels": sorted(row["labels"]), "relationships": sorted(row["relationships"], key=str)} for row in rows]

    def check(self) -> None:
        """Fail if a node of the other program, or a relationship of one, is not what it was."""
        changed = [pair for pair in zip(self._before, self._state(self._store), strict=True) if pair[0] != pair[1]]
        if changed:
            pytest.fail(f"{len(changed)} nodes are not what they were; before and now: {changed[0]}")


def overlapping_runs(folder: Path) -> dict[str, Path]:
    """Three runs on parts of the same features, each with behaviours that also name features which no run measured."""
    features, frame = dense(random_interactions(4, 8, 60, seed=3))
    few = len(features)
    return {
        name: _part(folder / name, features, frame, range(start, stop), number)
        for number, (name, start, stop) in enumerate((("one", 0, few - 6), ("two", 0, few), ("three", 6, few)))
    }


def _part(root: Path, features: pd.DataFrame, frame: pd.DataFrame, fids: range, number: int) -> Path:
    part = features[features["fid"].isin(fids)].copy()
    edges = frame[frame["src_fid"].isin(fids) & frame["tgt_fid"].isin(fids)].copy()
    part["fid"] -= fids.start
    part["label"] = [f"{label} {number}" for label in part["label"]]
    edges[["src_fid", "tgt_fid"]] -= fids.start
    write_files(root, part.reset_index(drop=True), edges.reset_index(drop=True), seed=number)
    ids = part["id"].tolist()
    layer = ids[0].partition("_")[0]
    outside = [f"{layer}_F{90_000 + i}" for i in (0, number + 1)]  # the first of them in every run
    behavior = {
        "name": "says so",
        "prompts": ["Is it?"],
        "metric": "logit_diff",
        "confirmed": True,
        "seeds": [{"id": ids[0], "effect": 0.5, "rank": 1}, {"id": outside[1], "effect": 0.1, "rank": 2}],
        "members": [ids[0], ids[1]],
        "outputs": [{"feature_id": outside[0], "effect": 0.2, "q_value": 0.01}, {"feature_id": ids[2], "effect": 0.3, "q_value": 0.02}],
    }
    (root / "behaviors.json").write_text(json.dumps({"kind": "behaviors", "version": 1, "behaviors": [behavior]}))
    return root


_SHOWN = """
MATCH (f:Feature) WHERE f.brought_by IS NOT NULL OPTIONAL MATCH (f)<-[:OF]-(o:Observation) WHERE o.key = toString(o.run) + '/' + f.uid
WITH f, o ORDER BY o.run DESC
RETURN properties(f) AS feature, collect(properties(o)) AS seen
"""
_ANALYSED = "MATCH (a:Analysis) WHERE a.uid STARTS WITH toString(a.run) + '/' RETURN a.run AS run, a.property AS property"
_SEEN = ("density", "mean_act", "max_act", "dead", "dense", "importance")


def check_displays(store: Store) -> None:
    """Every feature of ours shows what the newest observation says, all of one run, and nothing of any other."""
    analysed = store.cypher(_ANALYSED).groupby("run")["property"].agg(set).to_dict()
    for row in store.cypher(_SHOWN).to_dict("records"):
        feature, newest = row["feature"], row["seen"][0] if row["seen"] else {}
        scores = {name for name in analysed.get(newest.get("run"), ()) if name in newest}
        assert feature["id"].startswith(f"L{feature['layer']}")
        assert feature.get("scores_run") == newest.get("run")
        assert {name: feature.get(name) for name in _SEEN} == {name: newest.get(name) for name in _SEEN}
        assert set(feature.get("scores", ())) == scores
        assert {name: value for name, value in feature.items() if name in SCORE_NAMES} == {name: newest[name] for name in scores}
        label = next(((o["label"], o["run"]) for o in row["seen"] if o["label"]), (None, None))
        assert (feature.get("label"), feature.get("label_run")) == label


class CutOff(DriverDatabase):
    """The real database over a connection that breaks after so many transactions that write: the next one is undone."""

    def __init__(self, store: Store, writes: int) -> None:
        super().__init__(store.driver, store.database)
        self._left = writes

    def write(self, work: Callable[[Transaction], T]) -> T:
        def last(tx: Transaction) -> T:
            answer = work(tx)
            self._left -= 1
            if self._left < 0:
                raise ConnectionAbortedError("cut off")
            return answer

        return super().write(last)


def killed_drop(store: Store, run: str, writes: int, batch: int = 5) -> bool:
    """Drop a run in small batches and break off after so many transactions; whether it was broken off."""
    whole = ingest.drop._BATCH
    ingest.drop._BATCH = batch
    try:
        ingest.drop_run(CutOff(store, writes), run)
    except ConnectionAbortedError:
        return True
    finally:
        ingest.drop._BATCH = whole
    return False
