"""Decoder vectors on the real server: stored as the file has them, once, and found by direction as numpy finds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from numpy.typing import NDArray

import ingest
import queries
from feature_graph.database.store import Store
from ingest.formats import DECODERS, write_table
from tests.graph import twins
from tests.rundirs import dense, random_run, write_files
from tests.strategies import random_interactions
from tests.support.database import EXAMPLE, graph_digest

pytestmark = pytest.mark.graph


def unit_rows(n: int, width: int, seed: int) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).standard_normal((n, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def write_vectors(root: Path, vectors: Any, fids: list[int] | None = None) -> None:
    features = pd.read_parquet(root / "features.parquet")
    chosen = features if fids is None else features.iloc[fids]
    lists = pa.array([list(map(float, row)) for row in vectors], pa.list_(pa.float32()))
    write_table(root / DECODERS.name, DECODERS, pa.table({"fid": chosen["fid"], "uid": chosen["uid"], "decoder": lists}))


def twin(root: Path, feature: str, layers: str = "all", min_cosine: float = 0.0, limit: int = 20) -> list[dict[str, Any]]:
    """The answer of ``similar`` from the files, by numpy."""
    files = twins.RunFiles.read(root)
    table = pd.read_parquet(root / DECODERS.name).merge(files.features[["fid", "id", "layer", "label"]], on="fid")
    matrix = np.stack(table["decoder"].tolist()).astype(np.float64)
    norms = np.linalg.norm(matrix, axis=1)
    own = table.index[table["id"] == feature][0]
    found = table.assign(cosine=matrix @ matrix[own] / norms / norms[own]).drop(index=own)
    same = found["layer"] == table["layer"][own]
    kept = found[{"all": same | ~same, "same": same, "other": ~same}[layers] & (found["cosine"] >= min_cosine)]
    edges = {(e["source"], e["target"]): e["strength"] for e in files.edges()}
    return [
        {
            "id": row["id"],
            "layer": row["layer"],
            "cosine": pytest.approx(row["cosine"], abs=2e-6),
            "drives": edges.get((feature, row["id"])),
            "driven_by": edges.get((row["id"], feature)),
            "label": row["label"],
        }
        for row in kept.sort_values(["cosine", "id"], ascending=[False, True]).head(limit).to_dict("records")
    ]


@pytest.mark.parametrize("search", ["index", "exact"])
@pytest.mark.parametrize(
    "given",
    [{}, {"layers": "other"}, {"layers": "same"}, {"min_cosine": 0.6}, {"min_cosine": -1.0, "limit": 1000}, {"limit": 3}],
    ids=str,
)
def test_features_alike_are_those_of_numpy(database: Store, given: dict[str, Any], search: str) -> None:
    run = database.ingest(EXAMPLE).run
    answer = database.ask("similar", run=run, feature="L5_F280", search=search, **given)
    assert answer.columns == list(queries.template("similar").columns)
    assert answer.records == twin(EXAMPLE, "L5_F280", **given)
    assert answer.rows


def test_models_of_other_widths_live_side_by_side(database: Store, tmp_path: Path) -> None:
    """One index: a question finds vectors of its own width only, and of its own run where two runs have the same."""
    features, frame = dense(random_interactions(4, 12, 120, seed=1))
    small = write_files(tmp_path / "small", features, frame)
    renamed = features.assign(uid=features["uid"].str.replace("^[^@]+@", "another@", regex=True))
    wide = write_files(tmp_path / "wide", renamed, frame)
    third = write_files(tmp_path / "third", features.assign(uid=features["uid"].str.replace("^[^@]+@", "third@", regex=True)), frame)
    for root, width, seed in ((small, 24, 1), (wide, 40, 2), (third, 24, 3)):
        write_vectors(root, unit_rows(len(features), width, seed))
    for root in (small, wide, third):
        assert database.ingest(root).decoders == len(features)
    for root in (small, wide, third):
        feature = str(features["id"][5])
        for search in ("index", "exact"):
            answer = database.ask("similar", run=ingest.run_id(root), feature=feature, search=search, limit=10)
            assert answer.records == twin(root, feature, limit=10)


def test_vectors_are_added_to_a_run_that_is_there_and_once(database: Store, tmp_path: Path) -> None:
    root = random_run(tmp_path / "run")
    first = database.ingest(root)
    feature = str(database.fetch_features(first.run)["id"][0])
    assert first.decoders == 0
    with pytest.raises(queries.DecodersMissing, match=rf"run {first.run} was loaded without.*feature-graph vectors RUN_DIR"):
        database.ask("similar", feature=feature)
    write_vectors(root, unit_rows(first.nodes, 16, 0))
    assert ingest.run_id(root) == first.run
    added = database.ingest(root)
    assert (added.already, added.decoders, added.digest) == (True, first.nodes, first.digest)
    assert added.summary().endswith(f"{first.nodes} decoder vectors added")
    assert database.ingest(root).summary().endswith("nothing changed")
    assert database.ask("similar", feature=feature, min_cosine=-1.0).rows
    assert database.verify(root).ok
    database.write("MATCH (f:Feature) WITH f LIMIT 1 SET f.decoder = [x IN f.decoder | -x]")
    wrong = [check for check in database.verify(root).checks if not check.ok]
    assert [(c.name, c.found, c.expected) for c in wrong] == [("decoder vectors equal to the file's", first.nodes - 1, first.nodes)]


def test_a_run_without_vectors_for_some_features(database: Store, tmp_path: Path) -> None:
    root = random_run(tmp_path / "run")
    features = pd.read_parquet(root / "features.parquet")
    write_vectors(root, unit_rows(5, 16, 0), [0, 2, 3, 7, 8])
    assert database.ingest(root).decoders == 5
    answer = database.ask("similar", feature=features["id"][2], min_cosine=-1.0)
    assert answer.records == twin(root, features["id"][2], min_cosine=-1.0)
    assert len(answer.rows) == 4
    assert database.ask("similar", feature=features["id"][1]).rows == []


def test_another_vector_under_the_same_name_is_refused(database: Store, tmp_path: Path) -> None:
    features, frame = dense(random_interactions(4, 12, 120, seed=1))
    a = write_files(tmp_path / "a", features, frame)
    write_vectors(a, unit_rows(len(features), 16, 0))
    loaded = database.ingest(a)
    b = write_files(tmp_path / "b", features, frame, seed=9)
    write_vectors(b, unit_rows(len(features), 16, 1))
    with pytest.raises(ingest.IngestMismatch, match=r"have another decoder vector in the database.*runs drop"):
        database.ingest(b)
    assert database.verify(a).ok
    assert graph_digest(database, loaded.n) == loaded.digest


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda v: v * 2, r"decoders\.parquet, row 0: norm of decoder = 2; expected 1"),
        (lambda v: np.where(np.arange(len(v))[:, None] == 3, np.nan, v), r"row 3: norm of decoder = nan; expected 1, of finite numbers"),
        (lambda v: np.where(np.arange(len(v))[:, None] == 3, 0, v), r"row 3: norm of decoder = 0; expected 1"),
        (lambda v: [*v[:-1], [*v[-1].tolist(), 0.0]], r"vectors of \[16, 17\] numbers; expected one width"),
    ],
)
def test_vectors_that_are_no_directions_are_refused_before_anything_is_written(
    database: Store, tmp_path: Path, spoil: Any, message: str
) -> None:
    root = random_run(tmp_path / "run")
    n = len(pd.read_parquet(root / "features.parquet"))
    write_vectors(root, spoil(unit_rows(n, 16, 0)))
    with pytest.raises(ingest.InvalidRun, match=message):
        database.ingest(root)
    assert database.cypher("MATCH (r:Run) RETURN r").empty


def test_files_that_name_other_features_are_refused(database: Store, tmp_path: Path) -> None:
    root = random_run(tmp_path / "run")
    features = pd.read_parquet(root / "features.parquet")
    vectors = unit_rows(3, 16, 0)
    for fids, uids, message in (
        ([0, 1, 10_000], features["uid"][:3], r"row 2: fid = 10000, uid = .*: not so in features\.parquet"),
        ([0, 1, 2], features["uid"][1:4], "row 0: fid = 0, uid = "),
        ([0, 2, 1], features["uid"][[0, 2, 1]], "row 2: fid = 1 is out of order"),
        ([0, 1, 1], features["uid"][[0, 1, 1]], "row 2: fid = 1 is out of order or appears twice"),
    ):
        table = pa.table({"fid": fids, "uid": list(uids), "decoder": pa.array(vectors.tolist(), pa.list_(pa.float32()))})
        write_table(root / DECODERS.name, DECODERS, table)
        with pytest.raises(ingest.InvalidRun, match=message):
            database.ingest(root)
    path = root / DECODERS.name
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ingest.InvalidRun, match=r"decoders\.parquet.*feature-graph vectors"):
        database.ingest(root)
    assert database.cypher("MATCH (r:Run) RETURN r").empty
