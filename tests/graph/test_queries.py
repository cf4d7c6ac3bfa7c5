"""Every template on the real server: its rows equal those of its in-process twin, it plans well, and it only reads."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import neo4j
import networkx as nx
import numpy as np
import pytest

import queries
from feature_graph.database.store import Store
from tests.graph import twins
from tests.graph.twins import undirected
from tests.graph.twins_copies import heads
from tests.mixed_runs import mixed_run
from tests.rundirs import random_run
from tests.support.database import ALL, BAD_OPERATORS, EXAMPLE, Loaded, plan_operators, same_rows, wipe
from tests.support.thinned import thinned

pytestmark = pytest.mark.graph

EDGES = ("structural", "all")
MEASURES = queries.template("hubs").parameter("measure").of


@pytest.fixture(scope="module")
def loaded(connected: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Loaded]:
    """The shipped example, a random run and one with several sites a layer, side by side in one database."""
    wipe(connected)
    random = random_run(
        tmp_path_factory.mktemp("random") / "run", n_layers=5, n_features=9, n_edges=200, seed=3, window=3, direct_alone=4, erased=8
    )
    mixed = mixed_run(tmp_path_factory.mktemp("mixed") / "run", n_features=4, n_edges=150, seed=4)
    roots = {"mixed": mixed, "example": EXAMPLE, "random": random}  # in the order of loading: the newest is what tests take by default
    return {name: Loaded(connected.ingest(root).run, twins.RunFiles.read(root), connected) for name, root in roots.items()}


def cases() -> list[tuple[str, dict[str, Any]]]:
    """Template and parameters; the words in capitals stand for features of the run at hand."""
    listed: list[tuple[str, dict[str, Any]]] = [
        ("search", {"text": "KING"}),
        ("search", {"text": "war", "layer": 8}),
        ("feature", {"feature": "BUSY"}),
        *[("neighbours", {"feature": "BUSY", "direction": d}) for d in ("in", "out", "both")],
        *[("strongest", {"effect": e, "limit": ALL}) for e in ("strength", "total", "direct", "later", "computed", "copy")],
        ("strongest", {"effect": "specific", "by": "value", "limit": ALL}),
        *[("neighbours", {"feature": "BUSY", "effect": e, "limit": 5}) for e in ("direct", "computed", "copy", "specific")],
        *[("strongest", {"sign": s, "span": 1, "limit": 7}) for s in ("excitatory", "inhibitory")],
        *[
            ("strongest", {"sign": s, "effect": e, "limit": ALL})
            for s in ("excitatory", "inhibitory")
            for e in ("total", "computed", "copy")
        ],
        *[("strongest", {"by": b, "edges": e, "limit": 9}) for b in ("standardised", "value") for e in ("all", "structural")],
        *[("co_drivers", {"feature": "BUSY", "edges": e, "limit": ALL}) for e in EDGES],
        ("co_drivers", {"feature": "BUSY", "min_shared": 2}),
        *[("hubs", {"measure": m, "limit": ALL}) for m in MEASURES],
        *[
            ("hubs", {"measure": m, "sign": s, "edges": "all", "limit": ALL})
            for m in ("strength", "pagerank")
            for s in ("excitatory", "inhibitory")
        ],
        ("hubs", {"measure": "strength", "per_layer": True, "limit": 2}),
        *[("hubs", {"measure": m, "effect": e, "limit": ALL}) for m in ("degree", "strength", "pagerank") for e in ("computed", "copy")],
        ("hubs", {"measure": "out_strength", "effect": "specific", "sign": "inhibitory", "edges": "all", "limit": ALL}),
        *[
            ("hubs", {"measure": m, "effect": e, "families": False, "limit": ALL})
            for m in ("degree", "hits_hub")
            for e in ("strength", None)
        ],
        *[("strongest", {"limit": ALL}), ("hubs", {"measure": "reverse_pagerank", "edges": "all", "limit": ALL})],
        *[(name, {"edges": e}) for name in ("layer_flow", "site_flow") for e in EDGES],
        *[("search", {"text": "a", "site": s}) for s in ("mlp", "residual")],
        *[("hubs", {"measure": "strength", "site": s, "per_layer": True, "limit": 2}) for s in ("tc", "attn", "residual")],
        *[("feed_forward", {"kind": k, "limit": ALL}) for k in ("any", "coherent", "incoherent", "neither")],
        ("feed_forward", {"edges": "all", "min_strength": 0.05, "limit": ALL}),
        ("feed_forward", {"feature": "BUSY", "edges": "all", "limit": ALL}),
        ("chain", {"limit": ALL}),
        ("chain", {"feature": "BUSY", "min_strength": 0.05, "limit": ALL}),
        *[("fan_in", {"edges": e, "sources": 2, "limit": ALL}) for e in EDGES],
        ("fan_in", {"min_strength": 0.05, "sources": 2, "limit": ALL}),
        *[("cascade", {"feature": "FIRST", "max_hops": h, "delta": 2.0, "min_effect": 0.0, "limit": ALL}) for h in (1, 2, 6)],
        ("cascade", {"feature": "FIRST", "delta": -1.0, "min_effect": 0.05, "limit": ALL}),
        ("paths", {"source": "FROM", "target": "TO", "k": 10}),
        ("paths", {"source": "TO", "target": "FROM"}),
        *[("reach", {"feature": "BUSY", "direction": d, "edges": e}) for d in ("downstream", "upstream") for e in EDGES],
        ("reach", {"feature": "FIRST", "max_hops": 2, "min_strength": 0.05}),
        ("behaviors", {}),
        *[("behavior_graph", {"behavior": "capital_of", "hops": h, "limit": ALL}) for h in (0, 1, 2)],
        ("behavior_graph", {"behavior": "counting", "hops": 2, "edges": "all", "min_strength": 0.1, "limit": ALL}),
        *[("shared", {"behavior": "capital_of", "other": "counting", "edges": e}) for e in EDGES],
        ("quality", {}),
        ("quality", {"method": "jacobian"}),
        ("methods_agree", {"limit": ALL}),
        ("audit", {}),
    ]
    return listed


def fits(which: str, name: str, given: dict[str, Any]) -> bool:
    """The random runs have one method and no behaviours; in the example it was not measured what is specific."""
    if which == "example" and given.get("effect") == "specific":
        return False
    return which == "example" or not ("behavior" in given or name == "methods_agree" or given.get("method") == "jacobian")


@pytest.mark.parametrize(
    ("which", "name", "given"),
    [
        pytest.param(which, *case, marks=mark)
        for which, case, mark in thinned("example", ("random", "mixed"), cases(), lambda case: case[0])
        if fits(which, *case)
    ],
    ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v.values())),
)
def test_rows_equal_the_twin(loaded: dict[str, Loaded], which: str, name: str, given: dict[str, Any]) -> None:
    run = loaded[which]
    source, target = run.far_pair()
    words = {"BUSY": run.busiest(), "FIRST": run.first_source(), "FROM": source, "TO": target}
    parameters = {k: words.get(v, v) if isinstance(v, str) else v for k, v in given.items()}
    template = queries.template(name)
    defaults = {p.name: p.default for p in template.parameters if p.type not in ("run", "projection")}
    expected = twins.TWINS[name](run.files, **defaults | parameters)
    answer = run.ask(name, **parameters)
    assert answer.columns == list(template.columns)
    same_rows(answer.records, expected, ordered=name != "hubs")


def test_every_template_has_a_twin() -> None:
    elsewhere = {"communities", "community_of", "compare", "provenance", "runs", "similar"}
    elsewhere |= {"families", "family_hubs"}  # test_copy_families_graph
    elsewhere |= {"relays", "hub_shift", "boundary", "cores", "community_match"}  # test_twins_hubs
    elsewhere |= {"fan_out", "bi_fan", "diamond", "compensation", "between", "bottlenecks"}  # test_motifs, test_cascades
    elsewhere |= {"feature_in_runs", "behavior_hubs", "seed_paths", "run_overlap", "orphans", "duplicates"}  # test_twins_runs
    assert set(queries.names()) == {name for name, _ in cases()} | elsewhere
    assert {name for name, _ in cases()} <= set(twins.TWINS)


@pytest.mark.parametrize("which", ["example", "random"])
def test_hubs_are_cut_and_ordered_by_score(loaded: dict[str, Loaded], which: str) -> None:
    run = loaded[which]
    scores = sorted(twins.hub_scores(twins.graph(run.files), "strength").values(), reverse=True)
    answer = run.ask("hubs", measure="strength", limit=5)
    assert [row["score"] for row in answer.records] == pytest.approx(scores[:5])
    layer = run.files.layer[run.busiest()]
    assert {row["layer"] for row in run.ask("hubs", layer=layer).records} == {layer}


def test_pagerank_after_normalising_is_networkx_pagerank_where_there_are_no_dead_ends(loaded: dict[str, Loaded]) -> None:
    """A layered graph has dead ends, so the comparison goes over the recurrence of the paper; this one ties it to networkx."""
    g = nx.DiGraph([("a", "b"), ("b", "c"), ("c", "a"), ("a", "c")])
    nx.set_edge_attributes(g, 1.0, "weight")
    ours = twins.gds_pagerank(g)
    total = sum(ours.values())
    assert {n: s / total for n, s in ours.items()} == pytest.approx(nx.pagerank(g, tol=1e-12), abs=1e-6)


ALGORITHMS = ("leiden", "louvain", "label_propagation", "wcc")


def partition(run: Loaded, **parameters: Any) -> tuple[list[set[str]], float]:
    rows = run.ask("communities", members=ALL, min_size=1, limit=ALL, **parameters).records
    return [set(row["members"]) for row in rows], math.fsum(row["modularity"] for row in rows)


@pytest.mark.parametrize("which", ["example", "random", "mixed"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_communities_are_a_partition_of_the_quality_they_state(loaded: dict[str, Loaded], which: str, algorithm: str) -> None:
    run = loaded[which]
    found, modularity = partition(run, algorithm=algorithm)
    g = undirected(twins.graph(run.files))
    assert sorted(n for part in found for n in part) == sorted(g)
    assert modularity == pytest.approx(nx.community.modularity(g, found, weight="weight"), abs=1e-9)
    assert [len(part) for part in found] == sorted((len(part) for part in found), reverse=True)
    if algorithm == "wcc":
        assert {frozenset(p) for p in found} == {frozenset(p) for p in nx.connected_components(g)}
    if algorithm in ("leiden", "louvain"):
        best = max(nx.community.modularity(g, nx.community.louvain_communities(g, seed=s), weight="weight") for s in range(3))
        assert modularity > 0.9 * best


def test_leiden_recovers_the_planted_communities(loaded: dict[str, Loaded]) -> None:
    run = loaded["example"]
    found, _ = partition(run, families=False)
    group = {i: label.partition(":")[0] for i, label in run.files.label.items()}
    pure = sum(max(sum(group[n] == g for n in part) for g in set(group.values())) for part in found)
    assert pure / len(group) > 0.85


def test_leiden_is_repeatable(loaded: dict[str, Loaded]) -> None:
    assert partition(loaded["random"], seed=7) == partition(loaded["random"], seed=7)


@pytest.mark.parametrize(
    ("which", "sign", "effect"),
    [("example", "any", None), ("example", "excitatory", "strength"), ("example", "any", "computed"), ("random", "any", None)],
)
@pytest.mark.parametrize("families", [True, False])
def test_community_of_a_feature(loaded: dict[str, Loaded], which: str, sign: str, effect: str | None, families: bool) -> None:
    run = loaded[which]
    mine = run.busiest()
    found, _ = partition(run, sign=sign, effect=effect, families=families)
    head = heads(run.files.edges()).get(mine, mine) if families else mine
    members = next(part for part in found if head in part)
    rows = run.ask("community_of", feature=mine, sign=sign, effect=effect, families=families, limit=ALL).records
    g = undirected(twins.graph(run.files, sign=sign, by=effect, families=families))
    assert {row["id"] for row in rows} == members
    for row in rows:
        weights = {n: d["weight"] for n, d in g[row["id"]].items()}
        assert row["inside"] == pytest.approx(sum(w for n, w in weights.items() if n in members))
        assert row["outside"] == pytest.approx(sum(w for n, w in weights.items() if n not in members))


def test_a_run_compared_with_another(loaded: dict[str, Loaded], connected: Store, tmp_path: Path) -> None:
    from tests.rundirs import agreeing, write_files

    first = loaded["random"]
    changed = first.files.interactions.copy()
    kept = changed.index[changed["significant"]]
    changed = changed.drop(kept[:5])
    changed.loc[kept[5:9], ["mean_strength", "direct_strength", "later_strength"]] *= -1.0
    root = write_files(tmp_path / "other", first.files.features, agreeing(changed), seed=3)
    other = connected.ingest(root).run
    try:
        for kind in ("any", "lost", "flipped", "kept", "gained"):
            answer = first.ask("compare", other=other, change=kind, limit=ALL)
            same_rows(answer.records, twins.compare(first.files, twins.RunFiles.read(root), kind, ALL, "clamping"))
        assert len(first.ask("compare", other=other, change="lost").rows) == 5
        assert len(first.ask("compare", other=other, change="flipped").rows) == 4
    finally:
        connected.drop(other)


def test_runs_and_provenance(loaded: dict[str, Loaded]) -> None:
    run = loaded["example"]
    listed = run.ask("runs").records
    mine = next(row for row in listed if row["id"] == run.id)
    assert (mine["status"], mine["model"], mine["layers"]) == ("ready", "toy@0123abcd", [2, 5, 8, 11])
    assert (mine["nodes"], mine["edges"]) == (len(run.files.features), int(run.files.interactions["significant"].sum()))
    facts = {(row["what"], row["name"]): row["value"] for row in run.ask("provenance").records}
    assert facts["model", "toy"] == "toy@0123abcd"
    assert facts["site", "L8"] == "blocks.8.hook_resid_post"
    assert facts["dictionary", "blocks.8"] == "toy@0123abcd/toy-res/blocks.8"
    assert facts["text", "builtin:toy"] == "4096 tokens"
    assert float(facts["run", "scale"]) == pytest.approx(run.files.scale)


@pytest.mark.parametrize("name", queries.names())
def test_the_header_s_example_gives_rows(loaded: dict[str, Loaded], name: str) -> None:
    run = loaded["example"]
    template = queries.template(name)
    other = {p.name: loaded["random"].id for p in template.parameters if p.type == "other_run"}
    assert run.ask(name, **template.example, **other).rows


@pytest.mark.parametrize("name", [t.name for t in queries.templates().values() if t.visual])
def test_visual_forms_return_paths_and_few(loaded: dict[str, Loaded], name: str) -> None:
    run = loaded["example"]
    rows = run.ask(name, visual=True, **queries.template(name).example).rows
    assert 0 < len(rows) <= 300
    assert all(value["nodes"] and value["relationships"] for row in rows for value in row)


@pytest.mark.parametrize(
    ("name", "visual"), [(t.name, v) for t in queries.templates().values() for v in (False, True) if not v or t.visual]
)
def test_plans_are_anchored_by_an_index(loaded: dict[str, Loaded], connected: Store, name: str, visual: bool) -> None:
    template = queries.template(name)
    values = {p.name: p.default if p.default is not None else 1 if p.type in ("int", "float") else "x" for p in template.parameters}
    with connected.driver.session(default_access_mode=neo4j.READ_ACCESS, notifications_min_severity="INFORMATION") as session:
        summary = session.run("EXPLAIN " + queries.text(name, visual), values).consume()
    operators = set(plan_operators(summary.plan))
    assert not operators & BAD_OPERATORS
    if name != "runs":
        assert "NodeUniqueIndexSeek" in operators
        assert "NodeByLabelScan" not in operators
    kinds = {status.raw_classification for status in summary.gql_status_objects if status.is_notification}
    assert not kinds & {"DEPRECATION", "PERFORMANCE"}


def test_no_projection_is_left(loaded: dict[str, Loaded], connected: Store) -> None:
    loaded["example"].ask("hubs", measure="pagerank")
    assert connected.cypher("CALL gds.graph.list() YIELD graphName RETURN graphName").empty


def test_a_projection_is_dropped_when_the_question_fails(loaded: dict[str, Loaded], connected: Store) -> None:
    """The server looks for overdue transactions every two seconds, so a quick one may slip through: ask until one is caught."""

    def ask_again_and_again() -> None:
        for _ in range(100):
            loaded["random"].store.ask("hubs", run=loaded["random"].id, measure="betweenness", timeout=0.001)

    with pytest.raises(queries.QueryTimeout, match=r"no answer in 0\.001 s"):
        ask_again_and_again()
    assert connected.cypher("CALL gds.graph.list() YIELD graphName RETURN graphName").empty


def test_wrong_parameters_say_what_would_be_right(loaded: dict[str, Loaded]) -> None:
    run = loaded["example"]
    wrong: list[tuple[str, dict[str, Any], str]] = [
        ("hubs", {"measure": "pagerang"}, "did you mean pagerank"),
        ("hubs", {"limit": 0}, "int from 1 to 10000"),
        ("hubs", {"limit": "5"}, "got '5'"),
        ("hubs", {"limits": 5}, "did you mean limit"),
        ("hubs", {"method": "clamp"}, "edges by clamping, jacobian"),
        ("neighbours", {}, "needs feature"),
        ("neighbours", {"feature": "L5_F281"}, "near: .*L5_F280"),
        ("neighbours", {"feature": "king"}, "query search"),
        ("cascade", {"feature": "L5_F280", "delta": math.inf}, "got inf"),
        ("behavior_graph", {"behavior": "capital"}, "has capital_of, counting"),
        ("search", {"text": "x" * 300}, "got 300 characters"),
    ]
    for name, given, message in wrong:
        with pytest.raises(queries.ParameterError, match=message):
            run.ask(name, **given)
    with pytest.raises(queries.QueryError, match="did you mean hubs"):
        run.ask("hub")
    with pytest.raises(queries.ParameterError, match="the ready runs are"):
        run.store.ask("hubs", run="nosuchrun")


def test_the_newest_ready_run_is_the_default_and_a_prefix_is_enough(loaded: dict[str, Loaded]) -> None:
    example, random = loaded["example"], loaded["random"]
    assert random.store.find_run() == random.id
    assert example.store.ask("audit", run=example.id[:6]).records == example.ask("audit").records


HOSTILE = ["' OR 1=1 //", "}) DETACH DELETE n //", "L5_F280' RETURN 1 //", "\\u0027 DELETE n", "$run", "`", "\n MATCH (n) DETACH DELETE n"]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_values_stay_values(loaded: dict[str, Loaded], connected: Store, text: str) -> None:
    before = connected.cypher("MATCH (n) RETURN count(n) AS n")["n"].iloc[0]
    assert loaded["example"].ask("search", text=text).rows == []
    for name, key in (("neighbours", "feature"), ("behavior_graph", "behavior"), ("hubs", "run"), ("hubs", "method")):
        with pytest.raises(queries.ParameterError):
            connected.ask(name, **({"run": loaded["example"].id} | {key: text}))
    assert connected.cypher("MATCH (n) RETURN count(n) AS n")["n"].iloc[0] == before


def test_a_run_that_is_not_ready_is_refused(loaded: dict[str, Loaded], connected: Store) -> None:
    run = loaded["random"]
    connected.write("MATCH (r:Run {id: $id}) SET r.status = 'loading'", id=run.id)
    try:
        with pytest.raises(queries.ParameterError, match="is loading, not ready"):
            run.ask("hubs")
        assert connected.find_run() == loaded["example"].id
    finally:
        connected.write("MATCH (r:Run {id: $id}) SET r.status = 'ready'", id=run.id)


def examples(run: Loaded, other: Loaded, **asked: Any) -> dict[str, list[list[Any]]]:
    """Examples of templates that name one run, two, or count runs, with and without projections; and one that is drawn."""
    found = {}
    for name in ("audit", "layer_flow", "feature", "feature_in_runs", "neighbours", "hubs", "compare", "run_overlap"):
        template = queries.template(name)
        given = template.example | {p.name: other.id for p in template.parameters if p.type == "other_run"}
        found[name] = run.ask(name, **given, **asked).rows
    return found | {"drawn": run.ask("neighbours", visual=True, **queries.template("neighbours").example, **asked).rows}


@pytest.mark.parametrize("status", ["failed", "loading"])
def test_a_run_of_any_status_answers_as_when_ready_if_asked_so(
    loaded: dict[str, Loaded], connected: Store, caplog: pytest.LogCaptureFixture, status: str
) -> None:
    run, other = loaded["example"], loaded["random"]
    ready = examples(run, other)
    connected.write("MATCH (r:Run {id: $id}) SET r.status = $status", id=run.id, status=status)
    try:
        with pytest.raises(queries.ParameterError, match=f"is {status}, not ready; .*--any-status.*any_status=True"):
            run.ask("hubs")
        with caplog.at_level("WARNING", "queries"):
            assert run.ask("layer_flow", any_status=True).rows == ready["layer_flow"]
        assert f"run {run.id} is {status}; what it holds is not whole" in caplog.text
        assert examples(run, other, any_status=True) == ready
        assert other.ask("compare", other=run.id, any_status=True).rows
        frame = connected.query("layer_flow", run=run.id[:9], any_status=True)
        assert frame.to_numpy().tolist() == ready["layer_flow"]
        newest = connected.ask("provenance", any_status=True).records
        assert newest == other.ask("provenance").records, "the default run is the newest ready one"
    finally:
        connected.write("MATCH (r:Run {id: $id}) SET r.status = 'ready'", id=run.id)


def test_a_run_that_was_only_claimed_answers_with_nothing(loaded: dict[str, Loaded], connected: Store) -> None:
    connected.write("CREATE (:Run {id: 'claimed-only', n: 999999, status: 'loading'})")
    try:
        assert connected.ask("hubs", run="claimed", any_status=True).rows == []
        assert connected.ask("layer_flow", run="claimed", any_status=True).rows == []
        with pytest.raises(queries.ParameterError, match="does not have it"):
            connected.ask("neighbours", run="claimed", feature="L5_F280", any_status=True)
    finally:
        connected.write("MATCH (r:Run {id: 'claimed-only'}) DELETE r")


def test_py2neo_gives_the_same_answers(loaded: dict[str, Loaded], py2neo_graph: Any) -> None:
    run = loaded["example"]
    for name in ("hubs", "feed_forward", "cascade", "runs"):
        given = queries.template(name).example | ({} if name == "runs" else {"run": run.id})
        assert queries.run(py2neo_graph, name, **given).records == queries.run(run.store.driver, name, **given).records
    drawn = queries.run(py2neo_graph, "neighbours", visual=True, run=run.id, feature=run.busiest())
    assert drawn.rows[0][0]["nodes"]


def test_frames_of_the_store_hold_what_the_files_hold(loaded: dict[str, Loaded]) -> None:
    run = loaded["example"]
    edges = run.store.fetch_edges(run.id)
    expected = run.files.edges()
    assert list(zip(edges["source"], edges["target"], strict=True)) == [(e["source"], e["target"]) for e in expected]
    np.testing.assert_array_equal(edges["strength"], [e["strength"] for e in expected])
    assert len(run.store.fetch_edges(run.id, edges="structural")) == sum(map(twins.structural, expected))
    features = run.store.fetch_features(run.id)
    assert features["id"].tolist() == run.files.features["id"].tolist()
    assert features["importance"].isna().tolist() == run.files.features["importance"].isna().tolist()
