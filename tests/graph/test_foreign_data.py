"""Beside data of other programs, and beside other runs: a run takes away what it brought, and nothing else."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import ingest
from feature_graph.database import store as graph_store
from feature_graph.database.store import Example, FoundMotif, Store
from ingest.migrations import migrations
from tests.graph.formerly import as_version_5
from tests.graph.overlapping import FOREIGN, Foreign, check_displays, killed_drop, overlapping_runs

pytestmark = [pytest.mark.graph, pytest.mark.changes_schema]


def count(store: Store, query: str, **parameters: Any) -> int:
    return int(store.cypher(query, **parameters).iloc[0, 0])


def ours(store: Store) -> int:
    return count(store, "MATCH (f:Feature) WHERE f.brought_by IS NOT NULL RETURN count(f)")


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, Path]:
    return overlapping_runs(tmp_path)


def sound(store: Store, root: Path) -> bool:
    report = store.verify(root)
    assert report.ok, [check for check in report.checks if not check.ok]
    audit = store.ask("audit", run=report.run).records
    return all(row["ok"] for row in audit)


def test_a_drop_leaves_the_nodes_of_others(database: Store, runs: dict[str, Path]) -> None:
    foreign = Foreign(database)
    run = database.ingest(runs["two"]).run
    foreign.check()
    assert sound(database, runs["two"])
    dropped = database.drop(run)
    foreign.check()
    assert (ours(database), dropped.deleted["features"]) == (0, dropped.deleted["observations"] + 2)
    assert database.ingest(runs["two"]).already is False
    foreign.check()
    assert sound(database, runs["two"])


def test_a_feature_that_another_program_made_is_lent_and_given_back(database: Store, runs: dict[str, Path]) -> None:
    """Under the very uid that runs use: it is never deleted, and loses nothing but what runs added."""
    uid = first_uid(runs["one"])
    foreign = Foreign(database, f"CREATE (f:Feature {{uid: '{uid}', label: 'mine', note: 'keep'}})<-[:ABOUT]-(:Note {{text: 'x'}})")
    loaded = {name: database.ingest(root).run for name, root in runs.items()}
    assert sound(database, runs["one"])
    assert count(database, "MATCH (f:Feature {uid: $uid}) RETURN count { (f)<-[:OF]-() }", uid=uid) == 2
    assert database.cypher("MATCH (f:Feature {uid: $uid}) RETURN f.label AS label", uid=uid)["label"].tolist() == ["mine"]
    database.drop(loaded["one"])
    assert sound(database, runs["two"])
    for name in ("three", "two"):
        database.drop(loaded[name])
    foreign.check()
    assert ours(database) == 0


def first_uid(root: Path) -> str:
    import pandas as pd

    return str(pd.read_parquet(root / "features.parquet")["uid"].iloc[0])


def test_a_note_on_a_feature_keeps_it(database: Store, runs: dict[str, Path]) -> None:
    run, uid = database.ingest(runs["one"]).run, first_uid(runs["one"])
    database.ingest(runs["three"])
    database.write("MATCH (f:Feature {uid: $uid}) CREATE (f)<-[:ABOUT {by: 'Ann'}]-(:Note {text: 'the river bank'})", uid=uid)
    database.drop(run)
    assert database.cypher("MATCH (f:Feature {uid: $uid})<-[:ABOUT]-(n) RETURN n.text AS t", uid=uid)["t"].tolist() == ["the river bank"]
    assert sound(database, runs["three"])
    database.write("MATCH (n:Note) DETACH DELETE n")
    assert sound(database, runs["three"]), "what is left of another run is no fault of this one"
    database.ingest(runs["one"])
    database.drop(run)
    assert count(database, "MATCH (f:Feature {uid: $uid}) RETURN count(f)", uid=uid) == 0


def test_a_feature_that_only_writes_to_an_answer_outlives_another_run(database: Store, runs: dict[str, Path]) -> None:
    database.ingest(runs["one"])
    database.drop(database.ingest(runs["two"]).run)
    outside = "MATCH (f:Feature)-[:WRITES_TO]->(:Behavior) WHERE NOT (f)<-[:OF]-() RETURN count(f)"
    assert count(database, outside) == 1
    assert sound(database, runs["one"])


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_is_done_to_runs_the_others_stay_sound(database: Store, runs: dict[str, Path], seed: int) -> None:
    """Loads, drops, drops cut off and taken up again, analyses and motifs in any order; looked at after every step."""
    rng, foreign = random.Random(seed), Foreign(database)
    ids = {name: ingest.run_id(root) for name, root in runs.items()}
    done: list[str] = []
    for _ in range(14):
        name = rng.choice(list(runs))
        ready = set(database.cypher("MATCH (r:Run) WHERE r.n IS NOT NULL AND r.status = 'ready' RETURN r.id AS id")["id"])
        known = set(database.cypher("MATCH (r:Run) WHERE r.n IS NOT NULL RETURN r.id AS id")["id"])
        what = rng.choice(["load", "drop", "killed drop", "analyze", "motifs"]) if ids[name] in known else "load"
        what = "load" if what in ("analyze", "motifs") and ids[name] not in ready else what
        done.append(f"{what} {name}")
        if what == "load":
            database.ingest(runs[name])
        elif what == "drop":
            database.drop(ids[name])
        elif what == "killed drop":
            killed_drop(database, ids[name], rng.randrange(1, 20))
        elif what == "analyze":
            graph_store.analyze(database, rng.choice(["leiden", "degree"]), graph_store.Projection(ids[name]))
        else:
            feature = database.fetch_features(ids[name])["id"].iloc[0]
            graph_store.save_motifs(database, ids[name], [FoundMotif("ffl", {"count": 1}, [Example({"A": feature}, 0.1)])], {})
        foreign.check()
        still = set(database.cypher("MATCH (r:Run) WHERE r.n IS NOT NULL AND r.status = 'ready' RETURN r.id AS id")["id"])
        for other, root in runs.items():
            assert ids[other] not in still or sound(database, root), done
        check_displays(database)
    for run in known:
        database.drop(run)
    foreign.check()
    assert ours(database) == 0, done
    left = "MATCH (x) WHERE NOT elementId(x) IN $ids AND NOT x:SchemaVersion RETURN DISTINCT labels(x)[0] AS label"
    assert set(database.cypher(left, ids=foreign.ids)["label"]) == {"Run", "Model", "SAE", "Site", "Dataset"}


def test_a_database_of_the_version_before_is_handled(database: Store, runs: dict[str, Path]) -> None:
    """Version 4 noted nowhere who made a feature; a drop first migrates, whatever made the features."""
    foreign = Foreign(database, FOREIGN.replace("uid: 'geo/1'", f"uid: '{first_uid(runs['two'])}-not'"))
    loaded = {name: database.ingest(root).run for name, root in runs.items()}
    as_version_5(database, runs.values())
    database.write("MATCH (f:Feature) REMOVE f.brought_by, f.filled")
    database.write("MATCH (v:SchemaVersion {n: $n}) DELETE v", n=5)
    assert [step.migration.n for step in database.schema_history() if step.applied is None] == [5, 6, 7, 8]
    database.drop(loaded["two"])
    assert sound(database, runs["one"])
    assert sound(database, runs["three"])
    for name in ("one", "three"):
        database.drop(loaded[name])
    foreign.check()
    assert ours(database) == 0
    assert count(database, "MATCH (f:Feature) RETURN count(f)") == 3
    assert len(database.schema_history()) == len(migrations())


@pytest.mark.parametrize("order", [("one", "two"), ("two", "one")])
@pytest.mark.parametrize("first", ["newest", "oldest"])
def test_two_runs_of_a_model_in_either_order(database: Store, runs: dict[str, Path], order: tuple[str, str], first: str) -> None:
    """A feature shows the newest; when that goes, the next; a run loaded again is as old as it was."""
    foreign = Foreign(database)
    reports = [database.ingest(runs[name]) for name in order]
    ids, newest = [report.run for report in reports], reports[1].n
    for run in ids:
        graph_store.analyze(database, "degree", graph_store.Projection(run))
    graph_store.analyze(database, "leiden", graph_store.Projection(ids[0]))
    check_displays(database)
    shared = "MATCH (f:Feature) WHERE COUNT { (f)<-[:OF]-(:Observation) } = 2 RETURN DISTINCT f.scores_run AS run"
    assert database.cypher(shared)["run"].tolist() == [newest]
    gone, left = (ids[1], ids[0]) if first == "newest" else (ids[0], ids[1])
    database.drop(gone)
    check_displays(database)
    scores = {tuple(sorted(s)) for s in database.cypher("MATCH (f:Feature) WHERE f.scores_run IS NOT NULL RETURN f.scores AS s")["s"]}
    assert scores == ({("community", "degree")} if first == "newest" else {("degree",)})
    database.ingest(runs[order[ids.index(gone)]])
    check_displays(database)
    assert database.cypher(shared)["run"].tolist() == [newest], "its number is what it was"
    for name in order:
        assert sound(database, runs[name])
    for run in (left, gone):
        database.drop(run)
        check_displays(database)
    foreign.check()
    assert ours(database) == 0


def test_a_user_s_own_properties_on_features_and_edges_stay(database: Store, runs: dict[str, Path]) -> None:
    one = database.ingest(runs["one"]).run
    database.write("MATCH (f:Feature) SET f.note = 'seen', f.community_note = 'mine', f.my_pagerank = 0.5")
    graph_store.analyze(database, "leiden", graph_store.Projection(one))
    two = database.ingest(runs["two"]).run
    database.drop(two)
    noted = "MATCH (f:Feature) WHERE f.note = 'seen' AND f.community_note = 'mine' AND f.my_pagerank = 0.5 RETURN count(f)"
    assert count(database, noted) == len(database.fetch_features(one)) + 2
    check_displays(database)
