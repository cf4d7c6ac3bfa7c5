"""What is not asked for: the questions in Cypher, the functions in process and the favourites rank by the same, and say by what."""

from __future__ import annotations

import re

import networkx as nx
import pytest

import queries
from feature_graph.analysis import detect_communities, find_hubs
from feature_graph.artifacts import InteractionSet
from feature_graph.database.store import Projection, Store, client, projected
from feature_graph.graph import as_asked, build_interaction_graph, effect_of, restated, structural
from queries.browser import favourites, gather, guide
from tests.graph import twins
from tests.rundirs import random_run
from tests.support.database import ALL, EXAMPLE, Loaded, same_rows, wipe
from tests.support.thinned import thinned

pytestmark = pytest.mark.graph

Run = tuple[Loaded, nx.DiGraph]


@pytest.fixture(scope="module")
def loaded(connected: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A run without and one with what is specific; some edges of the second are smaller than counts."""
    wipe(connected)
    random = random_run(tmp_path_factory.mktemp("random") / "run", n_layers=5, n_features=9, n_edges=260, seed=3, window=3, direct_alone=4)
    return {
        name: (
            Loaded(connected.ingest(root).run, twins.RunFiles.read(root), connected),
            build_interaction_graph(InteractionSet.load(root / "interactions.parquet")),
        )
        for name, root in (("example", EXAMPLE), ("random", random))
    }


@pytest.mark.parametrize(("which", "effect"), [("example", "strength"), ("random", "specific")])
@pytest.mark.parametrize("edges", ["structural", "all"])
def test_hubs_by_default_are_those_in_process(
    loaded: dict[str, Run], caplog: pytest.LogCaptureFixture, which: str, effect: str, edges: str
) -> None:
    run, whole = loaded[which]
    graph = structural(whole) if edges == "structural" else whole
    asked = as_asked(graph, collapse="families")
    assert effect_of(asked) == effect
    assert any("members" in data for _, data in asked.nodes(data=True))
    if effect == "specific":
        assert restated(graph, "specific").size() < graph.size(), "some are smaller than counts"
    for metric, measure in (
        ("total_degree", "degree"),
        ("weighted_out_degree", "out_strength"),
        ("reverse_closeness", "reverse_closeness"),
    ):
        with caplog.at_level("INFO", "queries"):
            rows = run.ask("hubs", measure=measure, edges=edges, limit=ALL).records
        assert f"hubs by {effect}: {len(rows)} rows" in caplog.text
        mine = {hub["id"]: hub for hub in find_hubs(graph, len(graph), metric)}
        assert mine.keys() <= {row["id"] for row in rows}
        for row in rows:
            hub = mine.get(row["id"], {"in_degree": 0, "out_degree": 0, f"{metric}_score": 0.0})
            assert (row["incoming"], row["outgoing"]) == (hub["in_degree"], hub["out_degree"])
            if metric != "reverse_closeness":  # there it counts how many features there are
                assert row["score"] == pytest.approx(hub[f"{metric}_score"])
        kin = (
            {row["id"]: row["score"] for row in run.ask("family_hubs", measure=measure, edges=edges, limit=ALL).records}
            if (measure != "reverse_closeness")
            else {}
        )
        assert kin == {row["id"]: pytest.approx(row["score"]) for row in rows if row["id"] in kin}


@pytest.mark.parametrize("which", ["example", "random"])
def test_communities_by_default_are_those_in_process(loaded: dict[str, Run], which: str) -> None:
    run, whole = loaded[which]
    mine = {frozenset(group) for group in detect_communities(structural(whole), "components")}
    rows = run.ask("communities", algorithm="wcc", members=ALL, min_size=1, limit=ALL).records
    groups = {frozenset(row["members"]) for row in rows}
    assert mine <= groups
    assert all(len(group) == 1 for group in groups - mine), "features without any edge are not in the graph"
    single = run.ask("communities", algorithm="wcc", families=False, members=ALL, min_size=1, limit=ALL).records
    assert sum(row["size"] for row in single) == len(run.files.features) > sum(row["size"] for row in rows)


@pytest.mark.parametrize("effect", ["total", "direct", "later", "computed", "specific", "copy", None])
def test_the_strongest_edges_are_those_of_the_restated_graph(loaded: dict[str, Run], effect: str | None) -> None:
    run, whole = loaded["random"]
    rows = run.ask("strongest", effect=effect, by="value", limit=ALL).records
    stated = restated(whole, effect or "specific")  # type: ignore[arg-type]
    assert {(row["source"], row["target"]): row["value"] for row in rows} == pytest.approx(
        {(u, v): d["strength"] for u, v, d in stated.edges(data=True)}
    )
    assert effect not in (None, "specific", "copy") or len(rows) < whole.size(), "some are smaller than counts"


def test_an_answer_by_an_effect_that_no_edge_has_says_why(
    loaded: dict[str, Run], connected: Store, caplog: pytest.LogCaptureFixture
) -> None:
    run, _ = loaded["random"]
    number = connected.cypher("MATCH (r:Run {id: $id}) RETURN r.n AS n", id=run.id)["n"].iloc[0].item()
    change = "MATCH ()-[e:AFFECTS {run: $n}]->() SET e.floor_computed = e.floor_computed * $by"
    connected.write(change, n=number, by=1e6)
    try:
        for name in ("hubs", "family_hubs", "strongest"):
            caplog.clear()
            run.ask(name)
            assert f"{name}: no edge asked for has a specific effect as large as the smallest that counts; effect=strength" in caplog.text
            caplog.clear()
            assert run.ask(name, effect="strength").rows
            assert "no edge" not in caplog.text
    finally:
        connected.write(change, n=number, by=1e-6)


def test_two_runs_are_compared_by_what_both_measured(loaded: dict[str, Run], caplog: pytest.LogCaptureFixture) -> None:
    (example, _), (random, _) = loaded["example"], loaded["random"]
    with caplog.at_level("INFO", "queries"):
        random.ask("hub_shift", other=example.id)
        random.ask("hub_shift", other=random.id)
    assert "hub_shift by strength" in caplog.text
    assert "hub_shift by specific" in caplog.text


def test_the_effect_is_found_from_outside(loaded: dict[str, Run], connected: Store) -> None:
    (example, _), (random, _) = loaded["example"], loaded["random"]
    assert queries.find_effect(connected.driver, random.id, "clamping") == "specific"
    assert queries.find_effect(connected.driver, example.id, "clamping") == "strength"
    assert queries.find_effect(connected.driver, example.id, "clamping", "copy") == "copy"
    with pytest.raises(queries.ParameterError, match="did not measure by jacobian"):
        queries.find_effect(connected.driver, example.id, "jacobian", "specific")


def test_a_projection_chooses_its_effect_as_questions_do(loaded: dict[str, Run], connected: Store) -> None:
    (example, _), (random, _) = loaded["example"], loaded["random"]
    gds, edges = client(connected), {}
    for run, effect in ((example, None), (example, "strength"), (random, None), (random, "specific"), (random, "strength")):
        with projected(gds, Projection(run.id, effect=effect)) as graph:
            edges[run.id, effect] = graph.relationship_count()
    assert edges[example.id, None] == edges[example.id, "strength"] > 0
    assert edges[random.id, None] == edges[random.id, "specific"] < edges[random.id, "strength"]
    with pytest.raises(queries.ParameterError, match=f"effect: got 'specific', which run {example.id} did not measure by clamping"):
        projected(gds, Projection(example.id, effect="specific")).__enter__()


BY_EFFECT = [path for path, text in favourites().items() if "run.effect" in text and not re.search(r":param", text)]


@pytest.mark.parametrize(
    ("which", "path"),
    [pytest.param(which, path, marks=mark) for which, path, mark in thinned("random", ("example",), BY_EFFECT, lambda _: "favourite")],
)
def test_a_favourite_finds_the_effect_as_the_runner_does(loaded: dict[str, Run], connected: Store, path: str, which: str) -> None:
    (example, _), (random, _) = loaded["example"], loaded["random"]
    text, run = favourites()[path], loaded[which][0]
    newest = random
    if which == "example":  # make it the newest
        text = text.replace("ORDER BY run.n DESC", f"ORDER BY run.id = '{example.id}' DESC")
        newest = example
    name, drawn = re.subn("_drawn$", "", path.rpartition("/")[2].removesuffix(".cypher"))
    answer = queries.ask(connected.driver, text)
    expected = queries.run(connected.driver, name, run=newest.id, visual=bool(drawn))
    assert expected.rows
    if drawn:
        assert len(answer) == len(expected)
    else:
        same_rows(answer.records, expected.records, ordered=True)
    assert run.id == newest.id


def test_the_guide_writes_out_what_the_newest_run_measured(loaded: dict[str, Run], connected: Store) -> None:
    facts = gather(connected.driver)
    assert facts is not None
    assert (facts.effect, facts.specific, facts.other_specific) == ("specific", True, False)
    page = guide(facts, "s", "f")
    assert "e.specific" in page
    hubs, shift = (next(t for t in queries.templates().values() if t.name == name) for name in ("hubs", "hub_shift"))
    assert ((facts.values(hubs) or {})["effect"], (facts.values(shift) or {})["effect"]) == ("specific", "strength")
