"""What ingest makes of files, without a database."""

from __future__ import annotations

import json
import re
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

from feature_graph.config import OUTSIDE_HASH
from ingest import InvalidRun, behaviors, checksum, digest, docs, run_id, schema
from ingest.__main__ import main
from ingest.blocks import LayerPair, Mask, RowLayout, Segment, edge_blocks, layout_of, segment_blocks
from ingest.checks import CheckedRows, Order
from ingest.checksum import EdgeCheck
from ingest.formats import FEATURES, INTERACTIONS
from ingest.migrations import migrations
from ingest.rows import DISPLAYED, EDGE_COLUMNS, EDGE_FILE_COLUMNS, EDGE_PROPERTIES, OBSERVATION_PROPERTIES, edge_groups
from ingest.rundir import BLOCK_ROWS, OUTSIDE_IDENTITY, open_run
from ingest.selection import Selection
from ingest.validate import split_uid, validate
from ingest.writers import next_segment
from queries import example_run
from tests.rundirs import random_run, write_files

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_run(tmp_path_factory.mktemp("runs") / "run", direct_alone=3)


def changed(root: Path, target: Path, kind: str, change: Callable[[pd.DataFrame], Any]) -> Path:
    """A copy of the run with one of its tables changed in place."""
    frames = {name: pd.read_parquet(root / f"{name}.parquet") for name in ("features", "interactions")}
    result = change(frames[kind])
    if result is not None:
        frames[kind] = result
    return write_files(target, frames["features"], frames["interactions"])


def put(row: int, **values: Any) -> Callable[[pd.DataFrame], None]:
    def change(frame: pd.DataFrame) -> None:
        for column, value in values.items():
            frame.loc[row, column] = value

    return change


def read_whole(root: Path) -> None:
    opened = open_run(root)
    behaviors.read(opened, validate(opened).features)


def test_a_sound_run_passes(root: Path) -> None:
    seen = validate(open_run(root))
    frame = pd.read_parquet(root / "interactions.parquet")
    kept = frame[frame["significant"]]
    assert (seen.rows, seen.edges, seen.methods) == (len(frame), len(kept), ("clamping",))
    assert seen.scale == kept["direct_strength"].abs().max()


WRONG: list[tuple[str, Callable[[pd.DataFrame], Any], str]] = [
    ("features", put(3, fid=7), r"features.parquet, row 3: fid = 7; expected 0, 1, 2"),
    ("features", put(2, density=1.5), r"row 2: density = 1.5; expected a value in \[0, 1\]"),
    ("features", put(2, max_act=float("inf")), r"row 2: max_act = inf; expected a finite number"),
    ("features", put(1, id="L0_F1"), r"row 1: id = 'L0_F1'; expected L<layer>_F<index>"),
    ("features", put(1, uid="toy/7"), r"row 1: uid = 'toy/7'; expected <model>@<8 hex digits>"),
    ("features", lambda f: f.assign(uid=[f["uid"].iloc[1], *f["uid"].iloc[1:]]), r"row 1: uid = .* appears twice"),
    ("features", put(0, uid="toy@0123abcd/other/blocks.0/{index}"), r"row 0: uid"),
    ("interactions", put(5, p_value=-0.1), r"interactions.parquet, row 5: p_value = -0.1; expected a value in \[0, 1\]"),
    ("interactions", put(5, mean_strength=float("-inf")), r"row 5: mean_strength = -inf; expected a finite number"),
    ("interactions", put(5, src_fid=900), r"row 5: src_fid = 900; features.parquet has 0 to \d+"),
    ("interactions", put(5, tgt_fid=-1), r"row 5: tgt_fid = -1; features.parquet has 0 to \d+"),
    ("interactions", put(5, src_id="L0_F0"), r"row 5: src_id = 'L0_F0', src_layer = \d+: not what features.parquet says of fid \d+"),
    ("interactions", put(5, tgt_layer=0, src_layer=0), r"row 5: source layer 0 is not before target layer 0; edges go forward only"),
    ("interactions", put(5, method="Clamp"), r"row 5: method = 'Clamp'; expected a lower-case name"),
    ("interactions", put(5, interaction_type="gate"), r"row 5: interaction_type = 'gate'; expected one of"),
    ("interactions", put(5, significant=True, significant_by="luck"), r"row 5: significant_by = 'luck'"),
    ("interactions", put(5, significant=True, significant_by=""), r"row 5: significant = True, significant_by = '': they contradict"),
    (
        "interactions",
        put(5, significant=True, significant_by="later", later_strength=np.nan),
        r"row 5: significant by the later effect, which is empty",
    ),
    ("interactions", put(5, span=0), r"row 5: span = 0; expected 1 or more"),
    ("interactions", put(5, ci_low=9.0, ci_high=8.0), r"row 5: ci_low = 9.0 is above ci_high = 8.0"),
    ("interactions", lambda f: pd.concat([f.iloc[:6], f.iloc[5:]]), r"row 6: \(\d+, \d+, 'clamping'\) appears twice"),
    ("interactions", lambda f: f.iloc[::-1], r"row 1: \(\d+, \d+, 'clamping'\) is out of order"),
]


