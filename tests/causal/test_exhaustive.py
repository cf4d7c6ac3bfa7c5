"""The exhaustive run finds what measuring every pair one list at a time finds, with the same numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from feature_graph.artifacts import CandidateSet, FrameFiles, InteractionSet
from feature_graph.interactions import Exhaustive, MeasureError, measure_exhaustive, measure_interactions
from feature_graph.interactions.exhaustive import run as run_module
from feature_graph.interactions.exhaustive.correct import PHistogram, adjust_kept
from feature_graph.interactions.exhaustive.disk import DiskWatch
from feature_graph.interactions.exhaustive.finish import entry_strength
from ingest.formats import CANDIDATES
from tests.support.interaction_stage import Stage

KEYS = ["src_id", "tgt_id"]
#: What only a candidate list knows, and what is 1 where p did not pass.
Q = ("q_value", "q_direct", "q_later", "q_computed")
OTHER = {
    "direct_sum",
    "specific_strength",
    "p_specific",
    "q_specific",
    "arm",
    "pmi",
    "coactivation_prob",
    "decoder_alignment",
    "src_fid",
    "tgt_fid",
    *Q,
    "placebo_quantile",
}


def exhaustive(stage: Stage, folder: Path, **arguments: object) -> Exhaustive:
    cfg = stage.cfg.model_copy(update={"targets": "all"} | arguments.pop("changes", {}))  # type: ignore[operator]
    return measure_exhaustive(
        stage.tiny.model,
        stage.tiny.saes,
        stage.store,
        cfg,
        folder / "interactions.parquet",
        parts_dir=folder / "parts",
        progress=False,
        **arguments,
    )


def every_pair(stage: Stage) -> InteractionSet:
    rows = [(s, i, t, j, 0.0, 0.0, 0, 0.0, "kept") for s, t in stage.cfg.layer_pairs for i in range(40) for j in range(40)]
    candidates = CandidateSet(pd.DataFrame(rows, columns=CANDIDATES.given), stage.store)
    return measure_interactions(stage.tiny.model, stage.tiny.saes, candidates, stage.cfg, progress=False)


def made(folder: Path, shape: str, kind: str, samples: int) -> Stage:
    return Stage(folder, shape, kind, n_intervention_samples=samples, min_documents=2, significance_level=0.2)


@dataclass(frozen=True)
class BothWays:
    """One model's pairs, measured by both ways."""

    stage: Stage
    pairwise: InteractionSet
    found: Exhaustive


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """For all that has nothing to do with the kind of model."""
    return made(tmp_path_factory.mktemp("exhaustive"), "gpt2", "topk", 14)


