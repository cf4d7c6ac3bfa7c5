"""Text that means something to Cypher goes in as data and comes out as it was: through parameters, labels, ids and names."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import neo4j.exceptions
import pandas as pd
import pyarrow as pa
import pytest

import queries
from feature_graph.database.store import Store
from ingest.formats import FEATURES, read_meta, read_table, write_table
from tests.rundirs import random_run
from tests.support.database import EXAMPLE, wipe

pytestmark = pytest.mark.graph

PAYLOADS = [
    "' OR 1=1 DETACH DELETE n //",
    "'}) MATCH (n) DETACH DELETE n WITH 1 AS x CREATE (:Pwned) //",
    '" RETURN 1 UNION MATCH (n) DETACH DELETE n RETURN 1 //',
    "`) CREATE (:Pwned) //",
    "\\u0027}) CREATE (:Pwned) //",
    "L2_F28'; MATCH (n) DETACH DELETE n; //",
    "*) OR uid:* ",
    "$run",
    "\n// family: x\nCREATE (:Pwned)",
    "\x00",
]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def loaded(connected: Store) -> Iterator[tuple[Store, dict[str, Any]]]:
    wipe(connected)
    connected.ingest(EXAMPLE)
    yield connected, contents(connected)
    wipe(connected)


def contents(db: Store) -> dict[str, Any]:
    nodes = db.cypher("MATCH (n) WITH labels(n)[0] AS label, count(*) AS n RETURN label, n ORDER BY label").to_numpy().tolist()
    edges = db.cypher("MATCH ()-[e]->() RETURN type(e) AS type, count(*) AS n ORDER BY type").to_numpy().tolist()
    return {"nodes": nodes, "edges": edges}


def text_parameters() -> list[tuple[str, str]]:
    return [(name, p.name) for name in queries.names() for p in queries.template(name).parameters if p.type != "projection"]


@pytest.mark.parametrize(("name", "parameter"), text_parameters())
def test_no_parameter_of_any_template_is_run_as_cypher(name: str, parameter: str, loaded: tuple[Store, dict[str, Any]]) -> None:
    db, before = loaded
    found = queries.template(name)
    for payload in PAYLOADS:
        own = {p.name: db.find_run() for p in found.parameters if p.type == "other_run"}
        # Only the fulltext search has a syntax of its own that the database itself may refuse.
        refusals = (queries.QueryError, neo4j.exceptions.ClientError) if parameter == "text" else (queries.QueryError,)
        with contextlib.suppress(*refusals):
            db.ask(name, **(found.example | own | {parameter: payload}))
    assert contents(db) == before


def test_no_graph_name_is_run_as_cypher(loaded: tuple[Store, dict[str, Any]]) -> None:
    db, before = loaded
    for payload in PAYLOADS[:5]:
        with contextlib.suppress(queries.QueryError, neo4j.exceptions.ClientError):
            db.ask("communities", graph=payload)
    assert contents(db) == before


def test_labels_are_stored_as_they_are(database: Store, tmp_path: Path) -> None:
    root = random_run(tmp_path / "run", n_features=len(PAYLOADS), seed=7)
    path = root / "features.parquet"
    meta, frame = read_meta(path, FEATURES), read_table(path, FEATURES).to_pandas()
    kept = [payload.replace("\x00", "") for payload in PAYLOADS]
    frame["label"] = [kept[i % len(kept)] for i in range(len(frame))]
    write_table(path, FEATURES, pa.Table.from_pandas(frame, preserve_index=False), meta)
    (root / "manifest.json").unlink(missing_ok=True)
    run = database.ingest(root).run
    stored = database.fetch_features(run)
    pd.testing.assert_series_equal(stored["label"], frame.sort_values("fid")["label"].reset_index(drop=True), check_names=False)
    assert database.cypher("MATCH (n:Pwned) RETURN count(n) AS n")["n"].iloc[0] == 0
    assert database.verify(root).ok


def test_no_value_is_written_into_the_text_of_a_statement() -> None:
    """f-strings with Cypher take names that this program wrote (property lists, index names), never a value."""
    allowed = {
        "ingest/checksum.py",
        "ingest/stored.py",
        "ingest/observations.py",
        "ingest/displayed.py",  # names of properties from the schema
        "queries/which.py",
        "ingest/schema/indexes.py",
        "ingest/writers.py",
        "ingest/behaviors.py",
        "ingest/provenance.py",
        "ingest/runs.py",  # IS_RUN, a condition
        "ingest/migrations/__init__.py",
        "queries/custom.py",
        "feature_graph/motifs/cypher.py",
        "feature_graph/database/offline/stores.py",  # IS_RUN again
    }
    cypher = re.compile(r"""f["'](?:[^"']*\b)?(?:MATCH|MERGE|CREATE|UNWIND|DELETE|EXPLAIN)\b[^"']*\{""")
    found = set()
    for package in ("ingest", "queries", "feature_graph"):
        for path in (ROOT / package).rglob("*.py"):
            if cypher.search(path.read_text(encoding="utf-8")):
                found.add(path.relative_to(ROOT).as_posix())
    assert found <= allowed
    assert "ingest/schema/indexes.py" in found  # the search itself works