@pytest.mark.parametrize(("kind", "change", "message"), WRONG, ids=[m[:40] for _, _, m in WRONG])
def test_what_is_wrong_is_named_with_file_row_and_reason(
    root: Path, tmp_path: Path, kind: str, change: Callable[[pd.DataFrame], Any], message: str
) -> None:
    with pytest.raises(InvalidRun, match=message) as caught:
        validate(open_run(changed(root, tmp_path / "bad", kind, change)))
    assert "nothing was written" in str(caught.value)


@pytest.mark.parametrize(("column", "reason"), [("span", "a value is required$"), ("se", "a value is required of method 'clamping'$")])
def test_values_that_must_be_there(root: Path, tmp_path: Path, column: str, reason: str) -> None:
    shutil.copytree(root, tmp_path / "run")
    path = tmp_path / "run/interactions.parquet"
    table = pq.read_table(path)
    values = table[column].to_pylist()
    values[5] = None
    place, nullable = table.schema.get_field_index(column), table.schema.field(column).with_nullable(True)
    pq.write_table(table.set_column(place, nullable, pa.array(values, nullable.type)), path)
    with pytest.raises(InvalidRun) as caught:
        validate(open_run(tmp_path / "run"))
    assert re.search(rf"interactions.parquet, row 5: {column} = None; {reason}", caught.value.problems[0])


@pytest.mark.parametrize("type_", [pa.null(), pa.int32(), pa.float64()], ids=str)
def test_a_derived_column_without_a_value_is_as_absent(root: Path, tmp_path: Path, type_: pa.DataType) -> None:
    shutil.copytree(root, tmp_path / "run")
    path = tmp_path / "run/interactions.parquet"
    table = pq.read_table(path)
    place = table.schema.get_field_index("blocks")
    pq.write_table(table.set_column(place, "blocks", pa.nulls(len(table), type_)), path, row_group_size=50)
    seen = validate(open_run(tmp_path / "run"))
    assert seen.rows == len(table)
    found = pd.concat(block.table.to_pandas() for block in edge_blocks(path, seen.layout, ["src_layer", "tgt_layer", "blocks"]))
    assert (found["blocks"] == found["tgt_layer"] - found["src_layer"]).all()


def test_many_problems_are_counted(root: Path, tmp_path: Path) -> None:
    bad = changed(root, tmp_path / "bad", "interactions", lambda f: f.assign(q_value=2.0))
    with pytest.raises(InvalidRun, match=r"and \d+ more like this") as caught:
        validate(open_run(bad))
    assert len(caught.value.problems) == 7
    assert caught.value.problems[-1].startswith(f"{len(pd.read_parquet(root / 'interactions.parquet'))} problems in all; `--bad-rows skip`")


