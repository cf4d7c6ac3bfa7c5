"""Import files hold the values that the online path writes, whatever stands in them."""

from __future__ import annotations

import io
import math
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as csv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.blocks import ledger_key
from ingest.bulk import RUN_NUMBER, ImportFiles, import_arguments, import_bytes, tables, write_import_files, write_script
from ingest.load import expected_blocks
from ingest.rows import EDGE_PROPERTIES, OBSERVATION_PROPERTIES, edge_columns, observation_rows
from ingest.rundir import RunDirectory, open_run
from ingest.validate import Validated, validate
from tests.rundirs import random_run

# What a CSV can carry: no surrogates; the importer ends at a NUL.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)


def read(path: Path | io.BytesIO) -> pd.DataFrame:
    """A CSV as the importer reads it: an empty field is not a value, an empty quoted one is an empty text."""
    lines = csv.ParseOptions(newlines_in_values=True)
    head = path.read_bytes() if isinstance(path, Path) else path.getvalue()
    names = csv.read_csv(io.BytesIO(head), parse_options=lines).column_names
    texts = {name: pa.string() for name in names if name.endswith(":string")}  # a label may look like a number
    options = csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False, null_values=[""], column_types=texts)
    table = csv.read_csv(path, parse_options=lines, convert_options=options)
    frame = table.to_pandas(types_mapper={pa.string(): pd.StringDtype()}.get)
    return frame.rename(columns=lambda name: name if name.startswith(":") else name.split(":")[0]).astype(object)


def same(found: Any, expected: Any) -> bool:
    if expected is None or (isinstance(expected, float) and math.isnan(expected)):
        return found is None or found is pd.NA or (isinstance(found, float) and math.isnan(found))
    return bool(found == expected)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunDirectory, Validated, ImportFiles]:
    root = tmp_path_factory.mktemp("bulk")
    run = open_run(random_run(root / "run", n_features=60, n_edges=7_000, seed=3))
    seen = validate(run)
    return run, seen, write_import_files(run, seen, root / "files")


def test_edges_are_those_of_the_online_path(written: tuple[RunDirectory, Validated, ImportFiles]) -> None:
    run, seen, files = written
    found = read(files.folder / "edges.csv").sort_values([":START_ID(Feature)", ":END_ID(Feature)", "method"], ignore_index=True)
    rows = pa.parquet.read_table(run.interactions).to_pandas().query("significant").reset_index(drop=True)
    expected = edge_columns(pa.Table.from_pandas(rows, preserve_index=False))
    assert len(found) == len(rows) == seen.edges
    assert found[":START_ID(Feature)"].tolist() == rows["src_fid"].tolist()
    assert found[":END_ID(Feature)"].tolist() == rows["tgt_fid"].tolist()
    assert set(found["run"]) == {RUN_NUMBER}
    assert set(found.columns) == {":START_ID(Feature)", ":END_ID(Feature)", "run", "run_id", *EDGE_PROPERTIES}
    for name in EDGE_PROPERTIES:
        assert all(same(a, b) for a, b in zip(found[name], expected[name].tolist(), strict=True)), name


def test_observations_ledger_and_counts(written: tuple[RunDirectory, Validated, ImportFiles]) -> None:
    run, seen, files = written
    found = read(files.folder / "observations.csv")
    for row, expected in zip(found.to_dict("records"), observation_rows(seen.features), strict=True):
        assert row["key"] == f"{RUN_NUMBER}/{expected[0]}"
        assert all(same(row[name], value) for name, value in zip(OBSERVATION_PROPERTIES, expected[1:], strict=True))
    ledger = read(files.folder / "ledger.csv")
    assert dict(zip(ledger["key"], ledger["rows"], strict=True)) == expected_blocks(RUN_NUMBER, run, seen)
    assert ledger_key(RUN_NUMBER, run.features_sha256, 0) in set(ledger["key"])
    assert files.node_count == 2 * len(seen.features) + len(ledger) + 1
    assert files.relationship_count == len(seen.features) + seen.edges
    frames = [read(files.folder / name) for _, name in (*files.nodes, *files.relationships)]
    assert files.property_count == sum(int(f[[c for c in f if not c.startswith(":")]].notna().sum().sum()) for f in frames)
    assert read(files.folder / "run.csv")["id"].tolist() == [run.id]


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(TEXT, min_size=1, max_size=6), values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=6, max_size=6)
)
def test_any_label_and_any_number_come_back(
    written: tuple[RunDirectory, Validated, ImportFiles], labels: list[str], values: list[float]
) -> None:
    _, seen, _ = written
    features = seen.features.iloc[: len(labels)].assign(label=labels, importance=values[: len(labels)])
    features.loc[features.index[0], "importance"] = np.nan
    file = io.BytesIO()
    csv.write_csv(tables.observation_table(features, 1), file)
    file.seek(0)
    found = read(file)
    assert found["label"].tolist() == labels
    assert all(same(a, b) for a, b in zip(found["importance"], features["importance"], strict=True))


def test_files_with_line_breaks_are_named_to_the_importer(written: tuple[RunDirectory, Validated, ImportFiles], tmp_path: Path) -> None:
    run, seen, _ = written

    def labelled(label: str) -> ImportFiles:
        return write_import_files(run, replace(seen, features=seen.features.assign(label=label)), tmp_path)

    assert not [argument for argument in import_arguments(labelled("one line")) if "multiline" in argument]
    broken = labelled("two\nlines")
    assert broken.multiline == ("features.csv", "observations.csv")
    arguments = import_arguments(broken, folder="/data")
    assert "--multiline-fields=/data/features.csv,/data/observations.csv" in arguments
    assert "--overwrite-destination" not in " ".join(arguments)


def test_the_size_is_foreseen(written: tuple[RunDirectory, Validated, ImportFiles]) -> None:
    _, seen, files = written
    expected, _ = import_bytes(len(seen.features), seen.edges)
    assert 0.5 < sum(path.stat().st_size for path in files.folder.iterdir()) / expected < 2


def test_a_script_says_its_run_and_goes_into_an_empty_folder_only(tmp_path: Path) -> None:
    root = random_run(tmp_path / "run")
    script = write_script(root, tmp_path / "new" / "folder")
    text = script.read_text()
    assert open_run(root).id in text
    words = shlex.split(text.split("admin database", 1)[1].replace("\\\n", " ").split("\necho")[0])
    assert words[:3] == ["import", "full", "neo4j"]
    assert "--nodes=Feature=$folder/features.csv" in words
    with pytest.raises(FileExistsError, match="not empty"):
        write_script(root, script.parent)
    after = (script.parent / "after.cypher").read_text()
    assert "CREATE CONSTRAINT" in after
    assert f"AS found, {len(pd.read_parquet(root / 'features.parquet'))} AS expected;" in after
