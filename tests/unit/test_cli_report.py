from __future__ import annotations

import json
from pathlib import Path

import typer
from typer.testing import CliRunner

from feature_graph.cli.analyze import analyze
from feature_graph.cli.report import report
from feature_graph.graph import load_graph
from tests.support.report_run import make_run

app = typer.Typer()
app.command()(report)
app.command()(analyze)
runner = CliRunner()


def test_report_command_writes_the_page(tmp_path: Path) -> None:
    paths = make_run(tmp_path / "run")
    result = runner.invoke(app, ["report", str(paths.root)])
    assert result.exit_code == 0
    assert result.stdout.strip() == str(paths.report)
    assert paths.report.is_file()


def test_analyze_prints_tables_and_json(tmp_path: Path) -> None:
    paths = make_run(tmp_path)
    table = runner.invoke(app, ["analyze", str(paths.root), "--metric", "pagerank", "--top", "3"])
    assert table.exit_code == 0
    for piece in ("Interaction graph", "Hubs", "pagerank", "Communities", "feed forward loop"):
        assert piece in table.output
    result = runner.invoke(
        app, ["analyze", str(paths.graphml), "--format", "json", "--all", "--effect", "computed", "--collapse", "nothing"]
    )
    found = json.loads(result.stdout)
    graph = load_graph(paths.graph_json)
    assert found["statistics"]["n_edges"] == graph.number_of_edges()
    assert found["counted_edges"] == sum(abs(d["computed"]) >= d["floor"] for *_, d in graph.edges(data=True))
    assert len(found["hubs"]) == 10


def test_analyze_refuses_unknown_choices(tmp_path: Path) -> None:
    paths = make_run(tmp_path)
    for option, value in (("--metric", "fame"), ("--effect", "magic"), ("--format", "xml")):
        result = runner.invoke(app, ["analyze", str(paths.root), option, value])
        assert result.exit_code == 2
        assert f"got '{value}'" in " ".join(result.output.replace("│", " ").split())