@pytest.mark.slow
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1_000))
def test_rows_that_are_skipped_are_written_down_and_the_others_loaded(root: Path, tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame = pd.read_parquet(root / "interactions.parquet")
    bad = np.sort(rng.choice(len(frame), 5, replace=False))
    for row, (column, value) in zip(bad, [("q_value", 2.0), ("src_fid", 999), ("se", -1.0), ("method", "No"), ("span", 0)], strict=True):
        frame.loc[row, column] = value
    features = pd.read_parquet(root / "features.parquet")
    folder = tmp_path / str(seed)
    rejected = folder / "rejected.parquet"
    seen = validate(open_run(write_files(folder, features, frame)), "skip", rejected)
    right = frame.drop(index=bad)
    assert (seen.rows, seen.rejected, seen.edges) == (len(frame), 5, int(right["significant"].sum()))
    written = pd.read_parquet(rejected)
    assert written["row"].tolist() == bad.tolist()
    assert written["reason"].iloc[0] == "q_value = 2.0; expected a value in [0, 1]"
    assert [name for name in written if name not in ("row", "reason")] == INTERACTIONS.names
    loaded = pa.concat_tables(b.table for b in edge_blocks(folder / "interactions.parquet", seen.layout, ["src_fid", "tgt_fid"]))
    assert sorted(map(tuple, loaded.to_pandas().to_numpy())) == sorted(
        map(tuple, right.loc[right["significant"], ["src_fid", "tgt_fid"]].to_numpy())
    )


def test_nothing_is_written_down_where_nothing_is_skipped(root: Path, tmp_path: Path) -> None:
    assert validate(open_run(root), "skip", tmp_path / "rejected.parquet").rejected == 0
    assert not (tmp_path / "rejected.parquet").exists()


def test_a_doubled_row_is_skipped_and_does_not_hide_the_next(root: Path, tmp_path: Path) -> None:
    doubled = changed(root, tmp_path / "bad", "interactions", lambda f: pd.concat([f.iloc[:6], f.iloc[2:]]))
    seen = validate(open_run(doubled), "skip")
    assert (seen.rejected, seen.edges) == (4, validate(open_run(root)).edges)


def test_order_is_kept_across_pieces() -> None:
    n = 40

    def piece(keys: list[tuple[int, int, str]]) -> CheckedRows:
        columns = list(zip(*keys, strict=True))
        table = pa.table({"src_fid": columns[0], "tgt_fid": columns[1], "method": pa.array(columns[2]).dictionary_encode()})
        return CheckedRows(table.to_batches()[0])

    order = Order(n)
    pieces = [
        [(0, 5, "clamping"), (0, 5, "jacobian")],
        [(0, 5, "jacobian"), (0, 6, "clamping")],
        [(0, 5, "zeta"), (99, 1, "clamping"), (1, 2, "b")],
    ]
    found = [{reason[-12:]: mask.tolist() for reason, mask in order.broken(piece(p)).items()} for p in pieces]
    twice, behind = (reason[-12:] for reason in (Order.TWICE, Order.BEHIND))
    assert [f[twice] for f in found] == [[False, False], [True, False], [False, False, False]]
    assert [f[behind] for f in found] == [[False, False], [False, False], [True, False, False]]


SELECTIONS = [
    Selection(min_strength=0.05),
    Selection(top_k_per_source=2),
    Selection(limit=17),
    Selection(limit=10_000),
    Selection(min_strength=0.02, top_k_per_source=3, limit=25),
    Selection(min_strength=0.09, limit=20, by="formerly"),
]


@pytest.mark.parametrize("selection", SELECTIONS, ids=lambda s: "-".join(s.chosen))
@pytest.mark.parametrize("group_rows", [None, 7])
def test_a_selection_is_what_sorting_the_whole_table_gives(tmp_path: Path, selection: Selection, group_rows: int | None) -> None:
    root = random_run(tmp_path / "run", n_features=20, n_edges=300, seed=3, direct_alone=20)
    path = root / "interactions.parquet"
    if group_rows:
        pq.write_table(pq.read_table(path), path, row_group_size=group_rows)
    frame = pd.read_parquet(path)
    kept = frame[frame["significant"]].assign(row=lambda f: f.index)
    by, lead = kept["significant_by"], kept["mean_strength"]
    lead = lead.where(~by.str.startswith("direct") | (selection.by == "formerly"), kept["direct_strength"])
    kept["strength"] = lead.where(by != "later", kept["later_strength"]).abs()
    kept = kept[kept["strength"] >= (selection.min_strength or 0)].sort_values(["strength", "row"], ascending=[False, True])
    if selection.top_k_per_source:
        kept = kept.groupby(["src_fid", "method"]).head(selection.top_k_per_source)
    if selection.limit:
        kept = kept.head(selection.limit)
    run = open_run(root, selection)
    seen = validate(run)
    columns = ["src_fid", "tgt_fid", "method"]
    loaded = pa.concat_tables(b.table for b in edge_blocks(path, seen.layout, columns)).to_pandas()
    assert seen.edges == len(kept) == len(loaded) > 0
    assert seen.scale == kept["direct_strength"].abs().max()
    assert set(map(tuple, loaded.to_numpy())) == set(map(tuple, kept[columns].to_numpy()))


def test_a_selection_is_another_run_of_the_same_files(root: Path) -> None:
    ids = [run_id(root), *(run_id(root, selection) for selection in SELECTIONS)]
    assert len(set(ids)) == len(ids)
    assert run_id(root, Selection()) == ids[0] == open_run(root, SELECTIONS[0]).whole_id
    assert [Selection.noted(json.loads(json.dumps(s.chosen))) for s in [Selection(), *SELECTIONS]] == [Selection(), *SELECTIONS]
    assert Selection.noted({"limit": 17}) == Selection(limit=17, by="formerly"), "as earlier versions noted it"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"min_strength": -1.0}, "min_strength: got -1.0; expected 0 or more"),
        ({"min_strength": float("nan")}, "min_strength: got nan"),
        ({"top_k_per_source": 0}, "top_k_per_source: got 0; expected 1 or more"),
        ({"limit": -3}, "limit: got -3; expected 1 or more"),
    ],
)
def test_a_selection_of_nothing_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Selection(**values)


