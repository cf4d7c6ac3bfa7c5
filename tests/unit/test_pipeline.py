"""The order of stages, what makes one stale, resuming, forcing, failing: with small stages that only write text."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_graph.artifacts import ArtifactError, RunPaths
from feature_graph.config import OUTSIDE_HASH, Config
from feature_graph.pipeline import STAGE_NAMES, STAGES, Manifest, ManifestError, RunLocked, StageRecord, StaleInput, run, status
from feature_graph.pipeline.fingerprint import FileMark, combined, mark_files
from feature_graph.pipeline.lock import is_locked, locked
from feature_graph.pipeline.plan import why_stale
from feature_graph.pipeline.runner import run_with
from feature_graph.pipeline.stage_functions import RunContext, StageFunctions, StageResult
from feature_graph.pipeline.stages import stage_named, stages_of

TEXT_OF = {
    "collect": "n_tokens",
    "atlas": "layer_window",
    "responses": "response_samples",
    "seeds": "activity_threshold",
    "candidates": "top_k_features",
    "measure": "n_intervention_samples",
    "graph": "significance_level",
    "behaviors": "seed",
    "report": "seed",
}


@pytest.fixture
def cfg(tmp_path: Path) -> Config:
    return Config(output_dir=str(tmp_path / "run"), dataset=str(tmp_path / "absent.txt"))


def writing_work(calls: list[str], before: Callable[[str, RunContext], None] = lambda name, context: None) -> StageFunctions:
    """Stages that write, into each of their files, one field of the configuration and the length of what they read."""

    def make(name: str) -> Callable[[RunContext], StageResult]:
        stage = stage_named(name)

        def do(context: RunContext) -> StageResult:
            calls.append(name)
            before(name, context)
            inputs = next((s.inputs for s in stages_of(context.cfg) if s.name == name), stage.inputs)
            read = "".join((context.paths.root / file).read_text() for file in inputs)
            for file in stage.outputs:
                (context.paths.root / file).write_text(f"{name} {getattr(context.cfg, TEXT_OF[name])} {hash_of(read)}\n")
            return StageResult(len(read), {"files": len(inputs)}, {"model": {"name": "m", "hash": "0"}} if name == "collect" else {})

        return do

    return {name: make(name) for name in STAGE_NAMES}


def hash_of(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()[:8]


# --- declarations ---


def test_every_field_that_decides_a_result_belongs_to_a_stage() -> None:
    declared = set().union(*(stage.fields for stage in STAGES))
    assert declared == set(Config.model_fields) - OUTSIDE_HASH


def test_stages_read_only_what_earlier_stages_write() -> None:
    written: set[str] = set()
    for stage in STAGES:
        assert set(stage.inputs) <= written, stage.name
        assert not set(stage.outputs) & written, stage.name
        written |= set(stage.outputs)


def test_stage_names_are_in_order_and_known() -> None:
    assert tuple(stage.name for stage in STAGES) == STAGE_NAMES
    with pytest.raises(ValueError, match="'colect'; the stages are collect, atlas"):
        stage_named("colect")


@given(st.sampled_from(sorted(OUTSIDE_HASH)))
def test_fields_of_speed_and_place_are_in_no_stage(field: str) -> None:
    assert all(field not in stage.fields for stage in STAGES)


# --- running ---


def test_a_first_run_does_all_and_a_second_nothing(cfg: Config) -> None:
    calls: list[str] = []
    work = writing_work(calls)
    first = run_with(work, cfg)
    names = [stage.name for stage in stages_of(cfg)]
    assert calls == names == first.done
    assert "responses" not in names
    second = run_with(work, cfg)
    assert second.done == []
    assert calls == names
    assert [o.rows for o in second.outcomes] == [o.rows for o in first.outcomes]


def test_responses_are_measured_where_they_choose_the_candidates(cfg: Config) -> None:
    calls: list[str] = []
    run_with(writing_work(calls), cfg)
    calls.clear()
    with_responses = cfg.model_copy(update={"candidates": "responses"})
    run_with(writing_work(calls), with_responses)
    assert calls[:3] == ["responses", "seeds", "candidates"]
    assert stages_of(with_responses) == STAGES
    calls.clear()
    run_with(writing_work(calls), with_responses.model_copy(update={"response_samples": 9}))
    assert calls[:2] == ["responses", "candidates"]
    calls.clear()
    run_with(writing_work(calls), with_responses.model_copy(update={"response_samples": 9, "behaviors": []}))
    assert calls == ["seeds", "behaviors", "report"]  # the seeds are the same, since this stand-in writes another field into them
    calls.clear()
    run_with(writing_work(calls), cfg)  # back to pruning: the responses lie there, and are not read
    assert calls[0] == "candidates"
    assert not {"responses", "seeds"} & {found.stage for found in status(cfg.output_dir).stages}


def test_a_stage_that_the_run_leaves_out_can_be_asked_for_by_name(cfg: Config) -> None:
    calls: list[str] = []
    run_with(writing_work(calls), cfg, only="collect")
    run_with(writing_work(calls), cfg, only="responses")
    assert calls == ["collect", "responses"]


def test_a_changed_field_redoes_its_stage_and_what_reads_its_files(cfg: Config, caplog: pytest.LogCaptureFixture) -> None:
    calls: list[str] = []
    run_with(writing_work(calls), cfg)
    calls.clear()
    caplog.set_level(logging.INFO, logger="feature_graph")
    result = run_with(writing_work(calls), cfg.model_copy(update={"top_k_features": 7}))
    assert calls == ["candidates", "measure", "graph", "behaviors", "report"]
    assert result.outcomes[2].reason == "top_k_features 100 → 7"
    assert result.outcomes[3].reason == "what it reads changed: candidates.parquet"
    assert "configuration changed since the last run here: top_k_features" in caplog.text
    assert Config.load(RunPaths.of(cfg.output_dir).config).top_k_features == 7


def test_a_change_that_changes_no_file_stops_there(cfg: Config) -> None:
    calls: list[str] = []
    run_with(writing_work(calls), cfg)
    calls.clear()
    run_with(writing_work(calls), cfg.model_copy(update={"rescue_fraction": 0.5}))
    assert calls == ["candidates", "report"]


@pytest.mark.parametrize("field", sorted(OUTSIDE_HASH - {"output_dir"}))
def test_speed_and_place_redo_nothing(cfg: Config, field: str) -> None:
    calls: list[str] = []
    run_with(writing_work(calls), cfg)
    run_with(writing_work(calls), cfg.model_copy(update={field: {"device": "cuda", "batch_size": 3}[field]}))
    assert calls == [stage.name for stage in stages_of(cfg)]


def test_a_run_directory_may_move(cfg: Config, tmp_path: Path) -> None:
    calls: list[str] = []
    run_with(writing_work(calls), cfg)
    Path(cfg.output_dir).rename(tmp_path / "elsewhere")
    run_with(writing_work(calls), cfg.model_copy(update={"output_dir": str(tmp_path / "elsewhere")}))
    assert calls == [stage.name for stage in stages_of(cfg)]


def test_an_edited_or_missing_artifact_is_made_again(cfg: Config) -> None:
    calls: list[str] = []
    run_with(writing_work(calls), cfg)
    root = Path(cfg.output_dir)
    original = (root / "atlas.h5").read_text()
    (root / "atlas.h5").write_text("edited")
    (root / "report.html").unlink()
    calls.clear()
    result = run_with(writing_work(calls), cfg)
    assert calls == ["atlas", "report"]
    assert (root / "atlas.h5").read_text() == original
    assert [o.reason for o in result.outcomes if o.action == "done"] == ["atlas.h5 is not what this stage wrote", "report.html is missing"]


def test_a_changed_text_file_redoes_the_collection(cfg: Config, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("one")
    cfg = cfg.model_copy(update={"dataset": str(text)})
    calls: list[str] = []
    run_with(writing_work(calls), cfg)
    calls.clear()
    text.write_text("two")
    result = run_with(writing_work(calls), cfg)
    assert calls == ["collect"]
    assert result.outcomes[0].reason == "what it reads changed: dataset"


def test_only_does_one_stage_and_needs_the_earlier_ones(cfg: Config) -> None:
    calls: list[str] = []
    work = writing_work(calls)
    with pytest.raises(StaleInput, match=r"atlas needs collect, which is not up to date in .* \(not done yet\); run collect first"):
        run_with(work, cfg, only="atlas")
    run_with(work, cfg, only="collect")
    run_with(work, cfg, only="atlas")
    assert calls == ["collect", "atlas"]
    with pytest.raises(StaleInput, match="n_tokens 40000 → 64"):
        run_with(work, cfg.model_copy(update={"n_tokens": 64}), only="candidates")
    assert Config.load(RunPaths.of(cfg.output_dir).config).n_tokens == 40_000


def test_only_does_not_ask_for_stages_it_does_not_read(cfg: Config) -> None:
    calls: list[str] = []
    work = writing_work(calls)
    run_with(work, cfg)
    (Path(cfg.output_dir) / "graph.graphml").unlink()
    run_with(work, cfg, only="measure")
    assert calls == [stage.name for stage in stages_of(cfg)]


def test_from_does_a_stage_and_all_after_it_again(cfg: Config) -> None:
    calls: list[str] = []
    work = writing_work(calls)
    run_with(work, cfg)
    calls.clear()
    run_with(work, cfg, from_="measure")
    assert calls == ["measure", "graph", "behaviors", "report"]


def test_only_and_from_exclude_each_other(cfg: Config) -> None:
    with pytest.raises(ValueError, match="give one of them"):
        run(cfg, only="atlas", from_="atlas")


# --- what is left after a failure ---


class Cut(Exception):
    pass


def cut_at(stage: str, kind: type[BaseException]) -> Callable[[str, RunContext], None]:
    def before(name: str, context: RunContext) -> None:
        if name == stage:
            (context.paths.parts(name) / "block-0").write_text("half of it")
            raise kind("cut")

    return before


@pytest.mark.parametrize(
    ("kind", "state", "reason"), [(Cut, "failed", "failed last time"), (KeyboardInterrupt, "interrupted", "was interrupted")]
)
def test_a_failed_stage_keeps_its_parts_and_goes_on(cfg: Config, kind: type[BaseException], state: str, reason: str) -> None:
    with pytest.raises(kind):
        run_with(writing_work([], cut_at("measure", kind)), cfg)
    paths = RunPaths.of(cfg.output_dir)
    record = Manifest.load(paths.manifest).stages["measure"]
    assert (record.state, record.error) == (state, f"{kind.__name__}: cut")
    seen: list[bool] = []
    calls: list[str] = []
    result = run_with(writing_work(calls, lambda name, context: seen.append((context.paths.parts(name) / "block-0").exists())), cfg)
    assert calls == ["measure", "graph", "behaviors", "report"]
    assert seen[0]
    assert result.outcomes[3].reason == reason
    assert not paths.parts("collect").exists()


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [("significance_level", 0.01, True), ("placebo_quantile", 0.5, True), ("min_effect", 0.5, False), ("n_placebo", 3, False)],
)
def test_measured_blocks_outlive_a_change_of_what_is_done_with_them(cfg: Config, field: str, value: float, kept: bool) -> None:
    paths = RunPaths.of(cfg.output_dir)
    run_with(writing_work([]), cfg)
    (paths.parts("measure") / "block-0").write_text("measured")
    calls: list[str] = []
    seen: list[bool] = []
    work = writing_work(calls, lambda name, context: seen.append((context.paths.parts("measure") / "block-0").exists()))
    run_with(work, cfg.model_copy(update={field: value}))
    assert calls[0] == "measure"
    assert seen[0] is kept
    run_with(work, cfg.model_copy(update={field: value}), from_="measure")
    assert not (paths.parts("measure") / "block-0").exists()


def test_parts_of_another_configuration_are_removed(cfg: Config) -> None:
    with pytest.raises(Cut):
        run_with(writing_work([], cut_at("measure", Cut)), cfg)
    seen: list[bool] = []
    other = cfg.model_copy(update={"n_intervention_samples": 5})
    run_with(writing_work([], lambda name, context: seen.append((context.paths.parts(name) / "block-0").exists())), other)
    assert not any(seen)


def test_the_lock_is_free_after_a_failure(cfg: Config) -> None:
    with pytest.raises(Cut):
        run_with(writing_work([], cut_at("atlas", Cut)), cfg)
    assert not is_locked(RunPaths.of(cfg.output_dir).lock)


def test_half_files_of_a_killed_process_are_swept(cfg: Config) -> None:
    root = Path(cfg.output_dir)
    (root / "measure.parts").mkdir(parents=True)
    halves = [root / ".atlas.h5.x1.part", root / "measure.parts" / ".block-0.x2.part"]
    for half in halves:
        half.write_text("half")
    run_with(writing_work([]), cfg)
    assert not any(half.exists() for half in halves)


# --- status ---


def test_status_says_what_stands(cfg: Config) -> None:
    with pytest.raises(ArtifactError, match="no run directory"):
        status(cfg.output_dir)
    with pytest.raises(Cut):
        run_with(writing_work([], cut_at("candidates", Cut)), cfg)
    found = status(cfg.output_dir)
    assert [s.state for s in found.stages] == ["up to date"] * 2 + ["not up to date"] * 5
    assert found.stages[2].reason == "failed last time"
    assert found.stages[2].n_parts == 1
    assert not found.complete
    assert found.holder == ""
    run_with(writing_work([]), cfg)
    assert status(cfg.output_dir).complete


# --- the lock ---


def test_a_second_process_is_told_who_holds_the_directory(cfg: Config) -> None:
    paths = RunPaths.of(cfg.output_dir)
    lines = (
        "import sys; from pathlib import Path; from feature_graph.pipeline.lock import locked",
        "with locked(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()",
    )
    command = [sys.executable, "-c", "\n".join(lines), str(paths.lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "in\n"
        with pytest.raises(RunLocked, match=f"in use by process {other.pid} on .* since .*; wait for it to end"):
            run_with(writing_work([]), cfg)
        other.kill()
    run_with(writing_work([]), cfg)


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    lock = tmp_path / "run" / ".lock"
    with locked(lock):
        assert is_locked(lock)
        assert json.loads(lock.read_text())["pid"] > 0
    assert not is_locked(lock)


# --- manifest and fingerprints ---

_texts = st.text(st.characters(codec="utf-8"), max_size=8)
_marks = st.builds(FileMark, _texts, st.integers(0, 2**40), st.integers(0, 2**60))
_records = st.builds(
    StageRecord,
    state=st.sampled_from(["running", "done", "failed", "interrupted"]),
    config_hash=_texts,
    config=st.dictionaries(_texts, st.none() | st.integers() | _texts | st.lists(st.integers(), max_size=3), max_size=3),
    inputs=st.dictionaries(_texts, _texts, max_size=3),
    started=_texts,
    seconds=st.floats(0, 1e6),
    rows=st.integers(0, 2**40),
    counts=st.dictionaries(_texts, st.integers(), max_size=2),
    artifacts=st.dictionaries(_texts, _marks, max_size=2),
    error=_texts,
)


@given(st.dictionaries(st.sampled_from(STAGE_NAMES), _records, max_size=3), st.dictionaries(_texts, _marks, max_size=2))
def test_a_manifest_reads_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, stages: dict[str, StageRecord], sources: dict[str, FileMark]
) -> None:
    path = tmp_path_factory.mktemp("manifest") / "manifest.json"
    manifest = Manifest(seed=3, config_hash="c", created="t", sources=sources, stages=stages)
    manifest.save(path)
    assert Manifest.load(path) == manifest
    values = json.loads(path.read_text())
    assert (values["kind"], values["version"]) == ("manifest", 1)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"kind": "manifest"}', '{"kind": "manifest", "version": 99}', '{"kind": "manifest", "version": 1, "stages": 3}'],
)
def test_a_damaged_manifest_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(ManifestError, match=r"manifest\.json"):
        Manifest.load(path)


def test_an_untouched_file_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("a")
    mark = FileMark.of(path)
    assert FileMark.of(path, replace(mark, sha256="as known")).sha256 == "as known"
    path.write_text("ab")
    assert FileMark.of(path, replace(mark, sha256="as known")).sha256 == FileMark.of(path).sha256


def test_files_of_one_name_in_two_folders_both_count(tmp_path: Path) -> None:
    for layer in ("a", "b"):
        (tmp_path / layer).mkdir()
        (tmp_path / layer / "cfg.json").write_text(layer)
    before = combined(mark_files([tmp_path], {}))
    (tmp_path / "a" / "cfg.json").write_text("changed")
    assert combined(mark_files([tmp_path], {})) != before


def test_a_new_version_of_a_stage_makes_it_stale(cfg: Config) -> None:
    run_with(writing_work([]), cfg)
    manifest = Manifest.load(RunPaths.of(cfg.output_dir).manifest)
    newer = replace(stage_named("atlas"), version=2)
    assert why_stale(newer, cfg, Path(cfg.output_dir), manifest) == "this program computes it differently"
    assert why_stale(stage_named("atlas"), cfg, Path(cfg.output_dir), manifest) == ""


def test_an_unknown_behaviour_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"got 'factual recal', expected one of factual_recall, .*sentiment"):
        run(Config(layers=[0, 1], behaviors=["factual recal"], output_dir=str(tmp_path / "run")))
    assert not (tmp_path / "run").exists()
