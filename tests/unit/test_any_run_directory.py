"""Commands on run directories that another program wrote: everything optional left out, nothing significant, one feature, an import."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import networkx as nx
import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from feature_graph.artifacts import ArtifactError
from feature_graph.cli import app
from feature_graph.graph import GraphFileError, graph_of_run
from ingest.attribution_graphs.__main__ import main as import_graph
from ingest.formats import FEATURES, INTERACTIONS, FileFormat, write_table
from tests.attribution_json import random_document

runner = CliRunner()
SEED = {"id": "L0_F5", "effect": 0.5, "rank": 1}
BEHAVIOR = {"name": "recall", "prompts": ["The capital of France"], "metric": "logit_difference", "confirmed": True, "seeds": [SEED]}


def put(root: Path, fmt: FileFormat, rows: list[dict[str, object]]) -> None:
    """A table with only these columns filled."""
    table = pa.table({c.name: pa.array([row.get(c.name) for row in rows], fmt.schema.field(c.name).type) for c in fmt.columns})
    write_table(root / fmt.name, fmt, table)


def write(root: Path, n: int = 4, edges: int = 3, significant: bool = True, label: str = "some", twice: bool = False) -> Path:
    """``n`` features, one per layer, in a chain of attribution edges 0.5, −0.25, 0.5 …; only what must be given is."""
    root.mkdir()
    (root / "config.json").write_text(json.dumps({"seed": 0}))
    features = [
        {"fid": i, "id": f"L{i}_F5", "uid": f"toy@00000001/rel/sae.{i}/5", "layer": i, "index": 5, "hook": f"blocks.{i}.hook_resid_post",
         "label": label and f"{label} {i}", "dead": False, "neuronpedia_url": ""}
        for i in range(n)
    ]  # fmt: skip
    if twice:
        features += [f | {"fid": i + n, "uid": f"toy@00000001/other/sae.{i}/5"} for i, f in enumerate(features)]
    strengths = [0.5 if i % 2 == 0 else -0.25 for i in range(edges)]
    interactions = [
        {"src_fid": i, "tgt_fid": i + 1, "src_id": f"L{i}_F5", "tgt_id": f"L{i + 1}_F5", "src_layer": i, "tgt_layer": i + 1,
         "method": "attribution", "interaction_type": "excitatory" if w > 0 else "inhibitory", "span": 1, "blocks": 1, "mean_strength": w,
         "abs_strength": abs(w), "direct_strength": w, "preactivation_strength": w, "significant": significant,
         "significant_by": "direct" if significant else "", "n_samples": 1, "n_documents": 1, "n_later": 0,
         "n_confirm": 0, "arm": "attribution"}
        for i, w in enumerate(strengths)
    ]  # fmt: skip
    put(root, FEATURES, features)
    put(root, INTERACTIONS, interactions)
    return root


def with_behaviors(root: Path, behaviors: list[dict[str, object]]) -> Path:
    (root / "behaviors.json").write_text(json.dumps({"kind": "behaviors", "version": 1, "behaviors": behaviors}))
    return root


def imported(root: Path) -> Path:
    graph = root.parent / "graph.json"
    graph.write_text(json.dumps(random_document()))
    assert import_graph([str(graph), str(root)]) == 0
    return root


CASES: dict[str, tuple[Callable[[Path], Path], int]] = {
    "least": (write, 3),
    "behaviours": (lambda root: with_behaviors(write(root), [BEHAVIOR, {**BEHAVIOR, "name": "other", "seeds": [], "confirmed": False}]), 3),
    "no behaviours": (lambda root: with_behaviors(write(root), []), 3),
    "no labels": (lambda root: write(root, label=""), 3),
    "no edges": (lambda root: write(root, edges=0), 0),
    "nothing significant": (lambda root: write(root, significant=False), 0),
    "one feature": (lambda root: write(root, n=1, edges=0), 0),
    "imported": (imported, 194),
}


@pytest.fixture(params=CASES, ids=[name.replace(" ", "_") for name in CASES])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, int]:
    make, edges = CASES[request.param]
    return make(tmp_path / "run"), edges


def ask(*arguments: str) -> tuple[int, str]:
    result = runner.invoke(app, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result.exit_code, result.output


def test_report_analyze_and_motifs_work(case: tuple[Path, int]) -> None:
    root, edges = case
    code, text = ask("report", str(root))
    assert (code, (root / "report.html").is_file()) == (0, True), text
    page = (root / "report.html").read_text()
    assert ("There are no edges." in page) == (edges == 0)
    for extra in ([], ["--all"]):
        code, text = ask("analyze", str(root), "--format", "json", *extra)
        assert code == 0, text
        assert json.loads(text[text.index("{") :])["statistics"]["n_edges"] == edges
    code, text = ask("motifs", str(root), "--json")
    assert code == 0, text


def test_what_needs_the_model_says_so_in_one_sentence(case: tuple[Path, int]) -> None:
    root, _ = case
    for command in (
        ["steer", str(root), "--feature", "L0_F5"],
        ["validate", str(root)],
        ["pruning-recall", str(root)],
        ["probe", str(root)],
    ):
        code, text = ask(*command)
        assert code in (1, 2)
        said = " ".join(text.split())
        assert "activations.h5: no such file" in said or "was written by another program" in said, said
        assert "unknown field" not in said, said


def test_a_behaviour_needs_a_name_only(tmp_path: Path) -> None:
    root = with_behaviors(write(tmp_path / "run"), [{"name": "bare"}])
    assert ask("report", str(root))[0] == 0
    with_behaviors(root, [{"description": "no name"}])
    assert ask("report", str(root))[0] == 0
    assert "a behaviour without a name; see docs/artifacts.md" in (root / "report.html").read_text()


def test_ids_that_stand_for_two_features_are_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "run", twice=True)
    with pytest.raises(GraphFileError, match=r"4 short ids stand for two features or more \(L0_F5 …\)"):
        graph_of_run(root)
    for command in ("report", "analyze", "motifs"):
        code, text = ask(command, str(root))
        assert (code, "short ids stand for two features" in " ".join(text.split())) == (1, True)


def test_the_graph_of_a_run_is_that_of_its_file_or_its_edges(tmp_path: Path) -> None:
    built = graph_of_run(write(tmp_path / "run"))
    assert [(u, v, d["strength"]) for u, v, d in built.edges(data=True)] == [
        ("L0_F5", "L1_F5", 0.5), ("L1_F5", "L2_F5", -0.25), ("L2_F5", "L3_F5", 0.5),
    ]  # fmt: skip
    assert built.nodes["L0_F5"]["label"] == "some 0"
    assert all(d["structural"] and pd.isna(d["standardised"]) for *_, d in built.edges(data=True))
    assert isinstance(built, nx.DiGraph)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ArtifactError, match=r"neither graph.json nor interactions.parquet"):
        graph_of_run(tmp_path / "nothing")
