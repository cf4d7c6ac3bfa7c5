"""Copy families on the real server: stored, compared with the files, asked, dropped, and added to runs of an earlier version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import queries
from feature_graph.analysis import collapsed, copy_families, find_hubs
from feature_graph.artifacts import InteractionSet
from feature_graph.database.store import Store
from feature_graph.graph import build_interaction_graph, structural
from ingest import Options, Selection, counted, ingest_run, verify_run
from ingest.migrations import migrate, migrations
from tests.graph import twins, twins_families
from tests.graph.formerly import CutOffMigration, as_version_6
from tests.mixed_runs import mixed_run
from tests.rundirs import random_run
from tests.support.database import ALL, EXAMPLE, Loaded, same_rows, wipe

pytestmark = [pytest.mark.graph, pytest.mark.changes_schema]

MEASURES = queries.template("family_hubs").parameter("measure").of


@pytest.fixture(scope="module")
def loaded(connected: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Loaded]:
    """The shipped example, a random run and one with several sites a layer, side by side in one database."""
    wipe(connected)
    random = random_run(tmp_path_factory.mktemp("random") / "run", n_layers=5, n_features=9, n_edges=220, seed=3, window=3)
    mixed = mixed_run(tmp_path_factory.mktemp("mixed") / "run", n_edges=400, seed=3)
    roots = {"example": EXAMPLE, "random": random, "mixed": mixed}
    return {name: Loaded(connected.ingest(root).run, twins.RunFiles.read(root), connected) for name, root in roots.items()}


@pytest.mark.parametrize(
    ("which", "given"),
    [
        (which, given)
        for which in ("example", "random", "mixed")
        for given in ({}, {"min_lifetime": 1 if which == "mixed" else 4}, {"limit": 2})
    ],
    ids=str,
)
def test_families_equal_the_twin(loaded: dict[str, Loaded], which: str, given: dict[str, Any]) -> None:
    run = loaded[which]
    asked = {"limit": ALL} | given
    expected = twins_families.families(run.files, "clamping", **asked)
    assert expected
    same_rows(run.ask("families", **asked).records, expected)


def test_the_family_of_a_feature(loaded: dict[str, Loaded]) -> None:
    run = loaded["example"]
    family = run.ask("families", limit=1).records[0]
    for member in family["members"]:
        assert run.ask("families", feature=member).records == [family]
    alone = next(i for i in run.files.features["id"] if not twins_families.families(run.files, "clamping", 1, feature=i))
    assert run.ask("families", feature=alone).records == []
    drawn = run.ask("families", visual=True, feature=family["id"]).records
    assert len(drawn) == family["size"] - 1


@pytest.mark.parametrize("which", ["example", "random", "mixed"])
@pytest.mark.parametrize("measure", MEASURES)
def test_hubs_of_families_equal_the_twin(loaded: dict[str, Loaded], which: str, measure: str) -> None:
    run = loaded[which]
    for edges, sign, limit in (("structural", "any", ALL), ("all", "excitatory", ALL), ("all", "inhibitory", 3)):
        expected = twins_families.family_hubs(run.files, "clamping", measure, edges, sign, limit)
        assert expected
        same_rows(run.ask("family_hubs", measure=measure, edges=edges, sign=sign, limit=limit).records, expected)


@pytest.mark.parametrize("effect", ["computed", "copy", "specific"])
def test_hubs_of_families_by_another_effect(loaded: dict[str, Loaded], effect: str) -> None:
    run = loaded["random"]
    expected = twins_families.family_hubs(run.files, "clamping", "strength", "all", "any", ALL, effect)
    assert expected
    same_rows(run.ask("family_hubs", measure="strength", edges="all", effect=effect, limit=ALL).records, expected)


@pytest.mark.parametrize("name", ["hubs", "family_hubs", "strongest"])
def test_ranking_by_what_was_not_measured_is_refused(loaded: dict[str, Loaded], name: str) -> None:
    with pytest.raises(queries.ParameterError, match=f"effect: got 'specific', which run {loaded['example'].id} did not measure"):
        loaded["example"].ask(name, effect="specific")
    assert loaded["random"].ask(name, effect="specific").rows


def test_hubs_of_families_are_those_in_process(loaded: dict[str, Loaded]) -> None:
    graph = build_interaction_graph(InteractionSet.load(EXAMPLE / "interactions.parquet"))
    made = collapsed(structural(graph), copy_families(graph))
    found = {hub["id"]: hub["weighted_out_degree_score"] for hub in find_hubs(made, len(made), "weighted_out_degree")}
    rows = loaded["example"].ask("family_hubs", measure="out_strength", limit=ALL).records
    assert {row["id"]: row["score"] for row in rows} == pytest.approx({row["id"]: found[row["id"]] for row in rows})
    assert {name for name, score in found.items() if score} <= {row["id"] for row in rows}
    assert max(row["size"] for row in rows) > 2


def test_they_belong_to_the_run_and_go_with_it(database: Store, tmp_path: Path) -> None:
    one, two = (random_run(tmp_path / str(seed), n_edges=200, seed=seed) for seed in (1, 2))
    first, part = database.ingest(one), ingest_run(database.driver, one, options=Options(Selection(limit=12)))
    second = database.ingest(two)
    assert first.families > part.families > 0
    assert database.ingest(one).families == 0
    count = "MATCH (x:Family) RETURN x.run AS run, count(x) AS n ORDER BY run"
    assert database.cypher(count)["n"].tolist() == [first.families, part.families, second.families]
    for root in (one, two):
        report = verify_run(database.driver, root)
        assert report.ok, [check for check in report.checks if not check.ok]
    ids = database.cypher("MATCH (x:Family) MATCH (r:Run {n: x.run}) RETURN DISTINCT x.run_id = left(r.id, 8) AS same")
    assert ids["same"].tolist() == [True]
    dropped = database.drop(first.run)
    assert dropped.deleted["families"] == first.families
    assert database.cypher(count)["n"].tolist() == [part.families, second.families]
    again = database.ingest(one)
    assert again.families == first.families
    assert verify_run(database.driver, one).ok


@pytest.mark.parametrize(
    "change",
    [
        "MATCH (x:Family) WITH x LIMIT 1 DETACH DELETE x",
        "MATCH (x:Family) WITH x LIMIT 1 SET x.lifetime = x.lifetime + 1",
        "MATCH ()-[m:MEMBER_OF]->() WITH m LIMIT 1 DELETE m",
        "MATCH ()-[m:MEMBER_OF]->() WITH m LIMIT 1 SET m.place = 7",
        "MATCH (r:Run) SET r.families = r.families + 1",
        "MATCH (x:Family) WITH x LIMIT 1 CREATE (:Family {uid: x.uid + 'x', run: x.run})",
    ],
)
def test_what_was_altered_is_found(database: Store, tmp_path: Path, change: str) -> None:
    root = random_run(tmp_path / "run", n_edges=200)
    database.ingest(root)
    assert verify_run(database.driver, root).ok
    database.write(change)
    wrong = [check.name for check in verify_run(database.driver, root).checks if not check.ok]
    assert wrong
    assert all(name.startswith("copy families") for name in wrong)


def test_a_run_of_version_6_stays_whole_and_gets_them_when_it_is_loaded_again(database: Store, tmp_path: Path) -> None:
    root = random_run(tmp_path / "run", n_edges=200, seed=5)
    n, expected = (loaded := database.ingest(root)).n, twins.RunFiles.read(root)
    as_version_6(database, [root])
    assert [check.found for check in verify_run(database.driver, root).checks] == [[7, 8]]
    edges = migrations()[6].statements[-1]
    some = edges.replace("MATCH (f:Feature) CALL", "MATCH (f:Feature) WITH f ORDER BY f.uid LIMIT 9 CALL").replace("50 ROWS", "2 ROWS")
    assert some != edges
    with database.driver.session() as session:
        session.run(some.rstrip(";")).consume()  # as it is left when it is cut off between two of its batches
    assert database.cypher("MATCH ()-[e:AFFECTS]->() RETURN count(e.computed) AS done")["done"].iloc[0] > 0
    with pytest.raises(ConnectionAbortedError):
        migrate(CutOffMigration(database, 2))
    assert database.migrate() == [7, 8]
    assert verify_run(database.driver, root).ok
    rows = database.cypher(
        "MATCH (s)-[e:AFFECTS {run: $n}]->(t) MATCH (s)<-[:OF]-(a:Observation {run: $n}) MATCH (t)<-[:OF]-(b:Observation {run: $n}) "
        "RETURN a.id AS source, b.id AS target, e.computed AS computed, e.sign_computed AS sign, e.q_computed AS q",
        n=n,
    ).to_dict("records")
    edge = {(e["source"], e["target"]): e for e in expected.edges()}
    assert len(rows) == len(edge)
    for row in rows:
        known = edge[row["source"], row["target"]]
        assert row["computed"] == known["total"] - known["copy"]
        assert pd.isna(row["q"])
        assert row["sign"] == (1 if row["computed"] > 0 else -1) if "computed" in known["by"] else pd.isna(row["sign"])
    assert database.query("families").empty
    again = database.ingest(root)
    assert (again.already, again.families) == (True, loaded.families)
    assert again.summary().endswith(f"{counted(again.families, 'copy family', 'copy families')} added")
    same_rows(database.ask("families", limit=ALL).records, twins_families.families(expected, "clamping", ALL))
    assert verify_run(database.driver, root).ok


def test_a_load_that_version_6_began_is_begun_anew(database: Store, tmp_path: Path) -> None:
    """Its blocks lack what has been added since."""
    root = random_run(tmp_path / "run", n_edges=200, seed=6)
    database.ingest(root)
    as_version_6(database, [root])
    database.write("MATCH (r:Run) SET r.status = 'failed' REMOVE r.digest, r.digest_version")
    report = database.ingest(root)
    assert (report.already, report.resumed) == (False, 0)
    assert verify_run(database.driver, root).ok
    assert database.cypher("MATCH ()-[e:AFFECTS]->() RETURN count(e.q_computed) AS n")["n"].iloc[0] == report.edges
