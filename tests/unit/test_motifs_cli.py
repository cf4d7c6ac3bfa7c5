"""The command ``motifs`` on files, and the pictures of motifs."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from feature_graph.cli import app
from feature_graph.graph import build_interaction_graph, load_graph, restated, save_graph, structural
from feature_graph.motifs import TYPES, census, count_pattern, null_test
from feature_graph.visualization import motif_svg, plot_motif_nulls, render_motif_page
from tests.strategies import random_interactions


@pytest.fixture(scope="module")
def graph_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    graph = build_interaction_graph(random_interactions(5, 12, 500, seed=4, window=3))
    return save_graph(graph, tmp_path_factory.mktemp("graphs") / "graph.json")


def ask(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["motifs", *map(str, arguments)], env={"COLUMNS": "200"})


def test_counts_are_those_of_the_structural_graph(graph_file: Path) -> None:
    whole = load_graph(graph_file)
    by_strength, plain = (("--effect", "strength"), structural(whole))
    for options, graph in (((), restated(plain, "specific")), (by_strength, plain), (("--all", *by_strength), whole)):
        done = ask(graph_file, *options, "--json")
        assert done.exit_code == 0, done.output
        assert {row["motif"]: row["count"] for row in json.loads(done.stdout)} == census(graph).counts
        assert f"{graph.size():,} edges, by their {'strength' if options else 'specific effect'}" in done.stderr
    table = ask("--graph", graph_file).stdout
    assert "ffl_i1" in table
    assert "inhibition of an excitation" in table
    spans = json.loads(ask(graph_file, "--by-span", "--json").stdout)
    assert {"motif", "first_span", "second_span", "count"} == set(spans[0])


def test_a_pattern_is_counted_and_its_strongest_matches_shown(graph_file: Path) -> None:
    text = "A -> B; B ~> C [span <= 2]; A ~> C"
    done = ask(graph_file, "--pattern", text, "--limit", 3, "--json")
    found = json.loads(done.stdout)
    assert found["count"] == count_pattern(restated(structural(load_graph(graph_file)), "specific"), text) > 3
    assert [set(m) for m in found["matches"]] == [{"A", "B", "C", "strengths", "weakest"}] * 3
    shown = ask(graph_file, "--pattern", text, "--limit", 3).stdout
    assert f"{found['count']:,} matches of {text}" in shown
    assert found["matches"][0]["A"] in shown


def test_a_wrong_pattern_is_shown_with_its_place(graph_file: Path) -> None:
    done = ask(graph_file, "--pattern", "A -> B; B ? C")
    assert done.exit_code == 2
    assert "line 1, column 11: got '?'" in done.stderr
    assert "  A -> B; B ? C\n            ^" in done.stderr


def test_null_graphs_give_figures_examples_and_a_page(graph_file: Path, tmp_path: Path) -> None:
    page = tmp_path / "pictures" / "motifs.html"
    asked = (graph_file, "--null", 30, "--seed", 3, "--json")
    one = json.loads(ask(*asked, "--workers", 1, "--output", page).stdout)
    assert one == json.loads(ask(*asked, "--workers", 2).stdout)
    graph = restated(structural(load_graph(graph_file)), "specific")
    table = null_test(graph, 30, 3).table
    assert [row["count"] for row in one["motifs"]] == table["count"].tolist()
    assert one["mixing"]["accepted_per_edge"] > 0
    kinds = {row["motif"]: row for row in one["motifs"]}
    for names in kinds["ffl_i1"]["examples"]:
        signs = [graph.edges[names[a], names[b]]["strength"] < 0 for a, b in ((0, 1), (1, 2), (0, 2))]
        assert signs == [False, True, False]
    text = page.read_text()
    assert text.count('class="fg-card fg-motif"') == len(TYPES)
    assert "null graphs" in text
    assert "null graphs" in ask(graph_file, "--null", 30).stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give a run directory, a graph file or the id of a run"),
        (("--pattern", "A -> B", "--null", "20"), "--pattern asks for one motif"),
        (("--keep",), "give --null 200"),
        (("--null", "20", "--keep"), "give its id, not a file"),
        (("--null", "5"), "got 5 nulls"),
    ],
)
def test_what_does_not_go_together_is_said(graph_file: Path, options: tuple[str, ...], message: str) -> None:
    done = ask(*([] if not options else [graph_file]), *options)
    assert done.exit_code in (1, 2)
    assert message in " ".join(done.stderr.split())


def test_the_cypher_of_a_pattern_can_be_read() -> None:
    shown = ask("--pattern", 'A:"L3_F1" -> B@5', "--show").stdout
    assert '// parameters: {"feature0": "L3_F1", "low1": 5, "high1": 5}' in shown
    assert "-[e0:AFFECTS {run: run.n, method: $method}]->" in shown


def test_pictures_hold_every_letter_and_edge() -> None:
    for kind in TYPES:
        root = ET.fromstring(motif_svg(kind.patterns[0]))
        tags = [element.tag.rpartition("}")[2] for element in root]
        letters = {e.text for e in root if e.tag.endswith("text")}
        assert tags.count("circle") == len(letters) == (4 if kind.family in ("bi_fan", "diamond") else 3)
        bars, arrows = kind.patterns[0].count("-|"), kind.patterns[0].count("->")
        assert (tags.count("line"), tags.count("polygon")) == (2 * bars + arrows, arrows)
    hostile = ET.fromstring(motif_svg('A:"<script>" -> B; A !> C; B -> C', title="<b>"))
    assert next(e.text for e in hostile if e.tag.endswith("title")) == "<b>"


def test_the_figure_shows_z_and_the_nulls(graph_file: Path) -> None:
    result = null_test(load_graph(graph_file), 40)
    figure = plot_motif_nulls(result)
    assert figure is not None
    varied = result.table[(result.table["null_sd"] > 0)]
    assert sorted(figure.data[0].x) == pytest.approx(sorted(varied["z"]))
    assert sum(trace.type == "box" for trace in figure.data) == len(varied)


def test_an_empty_graph_has_a_page_too(tmp_path: Path) -> None:
    import networkx as nx

    result = null_test(nx.DiGraph(), 19)
    assert plot_motif_nulls(result) is None
    assert "fixed by the degrees" in render_motif_page(result, tmp_path / "empty.html").read_text()
