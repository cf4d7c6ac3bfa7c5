"""Two runs by two methods of measuring: each is asked by one that it has, and none is asked by one that it does not have."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import queries
from feature_graph.cli import app
from feature_graph.database import server
from feature_graph.database import store as graph_store
from feature_graph.database.store import Store
from feature_graph.motifs import compile_cypher
from queries import ParameterError
from tests.graph import twins, twins_runs
from tests.rundirs import dense, write_files
from tests.strategies import random_interactions
from tests.support.database import same_rows, wipe

pytestmark = pytest.mark.graph

#: Run → methods of its edges, which are the same edges in every run and by every method.
RUNS = {"attributed": ["attribution"], "ablated": ["ablation"], "both": ["ablation", "patching"], "clamped": ["clamping", "jacobian"]}


@pytest.fixture(scope="module")
def loaded(connected: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[str, Path]]]:
    wipe(connected)
    features, frame = dense(random_interactions(4, 6, 50, seed=2))
    found = {}
    for seed, (name, methods) in enumerate(RUNS.items()):
        rows = pd.concat([frame.assign(method=method) for method in methods]).sort_values(
            ["src_fid", "tgt_fid", "method"], ignore_index=True
        )
        root = write_files(tmp_path_factory.mktemp("runs") / name, features, rows, seed=seed)
        found[name] = connected.ingest(root).run, root
    yield found
    wipe(connected)


def files(loaded: dict[str, tuple[str, Path]], name: str) -> twins.RunFiles:
    return twins.RunFiles.read(loaded[name][1])


@pytest.mark.parametrize(
    ("first", "second", "given"),
    [
        ("attributed", "ablated", {}),
        ("attributed", "both", {"other_method": "patching"}),
        ("clamped", "ablated", {}),
        ("clamped", "attributed", {"method": "jacobian"}),
        ("ablated", "both", {}),
    ],
)
def test_the_same_edges_by_two_methods_are_the_same(
    connected: Store, loaded: dict[str, tuple[str, Path]], first: str, second: str, given: dict[str, str]
) -> None:
    asked: dict[str, Any] = {"run": first, "other": second} | given
    edges = len(connected.fetch_edges(first, given.get("method")))
    assert edges > 10
    changes = connected.query("compare", **asked, limit=1000)["change"].value_counts().to_dict()
    assert changes == {"kept": edges}
    rows = connected.ask("run_overlap", **asked).records
    assert [(row["jaccard"], row["here"], row["there"]) for row in rows] == [(1.0, 0, 0)] * 3
    assert {row["same_sign"] for row in rows[1:]} == {1.0}
    method = given.get("method", "clamping" if first == "clamped" else RUNS[first][0])
    other = given.get("other_method", "ablation" if second != "attributed" else "attribution")
    same_rows(rows, twins_runs.run_overlap(files(loaded, first), files(loaded, second), method, other))
    hubs = connected.ask("hub_shift", **asked).records
    assert [row["rank"] for row in hubs] == [row["other_rank"] for row in hubs]
    assert [row["score"] for row in hubs] == pytest.approx([row["other_score"] for row in hubs], rel=1e-12)
    assert hubs[0]["score"] > 0
    groups = connected.ask("community_match", **asked, min_size=1, algorithm="wcc", edges="all").records
    assert {row["jaccard"] for row in groups} == {1.0}
    found = graph_store.diff_runs(connected, first, second, given.get("method"), other_method=given.get("other_method"))
    assert found.counts == {"gained": 0, "lost": 0, "flipped": 0, "changed": 0, "kept": edges}


def test_a_feature_in_runs_by_other_methods(connected: Store, loaded: dict[str, tuple[str, Path]]) -> None:
    feature = connected.fetch_edges("attributed")["source"].iloc[0]
    rows = connected.ask("feature_in_runs", run="attributed", feature=feature).records
    runs = [(loaded[name][0], name, files(loaded, name)) for name in reversed(RUNS)]
    uid = connected.ask("feature", run="attributed", feature=feature).records[0]["uid"]
    same_rows(rows, twins_runs.feature_in_runs(runs, uid, "attribution"))
    by_name = {row["name"]: row for row in rows}
    assert {name: row["method"] for name, row in by_name.items()} == {
        "attributed": "attribution", "ablated": "ablation", "both": None, "clamped": None,
    }  # fmt: skip
    assert by_name["ablated"]["outgoing"] == by_name["attributed"]["outgoing"] > 0
    assert by_name["both"]["outgoing"] is by_name["both"]["incoming"] is None


def test_where_the_other_run_has_several_methods_one_must_be_named(connected: Store, loaded: dict[str, tuple[str, Path]]) -> None:
    message = rf"other_method: run {loaded['both'][0]} has no edges by attribution, but by ablation, patching; choose one"
    for name in ("compare", "run_overlap", "hub_shift", "community_match"):
        with pytest.raises(ParameterError, match=message):
            connected.ask(name, run="attributed", other="both")
        with pytest.raises(ParameterError, match=r"other_method: got 'jacobian'; run \w+ has edges by ablation, patching"):
            connected.ask(name, run="attributed", other="both", other_method="jacobian")
    with pytest.raises(ParameterError, match=message):
        graph_store.diff_runs(connected, "attributed", "both")


def needed(connected: Store, run: str, template: queries.Template) -> dict[str, Any]:
    """Values for what a template requires."""
    edge = connected.fetch_edges(run, RUNS[run][0]).iloc[0]
    ends = {"feature": edge["source"], "source": edge["source"], "target": edge["target"]}
    values = {p.name: ends.get(p.name) for p in template.parameters if p.type == "feature" and p.required}
    values |= {p.name: run for p in template.parameters if p.type == "other_run"}
    return values | {p.name: "a" for p in template.parameters if p.type == "text" and p.required}


METHOD = [
    t.name
    for t in queries.templates().values()
    if any(p.type == "method" for p in t.parameters)
    and not any(p.type == "behavior" and p.required for p in t.parameters)
    and not t.needs_decoders
]


@pytest.mark.parametrize("name", METHOD)
def test_no_template_asks_a_run_by_a_method_that_it_does_not_have(connected: Store, loaded: dict[str, tuple[str, Path]], name: str) -> None:
    template = queries.template(name)
    methods = [p.name for p in template.parameters if p.type == "method"]
    for parameter in methods:
        given = dict.fromkeys(methods, "attribution") | {parameter: "guessing"}
        with pytest.raises(ParameterError, match=rf"{parameter}: got 'guessing'; run \w+ has edges by attribution"):
            connected.ask(name, run="attributed", **needed(connected, "attributed", template), **given)
    if methods != ["method"]:  # two methods of one run
        with pytest.raises(ParameterError, match=rf"first: got 'clamping'; run {loaded['both'][0]} has edges by ablation, patching"):
            connected.ask(name, run="both")
        return
    with pytest.raises(ParameterError, match=r"method: none was given, and run \w+ has edges by ablation, patching; choose one"):
        connected.ask(name, run="both", **needed(connected, "both", template))
    alone = connected.ask(name, run="attributed", **needed(connected, "attributed", template))
    by_name = connected.ask(name, run="both", **needed(connected, "both", template), method="ablation")
    assert len(alone) == len(by_name)


def test_nor_does_anything_in_python(connected: Store, loaded: dict[str, tuple[str, Path]], tmp_path: Path) -> None:
    run, pattern = loaded["attributed"][0], compile_cypher("A -> B")
    ways: list[Callable[[str], Any]] = [
        lambda method: connected.fetch_edges("attributed", method),
        lambda method: graph_store.export_run(connected, "attributed", tmp_path / "out", "csv", method),
        lambda method: graph_store.diff_runs(connected, "attributed", "ablated", method),
        lambda method: graph_store.match_pattern(connected, pattern, "attributed", method=method),
        lambda method: graph_store.count_pattern(connected, pattern, "attributed", method=method),
        lambda method: graph_store.analyze(connected, "degree", graph_store.Projection(run, method)),
        lambda method: graph_store.projected(graph_store.client(connected), graph_store.Projection(run, method)).__enter__(),
    ]
    for way in ways:
        with pytest.raises(ParameterError, match=rf"method: got 'clamping'; run {run} has edges by attribution"):
            way("clamping")
    assert len(connected.fetch_edges("attributed")) == len(connected.fetch_edges("both", "patching"))
    with pytest.raises(ParameterError, match=r"none was given, and run .* has edges by ablation, patching"):
        connected.fetch_edges("both")
    scores = graph_store.analyze(connected, "out_degree", graph_store.Projection("attributed"))
    assert scores["out_degree"].sum() > 0


def test_runs_diff_on_the_command_line(
    connected: Store, loaded: dict[str, tuple[str, Path]], neo4j_server: server.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEO4J_PASSWORD", neo4j_server.password)

    def diff(*words: str) -> Any:
        return CliRunner().invoke(app, ["runs", "diff", *words, "--json", "--uri", neo4j_server.uri])

    counts = json.loads(diff("attributed", "ablated").stdout)["counts"]
    assert counts["kept"] > 0 == counts["lost"] == counts["gained"]
    refused = diff("attributed", "both")
    assert refused.exit_code == 2
    assert "but by ablation, patching; choose one of them" in json.loads(refused.stdout)["error"]
    assert json.loads(diff("attributed", "both", "--other-method", "patching").stdout)["counts"] == counts
