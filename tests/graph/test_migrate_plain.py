"""Migrations 6 to 8 on the real server: one of version 5 or 7 gets what one of now has, wherever it is cut off, beside other data."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import queries
from feature_graph.artifacts import Site
from feature_graph.database import store as graph_store
from feature_graph.database.store import Store
from ingest import DriverDatabase, verify_run
from ingest.formats import FEATURES, write_table
from ingest.migrations import migrate, migrations
from tests.graph.formerly import CutOffMigration, as_version_5, as_version_7, digest_of_version_5
from tests.graph.overlapping import FOREIGN, Foreign, overlapping_runs
from tests.mixed_runs import PLACES, mixed_run
from tests.rundirs import by_direct_alone, random_run, write_files

pytestmark = [pytest.mark.graph, pytest.mark.changes_schema]

LATER = migrations()[5:]
NUMBERS = [m.n for m in LATER]
_FEATURES = "MATCH (f:Feature) WHERE f.brought_by IS NOT NULL OR f.filled IS NOT NULL RETURN properties(f) AS f ORDER BY f.uid"
_EDGES = "MATCH (s)-[e:AFFECTS]->(t) WHERE e.method IS NOT NULL RETURN s.uid AS s, t.uid AS t, properties(e) AS e ORDER BY s, t, e.run"
_SITES = "MATCH (p:Site) WHERE p.uid IS NOT NULL RETURN properties(p) AS p ORDER BY p.uid"
_RUNS = "MATCH (r:Run) WHERE r.n IS NOT NULL RETURN r.id AS id, r.n AS n, r.status AS status ORDER BY n"


#: Properties of edges that only the files tell.
IN_FILES = {"q_computed", "floor_computed", "specific", "p_specific", "q_specific", "sign_specific"}


def state(store: Store) -> list[Any]:
    """Everything that the migration may write, but for the digests, which stay those of the version that loaded."""
    rows = [store.cypher(query).to_dict("records") for query in (_FEATURES, _EDGES, _RUNS, _SITES)]
    for row in rows[0]:
        for name in ("scores", "filled"):  # sets, which Cypher keeps as lists
            row["f"] |= {name: sorted(row["f"][name])} if name in row["f"] else {}
    for row in rows[1]:
        known = "computed" in row["e"]["by"]
        row["e"] = {name: v for name, v in row["e"].items() if name not in IN_FILES and (known or name != "sign_computed")}
    return rows


@pytest.fixture
def runs(tmp_path: Path) -> dict[str, Path]:
    """Three overlapping runs, with edges that their direct effect alone let in."""
    made = overlapping_runs(tmp_path)
    for number, root in enumerate(made.values()):
        frames = [pd.read_parquet(root / f"{name}.parquet") for name in ("features", "interactions")]
        write_files(root, frames[0], by_direct_alone(frames[1], 3), seed=number)
    return made


def loaded(store: Store, roots: dict[str, Path]) -> list[Any]:
    """Load, analyse the newest and the oldest; what the database holds then."""
    ids = [store.ingest(root).run for root in roots.values()]
    for run in (ids[0], ids[-1]):
        graph_store.analyze(store, "degree", graph_store.Projection(run))
    return state(store)


def sound(store: Store, roots: dict[str, Path]) -> None:
    for root in roots.values():
        report = verify_run(store.driver, root)
        assert report.ok, [check for check in report.checks if not check.ok]


def test_a_database_of_version_5_becomes_what_one_of_now_is(database: Store, runs: dict[str, Path]) -> None:
    foreign = Foreign(database, FOREIGN.replace("name: 'Lake', layer: 3", f"name: 'Lake', id: 7, uid: '{lent(runs)}'"))
    now = loaded(database, runs)
    as_version_5(database, runs.values())
    assert state(database) != now
    with pytest.raises(queries.QueryError, match="feature-graph db migrate"):
        database.ask("strongest")
    before = verify_run(database.driver, runs["one"])
    assert [check.found for check in before.checks] == [NUMBERS]
    assert database.migrate() == NUMBERS
    assert state(database) == now
    sound(database, runs)
    assert database.migrate() == []
    database.write("MATCH (v:SchemaVersion) WHERE v.n IN $numbers DELETE v", numbers=NUMBERS)
    assert database.migrate() == NUMBERS, "once more over what is done already"
    assert state(database) == now
    for root in runs.values():
        assert database.ingest(root).already
    for root in runs.values():
        database.drop(verify_run(database.driver, root).run)
    foreign.check()


def test_a_database_of_version_7_becomes_what_one_of_now_is(database: Store, tmp_path: Path) -> None:
    """Distances of edges, and the sites' names; of the residual stream also what it reads and writes, which the migration can tell."""
    roots = {"plain": random_run(tmp_path / "plain", n_edges=60), "mixed": mixed_run(tmp_path / "mixed", n_edges=200)}
    features = pd.read_parquet(roots["plain"] / FEATURES.name)
    facts = [
        Site(n, f"blocks.{n}.hook_resid_post", n + 1, "toy", "0123abcd", "toy-res", f"blocks.{n}", 64, 24_576).to_dict()
        for n in sorted(set(features["layer"].tolist()))
    ]
    write_table(roots["plain"] / FEATURES.name, FEATURES, pa.Table.from_pandas(features, preserve_index=False), {"sites": facts})
    now = loaded(database, roots)
    as_version_7(database, roots.values())
    before = state(database)
    assert before != now
    with pytest.raises(ConnectionAbortedError):
        migrate(CutOffMigration(database, 1))
    assert before != state(database) != now
    assert database.migrate() == [8]
    after = state(database)
    for row in now[3]:
        if row["p"]["kind"] != "residual":
            del row["p"]["kind"], row["p"]["reads"], row["p"]["writes"]
    assert after == now
    assert {row["p"]["name"] for row in after[3]} == {"L0", "L4", "L8", "L12", *(place.name for place in PLACES)}
    sound(database, roots)


