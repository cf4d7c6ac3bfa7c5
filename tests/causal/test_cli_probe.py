"""``feature-graph probe`` on a tiny run: each kind is measured, printed and kept; what is wrong is said at once."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from feature_graph.artifacts import ActivationStore, DoseSet, GateSet, InsertionSet, InteractionSet, MediationSet, RunPaths
from feature_graph.cli import app
from feature_graph.config import Config
from feature_graph.interactions import gating_candidates, strongest_pairs
from feature_graph.interventions import SITE_PARTS
from feature_graph.pipeline import run as do
from tests.support.component_config import write_component_config
from tests.tiny_run import write_tiny_run

runner = CliRunner()
TABLES = {"doses": DoseSet, "insertion": InsertionSet, "mediation": MediationSet, "gating": GateSet}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Config:
    cfg = write_tiny_run(tmp_path_factory.mktemp("probe"), n_intervention_samples=30)
    for stage in ("collect", "atlas", "candidates", "measure"):
        do(cfg, only=stage)
    return cfg


@pytest.mark.parametrize("kind", sorted(TABLES))
def test_the_strongest_edges_are_measured_printed_and_kept(run: Config, kind: str) -> None:
    paths = RunPaths.of(run.output_dir)
    result = runner.invoke(app, ["--quiet", "probe", run.output_dir, "--kind", kind, "--top", "3", "--json"])
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    path = paths.measure(TABLES[kind].format.kind)
    kept = TABLES[kind].load(path)
    assert (printed["kind"], Path(printed["file"])) == (kind, path)
    frame = pd.DataFrame(printed["rows"])
    assert list(frame.columns) == kept.format.names
    pd.testing.assert_frame_equal(frame, kept.frame, check_dtype=False)
    edges = InteractionSet.load(paths.interactions)
    if kind == "gating":
        asked = {(t.a.id, t.b.id, t.target.id) for t in gating_candidates(edges, 3)}
        assert set(map(tuple, frame[["a_id", "b_id", "tgt_id"]].to_numpy())) <= asked
        assert len(frame) + len(printed["left_out"]) == len(asked)
    else:
        assert set(map(tuple, frame[["src_id", "tgt_id"]].to_numpy())) <= {(p.source.id, p.target.id) for p in strongest_pairs(edges, 3)}
    assert len(frame)
    shown = runner.invoke(app, ["--quiet", "probe", run.output_dir, "--kind", kind, "--top", "3"])
    assert shown.exit_code == 0, shown.output
    assert frame["tgt_id"].iloc[0] in shown.stdout
    assert f"written to {path}" in shown.stdout.replace("\n", "")


def test_edges_can_be_named(run: Config) -> None:
    some = InteractionSet.load(RunPaths.of(run.output_dir).interactions).frame.iloc[0]
    named = f"{some['src_id']}:{some['tgt_id']}"
    result = runner.invoke(app, ["--quiet", "probe", run.output_dir, "--pairs", named, "--json"])
    assert result.exit_code == 0, result.output
    assert {(row["src_id"], row["tgt_id"]) for row in json.loads(result.stdout)["rows"]} == {(some["src_id"], some["tgt_id"])}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--kind", "dose"], 2, "expected one of doses, insertion, mediation, gating"),
        (["--either"], 2, "only gating samples"),
        (["--pairs", "L0_F1"], 2, "expected a source and a target, such as L3_F1:L7_F5"),
        (["--pairs", "L0_F1:7"], 2, "got '7', expected L<layer>_F<index>"),
        (["--kind", "gating", "--pairs", "L0_F1:L1_F1"], 2, "expected two sources and a target"),
        (["--pairs", "L0_F999:L1_F1"], 2, "got L0_F999; the SAE of layer 0 has 40 features"),
        (["--pairs", "L1_F1:L0_F1"], 1, "runs backwards"),
        (["--pairs", "L0_F1:L9_F1"], 2, "has the layers 0, 1"),
        (["--kind", "gating", "--pairs", "L0_F1+L0_F1:L1_F1"], 1, "names one source twice"),
    ],
)
def test_what_cannot_be_measured_is_said(run: Config, arguments: list[str], code: int, message: str) -> None:
    result = runner.invoke(app, ["--quiet", "probe", run.output_dir, *arguments], env={"COLUMNS": "400"})
    assert result.exit_code == code, result.output
    assert message in " ".join(result.output.replace("│", " ").split())


def test_a_run_without_activations_or_edges_is_told_what_is_missing(run: Config, tmp_path: Path) -> None:
    run.save(tmp_path / "config.json")
    lacking = runner.invoke(app, ["probe", str(tmp_path)])
    assert lacking.exit_code == 1
    assert "activations.h5: no such file" in lacking.output.replace("\n", "")
    paths, empty = RunPaths.of(run.output_dir), RunPaths.of(tmp_path)
    edges = InteractionSet.load(paths.interactions)
    empty.activations.write_bytes(paths.activations.read_bytes())
    InteractionSet(edges.frame.assign(significant=False, significant_by=""), edges.meta).save(empty.interactions)
    nothing = runner.invoke(app, ["--quiet", "probe", str(tmp_path), "--kind", "gating"])
    assert nothing.exit_code == 1
    assert "has no two significant edges onto one target" in nothing.output.replace("\n", "")


def test_edges_of_a_run_with_dictionaries_on_components_are_split_by_them(tmp_path: Path) -> None:
    cfg = write_component_config(tmp_path)
    cfg.save(tmp_path / "components.yaml")
    assert runner.invoke(app, ["-q", "run", str(tmp_path / "components.yaml"), "--only", "collect"]).exit_code == 0
    store = ActivationStore.load(RunPaths.of(cfg.output_dir).activations)
    often = {str(key): f"{key}_F{int(store.feature_frequencies[key].argmax())}" for key in store.layers}
    words = ["-q", "probe", cfg.output_dir, "--kind", "mediation", "--pairs"]
    done = runner.invoke(app, [*words, f"{often['L0']}:{often['L2']},{often['L1.attn']}:{often['L1.tc']}", "--json"])
    assert done.exit_code == 0, done.output
    rows = pd.DataFrame(json.loads(done.stdout)["rows"])
    whole = rows[rows["src_id"] == often["L0"]].set_index("component")["strength"]
    assert list(whole.index) == ["total", *SITE_PARTS]
    assert whole.drop("total").sum() == pytest.approx(whole["total"], rel=1e-3, abs=1e-4)
    assert whole["skip"] != 0  # the MLP of block 1 has a skip transcoder
    inside = rows[rows["src_id"] == often["L1.attn"]].set_index("component")["strength"]
    assert inside["direct"] == pytest.approx(inside["total"], rel=1e-4)  # attention's output is read by the MLP of its block
    refused = runner.invoke(app, ["-q", "probe", cfg.output_dir, "--pairs", f"{often['L0']}:{often['L2']}", "--json"])
    assert refused.exit_code != 0
    assert "alone" in json.loads(refused.stdout)["error"]  # doses are measured between residual SAEs