@pytest.fixture(scope="module")
def found(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Exhaustive:
    return exhaustive(stage, tmp_path_factory.mktemp("found"))


@pytest.fixture(scope="module", params=[pytest.param("llama-standard", marks=pytest.mark.long), "gpt2-topk", "gemma2-jumprelu"])
def both_ways(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, stage: Stage, found: Exhaustive) -> BothWays:
    shape, _, kind = request.param.partition("-")
    if shape == "gpt2":
        return BothWays(stage, every_pair(stage), found)
    other = made(tmp_path_factory.mktemp("exhaustive"), shape, kind, {"llama": 10, "gemma2": 14}[shape])
    return BothWays(other, every_pair(other), exhaustive(other, tmp_path_factory.mktemp("found")))


def test_the_same_edges_with_the_same_numbers(both_ways: BothWays) -> None:
    pairwise, found = both_ways.pairwise, both_ways.found
    one = pairwise.frame[pairwise.frame["significant"]].set_index(KEYS).sort_index()
    two = InteractionSet.load(found.path).frame.set_index(KEYS).sort_index()
    assert len(two) == found.n_edges
    assert len(one) > 50
    # Rounding may move a pair over its floor or level; hardly any.
    assert len(one.index.symmetric_difference(two.index)) <= 0.01 * len(one)
    both = one.index.intersection(two.index)
    one, two = one.loc[both], two.loc[both]
    for column in [c for c in one.columns if c not in OTHER]:
        if one[column].dtype.kind == "f":
            spread = max(float(one[column].abs().median()), 1e-3)
            np.testing.assert_allclose(two[column], one[column], rtol=2e-3, atol=2e-3 * spread, err_msg=column)
        elif column not in ("replicated", "significant_by"):
            assert (one[column] == two[column]).all(), column
    assert (one["significant_by"] == two["significant_by"]).mean() > 0.98
    for column in Q:
        passed = two[column] < 1
        assert passed.any()
        np.testing.assert_allclose(two[column][passed], one[column][passed], rtol=0.05, atol=1e-12, err_msg=column)


def test_families_and_what_was_left_out_are_reported(both_ways: BothWays) -> None:
    pairwise, found = both_ways.pairwise, both_ways.found
    assert found.n_tests == len(pairwise) == found.meta["families"]["total"]
    assert found.meta["sources"]["left_out"] == pairwise.meta["sources"]["left_out"]
    assert found.n_kept >= found.n_significant == found.n_edges
    assert found.meta["warnings"] == pairwise.meta["warnings"]  # how many edges the smallest p needs
    assert found.meta["placebos"]["floors"].keys() == pairwise.meta["placebos"]["floors"].keys()


def test_a_run_that_was_cut_off_goes_on_with_the_same_bytes(
    stage: Stage, found: Exhaustive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "BLOCK_SAMPLES", 4 * stage.cfg.n_intervention_samples)  # several blocks
    whole = exhaustive(stage, tmp_path / "a")
    again = exhaustive(stage, tmp_path / "b")
    assert whole.path.read_bytes() == again.path.read_bytes()
    parts = sorted((tmp_path / "b/parts").glob("*.parquet"))
    assert len(parts) > 10
    for part in parts[3:9]:
        part.unlink()
    parts[-1].write_bytes(b"half")
    again.path.unlink()
    assert exhaustive(stage, tmp_path / "b").path.read_bytes() == whole.path.read_bytes()


@pytest.mark.parametrize("which", ["-floors", "-sources", "-00000"])
def test_a_part_damaged_inside_is_found_when_it_is_reused(
    which: str, stage: Stage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = exhaustive(stage, tmp_path)
    expected = whole.path.read_bytes()
    part = next(path for path in sorted((tmp_path / "parts").glob("*.parquet")) if path.stem.endswith(which))
    sound = part.read_bytes()
    column = pq.read_metadata(part).row_group(0).column(0)
    first = column.dictionary_page_offset or column.data_page_offset
    flipped = bytearray(sound)
    flipped[first + column.total_compressed_size - 1] ^= 1  # the last byte of its last page
    part.write_bytes(bytes(flipped))
    assert exhaustive(stage, tmp_path).path.read_bytes() == expected
    assert f"{part.name} is damaged" in caplog.text
    assert part.read_bytes() == sound


def entered_with(edges: pd.DataFrame) -> list[float]:
    """|effect| that each edge is in the graph by: total, else direct, else the larger of what passed."""
    sizes = []
    for row in edges.itertuples():
        effects = {
            "total": row.mean_strength,
            "direct": row.direct_strength,
            "later": row.later_strength,
            "computed": row.computed_strength,
        }
        passed = {name: abs(effects[name]) for name in row.significant_by.split("+")}
        sizes.append(passed.get("total") or passed.get("direct") or max(passed.values()))
    return sizes


def test_an_edge_that_is_there_by_its_computed_effect_alone_is_ranked_by_it() -> None:
    rows = [
        ("total+computed", 0.5, -0.9),
        ("computed", 0.001, -0.7),
        ("later+computed", 0.002, 0.1),
        ("direct+later", 0.003, 0.0),
        ("later", 0.0, 0.8),
    ]
    frame = pd.DataFrame(rows, columns=["significant_by", "mean_strength", "computed_strength"])
    frame = frame.assign(direct_strength=[0.4, 0.0, 0.0, -0.3, 0.0], later_strength=[np.nan, np.nan, -0.6, 0.6, 0.05])
    assert entry_strength(frame).tolist() == entered_with(frame) == [0.5, 0.7, 0.6, 0.3, 0.05]


def test_only_the_strongest_edges_into_a_feature_are_kept(stage: Stage, found: Exhaustive, tmp_path: Path) -> None:
    cut = exhaustive(stage, tmp_path, changes={"max_edges_per_target": 3})
    frame, whole = InteractionSet.load(cut.path).frame, InteractionSet.load(found.path).frame
    assert frame.groupby("tgt_id").size().max() == 3
    assert cut.n_significant == found.n_significant > cut.n_edges == len(frame)
    for target, into in whole.assign(size=entered_with(whole)).groupby("tgt_id"):
        assert set(into.nlargest(3, "size")["src_id"]) == set(frame[frame["tgt_id"] == target]["src_id"])
    assert frame["src_fid"].max() < found.meta["sources"]["measured"] + 80  # numbered over the features that have an edge


def test_chosen_sources_and_little_memory(stage: Stage, found: Exhaustive, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = InteractionSet.load(found.path).frame.query("src_layer == 0")["src_id"].unique()[:3].tolist()
    some = exhaustive(stage, tmp_path / "some", sources={0: [int(name.split("F")[1]) for name in first]})
    frame = InteractionSet.load(some.path).frame
    assert (some.n_sources, len(frame) > 0) == (3, True)
    assert set(frame["src_id"]) <= set(first)
    with caplog.at_level("WARNING"):
        little = exhaustive(stage, tmp_path / "little", clean_bytes=300_000)
    assert "samples come from" in caplog.text
    assert little.meta["exhaustive"]["documents"] < 50
    assert little.n_sources > 0


def test_bad_input_is_refused_by_name(stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(MeasureError, match="correction_method: got 'holm'"):
        exhaustive(stage, tmp_path, changes={"correction_method": "holm"})
    with pytest.raises(MeasureError, match="interaction_method: got 'jacobian'"):
        exhaustive(stage, tmp_path, changes={"interaction_method": "jacobian"})
    with pytest.raises(MeasureError, match="L0_F40 does not exist"):
        exhaustive(stage, tmp_path, sources={0: [40]})
    with pytest.raises(MeasureError, match="no feature can be a source"):
        exhaustive(stage, tmp_path, sources={})
    kept = stage.store.sites[1]
    stage.store.sites[1] = replace(kept, hook="blocks.2.hook_resid_post")
    try:
        with pytest.raises(MeasureError, match="layer 1: the activations are of"):
            exhaustive(stage, tmp_path)
    finally:
        stage.store.sites[1] = kept


def test_a_disk_that_is_too_small_stops_the_run_before_it_is_full(tmp_path: Path, stage: Stage) -> None:
    parts = FrameFiles(tmp_path, "key")
    parts.get("a", lambda: pd.DataFrame({"x": np.arange(1000)}))
    with pytest.raises(MeasureError, match="max_edges_per_target"):
        DiskWatch(parts, 10**18, stage.cfg, 10).look("a", 1000, 10_000)
    DiskWatch(parts, 20_000, stage.cfg, 10).look("a", 1000, 10_000)


@given(
    st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1e-300, 1e-8, 0.001, 0.01, 0.049, 0.05, 1.0])), min_size=1, max_size=200),
    st.sampled_from(["fdr_bh", "fdr_by", "bonferroni"]),
    st.integers(1, 60),
)
def test_streamed_correction_equals_statsmodels(values: list[float], method: str, group: int) -> None:
    p, level = np.array(values), 0.05
    kept = p[p <= level]
    chunks = np.array_split(kept, 3)
    histogram = PHistogram()
    for chunk in chunks:
        histogram.add(chunk)
    adjusted = adjust_kept(histogram, lambda: iter(chunks), len(p), level, method, group)
    expected = multipletests(p, method=method)[1]
    found = adjusted.of(p)
    assert ((expected < level) == (found < level)).all()
    np.testing.assert_allclose(found[expected < level], expected[expected < level], rtol=1e-11, atol=1e-300)


def test_a_family_too_large_to_remember_loses_nothing_but_digits_of_q() -> None:
    p = np.random.default_rng(0).uniform(size=20_000) ** 3
    level, chunks = 0.05, [p[p <= 0.05]]
    histogram = PHistogram()
    histogram.add(chunks[0])
    found = adjust_kept(histogram, lambda: iter(chunks), len(p), level, "fdr_bh", group=500, remembered=100)
    expected = multipletests(p, method="fdr_bh")[1]
    q = found.of(p)
    assert len(found.p) < (expected < level).sum() / 1.02
    assert ((q < level) == (expected < level)).all()
    passed = expected < level
    assert (q[passed] >= expected[passed] * (1 - 1e-12)).all()
    np.testing.assert_allclose(q[passed], expected[passed], rtol=1e-3)