def lent(runs: dict[str, Path]) -> str:
    """A feature of every run's, which another program made."""
    return str(pd.read_parquet(runs["one"] / "features.parquet")["uid"].iloc[-1])


def test_cut_off_anywhere_and_begun_again_it_ends_the_same(database: Store, runs: dict[str, Path]) -> None:
    """After every statement, and between two batches: what is done is not done again, strength and total are not exchanged twice."""
    now = loaded(database, runs)
    as_version_5(database, runs.values())
    some_edges(database)
    for migration in LATER:
        for statements in range(len(migration.statements)):
            with pytest.raises(ConnectionAbortedError):
                migrate(CutOffMigration(database, statements))
            assert next(s.migration.n for s in database.schema_history() if s.applied is None) == migration.n, "the version is written last"
        assert state(database) != now
        with pytest.raises(ConnectionAbortedError) if migration is not LATER[-1] else nullcontext():
            migrate(CutOffMigration(database, len(migration.statements)))
    assert state(database) == now
    sound(database, runs)


def test_two_at_once_end_the_same(database: Store, runs: dict[str, Path]) -> None:
    """The second begins in the middle of the first, waits for it, and has nothing left to do."""
    now = loaded(database, runs)
    as_version_5(database, runs.values())
    second: list[Future[list[int]]] = []

    class Overtaken(DriverDatabase):
        """Begins another migration after its first statement, and gives it time to get in the way."""

        def execute(self, query: str) -> None:
            super().execute(query)
            if not second:
                second.append(pool.submit(database.migrate))
                time.sleep(1)
            assert not second[0].done()

    with ThreadPoolExecutor() as pool:
        assert migrate(Overtaken(database.driver, database.database)) == NUMBERS
        assert second[0].result(60) == []
    assert state(database) == now
    sound(database, runs)
    applied = database.cypher("MATCH (v:SchemaVersion) RETURN v.n AS n ORDER BY n")["n"].tolist()
    assert applied == [m.n for m in migrations()]


def some_edges(store: Store) -> None:
    """Migrate the edges of some features, as a statement that was cut off between two of its batches leaves them."""
    edges = next(s for s in LATER[0].statements if "e.structural" in s)
    one = edges.replace("MATCH (f:Feature) CALL", "MATCH (f:Feature) WITH f ORDER BY f.uid LIMIT 9 CALL").replace("50 ROWS", "2 ROWS")
    assert one != edges
    with store.driver.session() as session:
        session.run(one.rstrip(";")).consume()
    some = "MATCH ()-[e:AFFECTS]->() WHERE e.method IS NOT NULL RETURN count(e.structural) AS done, count(*) AS all"
    done, whole = store.cypher(some).iloc[0]
    assert 0 < done < whole


def test_a_run_from_before_effects_were_standardised_is_migrated(database: Store, runs: dict[str, Path]) -> None:
    """Its digest was made without them; a digest that was altered is found."""
    database.ingest(runs["one"])
    as_version_5(database, [runs["one"]])
    database.driver.execute_query("MATCH ()-[e:AFFECTS]->() REMOVE e.standardised")
    noted = digest_of_version_5(runs["one"], standardised=False)
    database.write("MATCH (r:Run) WHERE r.n IS NOT NULL SET r.digest = $digest", digest=noted)
    database.migrate()
    sound(database, {"one": runs["one"]})
    database.write("MATCH (r:Run) WHERE r.n IS NOT NULL SET r.digest = $digest", digest=digest_of_version_5(runs["one"]))
    assert {c.name for c in verify_run(database.driver, runs["one"]).checks if not c.ok} == {"digest of all properties"}
    database.write("MATCH (r:Run) WHERE r.n IS NOT NULL SET r.digest = '0123456789abcdef'")
    assert "digest noted when it was loaded" in {c.name for c in verify_run(database.driver, runs["one"]).checks if not c.ok}
