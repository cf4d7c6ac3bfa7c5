"""Files that contradict themselves are refused, with the row, the values and what was expected; rounding is no contradiction."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import queries
from ingest import InvalidRun, behaviors, vectors
from ingest.formats import FEATURES, INTERACTIONS, read_meta, read_table, write_table
from ingest.rundir import open_run
from ingest.validate import validate
from tests.mixed_runs import mixed_frames, mixed_run, site_facts
from tests.rundirs import dense, random_run, write_files
from tests.strategies import random_interactions

Change = Callable[[pd.DataFrame], Any]
SITES = {"sites": site_facts()}


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, pd.DataFrame]:
    root = random_run(tmp_path_factory.mktemp("runs") / "run")
    return pd.read_parquet(root / FEATURES.name), pd.read_parquet(root / INTERACTIONS.name)


def put(**values: Any) -> Change:
    """Give the first edge by its total effect other values; a function gets its row."""

    def change(frame: pd.DataFrame) -> None:
        chosen = frame["significant_by"].str.startswith("total") & (frame["span"] == 1) & (frame["interaction_type"] == "excitatory")
        row = frame.index[chosen & (frame["mean_strength"] > 0.02)][0]
        for column, value in values.items():
            frame.loc[row, column] = value(frame.loc[row]) if callable(value) else value

    return change


NEGATIVE = {"mean_strength": -0.5, "abs_strength": 0.5, "copy_strength": -1.0, "computed_strength": 0.5, "ci_low": -1.0, "replicated": None}
ROWS: list[tuple[str, Change, str]] = [
    ("type", put(interaction_type="inhibitory"), r"interaction_type = 'inhibitory', mean_strength = 0\.\d+.*: expected excitatory"),
    ("pass", put(interaction_type="pass_through", **NEGATIVE), r"interaction_type = 'pass_through', mean_strength = -0.5: what is passed"),
    ("abs", put(abs_strength=lambda r: r["abs_strength"] * 1.01), r"abs_strength = [\d.]+, mean_strength = [\d.]+: expected its magnitude"),
    ("computed", put(computed_strength=9.0), r"computed_strength = 9.0: expected mean_strength − copy_strength, [\d.]+ − -?[\d.]+"),
    ("span", put(span=5), r"span = 5 from 'L\d+_F\d+' to 'L\d+_F\d+': there are not so many sites between them"),
    ("interval", put(ci_low=lambda r: r["mean_strength"] * 1.1, ci_high=9.0), r"mean_strength = \S+ lies outside its interval, ci_low = "),
    ("level", put(q_value=0.5), r"significant_by = 'total\S*', yet the total effect is not below the level 0.05: q_value = 0.5"),
    (
        "floor",
        put(floor=5.0),
        r"significant_by = 'total\S*', yet the total effect is not above its floor: mean_str",
    ),
    (
        "replicated",
        put(replicated=True, confirm_strength=-0.1),
        r"replicated = True, mean_strength = \S+, confirm_strength = -0.1",
    ),
    ("documents", put(n_documents=99), r"n_documents = 99 is more than n_samples = \d+"),
    ("later", put(n_later=99), r"n_later = 99 is more than n_samples = \d+"),
    ("no later", put(n_later=0, later_strength=0.1), r"later_strength = 0.1 though n_later = 0: there is no later position"),
    ("clamp", put(clamp_low=50.0), r"clamp_low = 50.0 is above clamp_high = "),
    ("probability", put(p_on_change=1.5), r"p_on_change = 1.5; expected a value in \[-1, 1\]"),
    ("nan", put(mean_strength=float("nan")), r"mean_strength = nan; a value is required|mean_strength = None; a value is required"),
]


@pytest.mark.parametrize(("change", "message"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_a_row_that_contradicts_itself(frames: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path, change: Change, message: str) -> None:
    features, frame = frames[0], frames[1].copy()
    change(frame)
    root = write_table_as_is(tmp_path / "bad", features, frame)
    with pytest.raises(InvalidRun, match=rf"interactions.parquet, row \d+: {message}") as caught:
        validate(open_run(root))
    assert len(caught.value.problems) == 2  # one row, one reason, and the advice
    skipped = validate(open_run(root), "skip")
    assert skipped.rejected == 1


def write_table_as_is(root: Path, features: pd.DataFrame, frame: pd.DataFrame) -> Path:
    """A run directory whose interactions are not checked when they are written."""
    write_files(root, features, frame.iloc[:0])
    empty = pq.read_schema(root / INTERACTIONS.name)
    fields = [field.with_nullable(True) for field in empty]
    schema = pa.schema(fields, metadata=empty.metadata)
    pq.write_table(pa.Table.from_pandas(frame[INTERACTIONS.names], schema=schema, preserve_index=False), root / INTERACTIONS.name)
    return root


def test_a_span_that_is_too_small(frames: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path) -> None:
    frame = frames[1].copy()
    frame.loc[frame.index[frame["span"] == 2][0], "span"] = 1
    with pytest.raises(InvalidRun, match=r"span = 1 from \S+ to \S+: more layers of the run than that are crossed"):
        validate(open_run(write_files(tmp_path / "bad", frames[0], frame)))


def test_a_span_is_exact_where_the_run_names_its_layers(frames: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path) -> None:
    frame = frames[1].copy()
    frame.loc[frame["span"] == 1, "span"] = 3  # layers 0, 4, 8, 12: as many as lie between, but not as many as were analysed
    root = write_files(tmp_path / "run", frames[0], frame)
    assert validate(open_run(root), "skip").rejected == 0
    config = json.loads((root / "config.json").read_text())
    (root / "config.json").write_text(json.dumps(config | {"layers": [0, 4, 8, 12]}))
    assert validate(open_run(root), "skip").rejected == int((frames[1]["span"] == 1).sum())


def test_spans_count_layers_or_as_other_programs_do_sites(tmp_path: Path) -> None:
    """0 within a block; runs of programs that count sites have 1 there and go on being read."""
    own, theirs = mixed_run(tmp_path / "own"), mixed_run(tmp_path / "theirs", foreign=True)
    spans = [set(pd.read_parquet(root / INTERACTIONS.name).query("src_layer == tgt_layer")["span"]) for root in (own, theirs)]
    assert spans == [{0}, {1, 2, 3}]
    for root in (own, theirs):
        assert validate(open_run(root), "skip").rejected == 0
    features, frame = mixed_frames()
    frame.loc[(frame["src_layer"] == 2) & (frame["tgt_layer"] == 5), "span"] = 3  # two layers, four sites and more
    root = write_files(tmp_path / "run", features, frame)
    write_table(root / FEATURES.name, FEATURES, pa.Table.from_pandas(features, preserve_index=False), SITES)
    with pytest.raises(InvalidRun, match=r"span = 3 from \S+ to \S+: neither the layers nor the sites that are crossed"):
        validate(open_run(root))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks": 3}, r"blocks = 3: expected tgt_layer − src_layer, "),
        ({"span": -1}, r"span = -1; expected 1 or more, or 0 within a layer"),
    ],
)
def test_distances_that_contradict_the_layers(tmp_path: Path, change: dict[str, int], message: str) -> None:
    root = mixed_run(tmp_path / "run")
    table = pq.read_table(root / INTERACTIONS.name)
    frame = table.to_pandas()
    frame.loc[frame.index[(frame["blocks"] == 0)][4], list(change)] = list(change.values())
    pq.write_table(pa.Table.from_pandas(frame, schema=table.schema, preserve_index=False), root / INTERACTIONS.name)
    with pytest.raises(InvalidRun, match=rf"interactions.parquet, row \d+: {message}"):
        validate(open_run(root))


def test_edges_between_layers_span_one_or_more(frames: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path) -> None:
    features, frame = frames[0], frames[1].copy()
    put(span=0)(frame)
    with pytest.raises(InvalidRun, match=r"span = 0; expected 1 or more, or 0 within a layer"):
        validate(open_run(write_files(tmp_path / "bad", features, frame)))


@pytest.mark.parametrize("facts", ["in the manifest", "none"])
def test_sites_follow_each_other_as_their_kinds_do_where_no_order_is_given(tmp_path: Path, facts: str) -> None:
    root = mixed_run(tmp_path / "run")
    features = pd.read_parquet(root / FEATURES.name)
    write_table(root / FEATURES.name, FEATURES, pa.Table.from_pandas(features, preserve_index=False))
    known = [{name: site[name] for name in ("layer", "site", "point")} for site in SITES["sites"]]
    if facts == "in the manifest":
        (root / "manifest.json").write_text(json.dumps({"saes": {str(n): site for n, site in enumerate(known)}}))
    assert validate(open_run(root), "skip").rejected == 0
    backward = features.assign(
        id=features["id"].str.replace("L3.attn", "L3.x").str.replace("L3.mlp", "L3.attn").str.replace("L3.x", "L3.mlp")
    )
    frame = pd.read_parquet(root / INTERACTIONS.name)
    for end in ("src", "tgt"):
        frame[f"{end}_id"] = backward["id"].to_numpy()[frame[f"{end}_fid"]]
    write_files(tmp_path / "backward", backward, frame)
    with pytest.raises(InvalidRun, match=r"source layer 3 is not before target layer 3; edges go forward only"):
        validate(open_run(tmp_path / "backward"))


FEATURE_ROWS: list[tuple[dict[str, Any], str]] = [
    ({"mean_act": 30.0}, r"row 2: mean_act = 30.0 is above max_act = "),
    ({"dead": True}, r"row 2: dead = True, yet density = "),
    ({"dense": True, "density": 0.1}, r"row 2: dense = True, density = 0.1; dense is a density above a fifth"),
    ({"dense": False, "density": 0.3}, r"row 2: dense = False, density = 0.3; dense is a density above a fifth"),
    ({"hook": "another"}, r"layer \d+ mixes 2 hooks; one site has one"),
]


@pytest.mark.parametrize(("values", "message"), FEATURE_ROWS, ids=[str(v) for v, _ in FEATURE_ROWS])
def test_a_feature_that_contradicts_itself(
    frames: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    features = frames[0].copy()
    for column, value in values.items():
        features.loc[2, column] = value
    with pytest.raises(InvalidRun, match=rf"features.parquet(, |: ){message}"):
        validate(open_run(write_files(tmp_path / "bad", features, frames[1])))


@pytest.mark.parametrize(("where", "level"), [("config", 5), ("config", "0.05"), ("meta", 0), ("meta", True)])
def test_a_level_that_is_none(frames: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path, where: str, level: Any) -> None:
    root = write_files(tmp_path / "bad", *frames, {"level": level} if where == "meta" else None)
    if where == "config":
        (root / "config.json").write_text(json.dumps({"significance_level": level}))
    with pytest.raises(InvalidRun, match=r"level: got .*; expected a number between 0 and 1"):
        open_run(root)


# --- behaviours ---


def behaviour(**values: Any) -> dict[str, Any]:
    return {"name": "x", "prompts": [], "metric": "m", "confirmed": True, "seeds": []} | values


def seed(name: str, rank: int = 1) -> dict[str, Any]:
    return {"id": name, "effect": 0.1, "rank": rank}


SITE = {"layer": 0, "d_sae": 512, "model": "toy", "model_hash": "0123abcd", "release": "toy-res", "sae_id": "blocks.0", "hook": "h"}
BEHAVIOURS: list[tuple[list[dict[str, Any]], str]] = [
    ([behaviour(), behaviour()], "behaviour 'x' appears 2 times; expected once"),
    ([behaviour(seeds=[seed("L0_F1"), seed("L0_F1", 2)])], "x: seed 'L0_F1' appears 2 times"),
    ([behaviour(seeds=[seed("L0_F1"), seed("L0_F2")])], "x: rank of a seed 1 appears 2 times"),
    ([behaviour(members=["L0_F1", "L0_F1"])], "x: member 'L0_F1' appears 2 times"),
    ([behaviour(accuracy=1.5)], r"x: accuracy = 1.5; expected a value in \[0, 1\]"),
    ([behaviour(seeds=[seed("L0_F700")])], "seed L0_F700: its dictionary has 512 features, the last is 511"),
]


@pytest.mark.parametrize(("listed", "message"), BEHAVIOURS, ids=[m[:30] for _, m in BEHAVIOURS])
def test_behaviours_that_contradict_themselves(
    frames: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path, listed: list[dict[str, Any]], message: str
) -> None:
    features = frames[0][frames[0]["index"] < 512].copy()
    features["fid"] = np.arange(len(features))
    root = write_files(tmp_path / "run", frames[0], frames[1])
    write_table(root / FEATURES.name, FEATURES, pa.Table.from_pandas(features, preserve_index=False), {"sites": [SITE]})
    (root / "behaviors.json").write_text(json.dumps({"kind": "behaviors", "version": 1, "behaviors": listed}))
    with pytest.raises(InvalidRun, match=message):
        behaviors.read(open_run(root), features)


# --- what is right stays right ---


def test_the_shipped_run_agrees_with_itself() -> None:
    run = open_run(queries.example_run())
    seen = validate(run)
    assert seen.rejected == 0
    assert behaviors.read(run, seen.features)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), window=st.integers(1, 3), rounded=st.booleans())
def test_rounding_to_float32_is_no_contradiction(tmp_path: Path, seed: int, window: int, rounded: bool) -> None:
    made = random_interactions(4, 8, 80, seed, window)
    features, frame = dense(made, seed)
    if rounded:
        for column in frame.select_dtypes("float64"):
            frame[column] = frame[column].to_numpy(np.float32).astype(float)
    root = write_files(tmp_path / str(seed), features, frame, made.meta, seed)
    seen = validate(open_run(root), "skip")
    assert (seen.rows, seen.rejected) == (len(frame), 0)


def test_decoder_vectors_of_another_length_than_the_stream(tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(queries.example_run(), root)
    assert vectors.read(open_run(root), validate(open_run(root)).features)
    meta = read_meta(root / FEATURES.name, FEATURES)
    width = {site["d_in"] for site in meta["sites"]}.pop()
    wider = {"sites": [site | {"d_in": width + 1} for site in meta["sites"]]}
    write_table(root / FEATURES.name, FEATURES, read_table(root / FEATURES.name, FEATURES), wider)
    run = open_run(root)
    with pytest.raises(InvalidRun, match=rf"vectors of {width} numbers; expected {width + 1}, d_in of the run's sites"):
        vectors.read(run, validate(run).features)