def test_an_index_beyond_the_dictionary(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "run")
    layer = int(pd.read_parquet(root / "features.parquet")["layer"].iloc[0])
    (tmp_path / "run/manifest.json").write_text(json.dumps({"saes": {str(layer): {"layer": layer, "d_sae": 3}}}))
    with pytest.raises(InvalidRun, match=r"index = \d+; outside the dictionary"):
        validate(open_run(tmp_path / "run"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, "config.json: no such file"),
        ("config.json", "{", "config.json: not JSON"),
        ("config.json", "[1]", "config.json: got list; expected a JSON object"),
        ("features.parquet", None, "features.parquet: no such file"),
        ("interactions.parquet", "PAR1 no", "not a readable Parquet file"),
        ("manifest.json", '{"stages": {"measure": {"artifacts": {"features.parquet": {"sha256": "00ff"}}}}}', "changed after the run"),
        ("behaviors.json", '{"kind": "behaviors", "version": 2}', "got kind behaviors version 2; expected behaviors version 1"),
        ("behaviors.json", '{"kind": "behaviors", "version": 1, "behaviors": [{"name": "x"}]}', "no field 'prompts'"),
    ],
)
def test_files_that_are_missing_or_broken(root: Path, tmp_path: Path, name: str, content: str | None, message: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(root, run)
    (run / name).unlink(missing_ok=True)
    if content is not None:
        (run / name).write_text(content)
    with pytest.raises(InvalidRun, match=message):
        read_whole(run)


def test_a_damaged_row_group_is_named(root: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(root, run)
    whole = bytearray((run / "interactions.parquet").read_bytes())
    whole[200:600] = b"\xff" * 400
    (run / "interactions.parquet").write_bytes(whole)
    with pytest.raises(InvalidRun, match=r"interactions\.parquet"):
        validate(open_run(run))


def test_no_directory() -> None:
    with pytest.raises(InvalidRun, match="no such directory"):
        open_run("/nowhere/at/all")


def seed_of(layer: object) -> str:
    return json.dumps(
        {"kind": "behaviors", "version": 1}
        | {"behaviors": [{"name": "x", "prompts": [], "metric": "m", "confirmed": True, "seeds": [{"id": layer, "effect": 1, "rank": 1}]}]}
    )


@pytest.mark.parametrize(("id_", "message"), [("L999_F1", "the run has the sites L"), ("5/1", "expected L<layer>_F<index>")])
def test_seeds_must_lie_in_the_run(root: Path, tmp_path: Path, id_: str, message: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(root, run)
    (run / "behaviors.json").write_text(seed_of(id_))
    opened = open_run(run)
    with pytest.raises(InvalidRun, match=message):
        behaviors.read(opened, validate(opened).features)


def test_the_id_follows_what_decides_the_result(root: Path, tmp_path: Path) -> None:
    def copy(name: str, **config: Any) -> str:
        shutil.copytree(root, tmp_path / name)
        path = tmp_path / name / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | config))
        return run_id(tmp_path / name)

    first = run_id(root)
    assert len(first) == 16
    assert copy("same") == first
    assert copy("elsewhere", device="cuda", batch_size=64, output_dir="/x") == first
    assert copy("seed", seed=1) != first
    assert copy("level", significance_level=0.01) != first
    edited = changed(root, tmp_path / "edited", "interactions", put(0, spill=9.0))
    assert run_id(edited) != first


def test_the_fields_left_out_of_the_id_are_those_of_the_configuration() -> None:
    assert OUTSIDE_IDENTITY == OUTSIDE_HASH


@pytest.mark.parametrize("uid", ["gpt2@0123abcd/gpt2-small-res-jb/blocks.6.hook_resid_pre/7", "google/gemma@0123abcd/a-b/l_12/w_16k/x/9"])
def test_uids_may_hold_slashes(uid: str) -> None:
    model, dictionary, index = split_uid(uid)
    assert f"{model}/{dictionary}/{index}" == uid
    assert model.endswith("@0123abcd")
    with pytest.raises(ValueError, match="expected <model>@<8 hex digits>"):
        split_uid(uid.replace("@0123abcd", ""))


def test_a_pair_s_blocks_are_its_significant_rows_in_file_order(tmp_path: Path) -> None:
    root = random_run(tmp_path / "run", n_features=60, n_edges=17_000)
    seen = validate(open_run(root))
    columns = ["src_fid", "tgt_fid", "src_layer", "tgt_layer"]
    blocks = list(edge_blocks(root / "interactions.parquet", seen.layout, columns))
    frame = pd.read_parquet(root / "interactions.parquet")
    kept = frame.loc[frame["significant"], columns]
    assert seen.layout.edges == len(kept) == sum(len(b.table) for b in blocks)
    assert {b.name: len(b.table) for b in blocks} == seen.layout.names()
    for (source, target), rows in kept.groupby(["src_layer", "tgt_layer"]):
        mine = [b for b in blocks if b.pair == LayerPair(source, target)]
        assert [b.number for b in mine] == list(range(len(mine)))
        assert all(len(b.table) == BLOCK_ROWS for b in mine[:-1])
        pd.testing.assert_frame_equal(pa.concat_tables([b.table for b in mine]).to_pandas(), rows.reset_index(drop=True))
    assert max(len([b for b in blocks if b.pair == pair]) for pair in seen.layout.counts) > 1


def whole_layout(path: Path) -> RowLayout:
    mask = Mask()
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            mask.begin_group()
            mask.add(file.read_row_group(group, ["significant"])["significant"].to_numpy())
    return layout_of(path, mask)


def test_blocks_are_the_same_whatever_the_row_groups(root: Path, tmp_path: Path) -> None:
    small = tmp_path / "interactions.parquet"
    pq.write_table(pq.read_table(root / "interactions.parquet"), small, row_group_size=7)
    whole, split = (list(edge_blocks(p, whole_layout(p), EDGE_FILE_COLUMNS)) for p in (root / "interactions.parquet", small))
    assert {b.name: b.table for b in whole} == {b.name: b.table for b in split}


@pytest.mark.parametrize(("row_group", "at_a_time"), [(300, 1), (1_999, 2), (50_000, 3), (4_001, 100)])
def test_segments_are_the_blocks_whatever_the_row_groups(tmp_path: Path, row_group: int, at_a_time: int) -> None:
    path = random_run(tmp_path / "run", n_features=60, n_edges=17_000) / "interactions.parquet"
    pq.write_table(pq.read_table(path), path, row_group_size=row_group)
    layout = whole_layout(path)
    whole = {b.name: b.table for b in edge_blocks(path, layout, EDGE_FILE_COLUMNS)}
    segments = layout.segments(at_a_time)
    found = [list(segment_blocks(path, layout, EDGE_FILE_COLUMNS, segment)) for segment in segments]
    assert {b.name: b.table for blocks in found for b in blocks} == whole
    assert sum(map(len, found)) == len(whole) > len(layout.counts)
    for segment, blocks in zip(segments, found, strict=True):
        assert [b.number for b in blocks] == list(range(segment.first, segment.stop))
        assert sum(len(b.table) for b in blocks) == segment.rows


@given(
    rows=st.dictionaries(st.tuples(st.integers(0, 6), st.integers(1, 3)), st.integers(1, 30_000), min_size=1),
    writers=st.integers(1, 4),
    blocks=st.integers(1, 5),
)
def test_writers_share_no_site_and_leave_nothing_out(rows: dict[tuple[int, int], int], writers: int, blocks: int) -> None:
    layout = RowLayout(Mask(), {LayerPair(a, a + span): {0: n} for (a, span), n in rows.items()}, ("clamping",), 1.0)
    waiting, running, done = layout.segments(blocks), list[Segment](), list[Segment]()
    assert sum(segment.rows for segment in waiting) == layout.edges
    while waiting or running:
        while len(running) < writers and (segment := next_segment(waiting, running)):
            assert not any(segment.pair.meets(other.pair) for other in running)
            waiting.remove(segment)
            running.append(segment)
        assert running
        done.append(running.pop(0))
    assert len(set(done)) == len(done)
    assert sum(segment.rows for segment in done) == layout.edges


def edge_table(root: Path) -> pa.Table:
    return pa.concat_tables(
        b.table for b in edge_blocks(root / "interactions.parquet", whole_layout(root / "interactions.parquet"), EDGE_FILE_COLUMNS)
    )


def test_an_edge_carries_the_effect_that_let_it_in(root: Path) -> None:
    table = edge_table(root)
    groups = edge_groups(table, [f"u{i}" for i in range(1_000)])
    rows = [(source, *row) for source, group in groups for row in group]
    for measured, row in zip(table.to_pylist(), rows, strict=True):
        edge = dict(zip(EDGE_PROPERTIES, row[2:], strict=True))
        lead = {"later": "later_strength", "direct": "direct_strength"}.get(measured["significant_by"], "mean_strength")
        assert row[:2] == (f"u{measured['src_fid']}", f"u{measured['tgt_fid']}")
        assert edge["strength"] == measured[lead]
        assert edge["total"] == (None if lead == "mean_strength" else measured["mean_strength"])
        assert edge["sign"] == (edge["strength"] > 0) - (edge["strength"] < 0)
        assert edge["structural"] == (measured["span"] == 1 or "direct" in measured["significant_by"])
        assert {name: edge[name] for name in EDGE_COLUMNS} == {name: measured[column] for name, column in EDGE_COLUMNS.items()}


ROW = st.tuples(st.text(max_size=3), st.floats(allow_nan=False), st.integers(-(2**63), 2**63 - 1), st.none() | st.booleans())
ROWS = st.lists(ROW, max_size=8)


@given(ROWS, st.randoms())
def test_the_digest_is_free_of_order_and_adds_up(rows: list[tuple[Any, ...]], random: Any) -> None:
    shuffled = random.sample(rows, len(rows))
    half = len(rows) // 2
    parts = digest.of_rows(rows[:half]), digest.of_rows(rows[half:])
    assert digest.of_rows(rows) == digest.of_rows(shuffled) == digest.add(*parts)


@given(ROWS.filter(bool))
def test_the_digest_sees_every_row(rows: list[tuple[Any, ...]]) -> None:
    assert digest.of_rows(rows) != digest.of_rows(rows[1:])
    assert digest.of_rows(rows) != digest.of_rows([*rows, rows[0]])


@pytest.mark.parametrize(
    "column",
    [
        "mean_strength",
        "q_later",
        "n_samples",
        "significant_by",
        "strength_jacobian",
        "tgt_fid",
        "standardised_effect",
        "q_computed",
        "specific_strength",
    ],
)
def test_digest_and_checksum_see_one_altered_value_and_values_that_changed_places(root: Path, column: str) -> None:
    frame = edge_table(root).to_pandas()
    indices = np.arange(1_000) ** 2
    uids = digest.words([f"u{i}" for i in range(1_000)])
    frame = frame[frame[column].notna()].reset_index(drop=True)
    at = np.flatnonzero(frame[column] != frame[column].iloc[0])[0]
    altered, swapped = frame.copy(), frame.copy()
    altered.loc[0, column] = frame[column].iloc[at]
    swapped.loc[[0, at], column] = frame.loc[[at, 0], column].to_numpy()

    def both(changed: pd.DataFrame) -> tuple[int, EdgeCheck]:
        table = pa.Table.from_pandas(changed, schema=edge_table(root).schema, preserve_index=False)
        return digest.edges_of_table(table, uids), checksum.of_table(table, indices)

    seen = [both(changed) for changed in (frame, altered, swapped)]
    assert len({total for total, _ in seen}) == len({check.checksum for _, check in seen}) == 3


def test_a_property_added_later_leaves_the_digest_of_earlier_runs_as_it_was(root: Path) -> None:
    """A run that earlier versions loaded lacks it: its edges, read from the database, give the digest without it."""
    table = edge_table(root)
    names = [f"u{i}" for i in range(1_000)]
    uids = digest.words(names)
    place = EDGE_PROPERTIES.index("standardised")
    rows = [(source, *row) for source, group in edge_groups(table, names) for row in group]
    earlier = [(*row[: 2 + place], None, *row[3 + place :]) for row in rows]
    assert earlier != rows
    without = digest.edges_of_table(table, uids, [name for name in digest.ADDED if name != "standardised"])
    assert digest.edges_of_rows(earlier) == without
    assert digest.edges_of_rows(rows) == digest.edges_of_table(table, uids) != without


@pytest.mark.parametrize(
    ("version", "added", "noted"),
    [
        (1, digest.FORMERLY, "f8aaf87591d70b34"),
        (1, (), "09caac6958acbb95"),
        (2, digest.SECOND, "2e9c5eed746a0865"),
        (3, digest.THIRD, "dd3918bc24277ad8"),
        (4, digest.ADDED, "8d84865712ddddd6"),
    ],
)
def test_digests_that_databases_hold_are_made_again(version: int, added: tuple[str, ...], noted: str) -> None:
    """Of the shipped run, as each version of this program wrote it into databases: a change here would make their runs fail to verify."""
    run = open_run(example_run())
    seen = validate(run)
    uids, total = digest.words(seen.features["uid"].tolist()), digest.observations_of_table(seen.features)
    for block in edge_blocks(run.interactions, seen.layout, EDGE_FILE_COLUMNS):
        total = digest.add(total, digest.edges_of_table(block.table, uids, added, version))
    assert digest.hex_of(total) == noted


def test_what_is_written_is_in_the_schema() -> None:
    edge = next(r for r in schema.RELATIONSHIPS if r.type == "AFFECTS")
    assert {p.name for p in edge.properties} == {*EDGE_PROPERTIES, "run", "run_id"}
    shown = {p.name for n in schema.NODES if n.label == "Feature" for p in n.properties}
    assert {*DISPLAYED, *schema.SCORE_NAMES, "scores", "scores_run"} <= shown
    assert set(EDGE_COLUMNS.values()) <= set(INTERACTIONS.names)
    seen = next(n for n in schema.NODES if n.label == "Observation")
    assert set(OBSERVATION_PROPERTIES) <= {p.name for p in seen.properties} & set(FEATURES.names)
    labels = {n.label for n in schema.NODES}
    assert {end for r in schema.RELATIONSHIPS for end in (r.source, r.target)} <= labels
    assert all(p.meaning for owner in (*schema.NODES, *schema.RELATIONSHIPS) for p in owner.properties)
    assert all(node.key in {p.name for p in node.properties} for node in schema.NODES)


def test_the_migrations_make_the_schema() -> None:
    assert [m.n for m in migrations()] == list(range(1, schema.VERSION + 1))
    made = [s.rstrip(";") for m in migrations() for s in m.statements if s.startswith("CREATE")]
    assert sorted(made) == sorted(schema.constraint_statements() + schema.index_statements())


@pytest.mark.parametrize(("name", "page"), [("schema.md", docs.schema_page), ("artifacts.md", docs.artifacts_page)])
def test_the_pages_are_current(name: str, page: Callable[[], str], tmp_path: Path) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == page(), "run: python -m ingest.docs"
    docs.main([str(tmp_path)])
    assert (tmp_path / name).read_text(encoding="utf-8") == page()


def test_the_script_says_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run"]) == 2
    assert "give --uri or set NEO4J_URI" in capsys.readouterr().err
