"""The response file that a graph names: by path and content, kept by every form in which a graph is saved, and moved with its run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import networkx as nx
import pytest

from feature_graph.graph import NamedResponses, graph_of_run, load_graph, name_responses, save_graph
from feature_graph.utils import sha256_file
from tests.strategies import random_interactions


def graph() -> nx.DiGraph:
    made: nx.DiGraph = nx.DiGraph(model="tiny")
    made.add_node("L0_F1", layer=0, label="")
    made.add_node("L1_F1", layer=1, label="")
    made.add_edge("L0_F1", "L1_F1", direct=0.5, total=0.5)
    return made


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "responses.h5").write_bytes(b"responses of a run")
    return tmp_path / "run"


@pytest.mark.parametrize("name", ["graph.json", "graph.graphml"])
def test_a_saved_graph_names_the_file_beside_it(run: Path, name: str) -> None:
    made = graph()
    name_responses(made, run / "responses.h5")
    save_graph(made, run / name)
    assert str(run) not in (run / name).read_text()  # relative, so that the run can be moved
    assert load_graph(run / name).graph == made.graph
    moved = shutil.move(run, run.parent / "elsewhere")
    named = NamedResponses.of(load_graph(Path(moved) / name).graph)
    assert named == NamedResponses(Path(moved) / "responses.h5", sha256_file(Path(moved) / "responses.h5"))


@pytest.mark.parametrize("name", ["graph.json", "graph.graphml"])
def test_a_graph_saved_elsewhere_names_the_same_file(run: Path, tmp_path: Path, name: str) -> None:
    made = graph()
    name_responses(made, run / "responses.h5")
    save_graph(made, tmp_path / "other" / name)
    assert NamedResponses.of(load_graph(tmp_path / "other" / name).graph) == NamedResponses.at(run / "responses.h5")


def test_a_relative_folder_is_no_other_one(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run)
    made = graph()
    name_responses(made, "responses.h5")
    save_graph(made, "graph.json")
    assert json.loads(json.loads(Path("graph.json").read_text())["graph"]["responses"])["file"] == "responses.h5"
    assert NamedResponses.of(load_graph("graph.json").graph) == NamedResponses.at(run / "responses.h5")


def test_copies_keep_it(run: Path) -> None:
    made = graph()
    name_responses(made, run / "responses.h5")
    for other in (made.copy(), made.subgraph(["L0_F1"]).copy()):
        assert NamedResponses.of(other.graph) == NamedResponses.at(run / "responses.h5")


def test_without_a_file_nothing_is_named(tmp_path: Path) -> None:
    made = graph()
    name_responses(made, tmp_path / "responses.h5")
    assert "responses" not in made.graph
    assert NamedResponses.of(made.graph) is None


@pytest.mark.parametrize("value", [7, "", "a file", "[]", '{"file": "a"}', '{"file": 1, "sha256": "0"}', float("nan")])
def test_something_else_of_that_name_is_left_as_it_is(value: object, tmp_path: Path) -> None:
    made = graph()
    made.graph["responses"] = value
    assert NamedResponses.of(made.graph) is None
    save_graph(made, tmp_path / "graph.json")
    found = load_graph(tmp_path / "graph.json").graph["responses"]
    assert found == value or (found != found and value != value)


def test_a_run_without_a_graph_file_names_its_responses(run: Path) -> None:
    random_interactions(seed=1).save(run / "interactions.parquet")
    assert NamedResponses.of(graph_of_run(run).graph) == NamedResponses.at(run / "responses.h5")
