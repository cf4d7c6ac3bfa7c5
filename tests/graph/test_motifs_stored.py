"""Motifs in Cypher: templates against their twins, the text form against exact counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from click.testing import Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import queries
from feature_graph.cli import app
from feature_graph.database import server, store
from feature_graph.database.store import Store
from feature_graph.motifs import census, compile_cypher, count_pattern, find_pattern, parse_pattern
from tests.graph import twins, twins_motifs
from tests.mixed_runs import mixed_run
from tests.rundirs import random_run
from tests.support.database import ALL, Loaded, same_rows, wipe
from tests.support.thinned import thinned

pytestmark = pytest.mark.graph
EXAMPLE = Path(str(files("queries") / "example"))


@pytest.fixture(scope="module")
def loaded(connected: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Loaded]:
    """The shipped example, two random runs and one with several sites a layer, side by side in one database."""
    wipe(connected)
    root = tmp_path_factory.mktemp("motifs")
    roots = {"example": EXAMPLE}
    roots |= {
        f"random{s}": random_run(root / f"run{s}", n_layers=5, n_features=8, n_edges=170, seed=s, window=3, erased=9) for s in (11, 12)
    }
    roots["mixed"] = mixed_run(root / "mixed", n_features=4, n_edges=130, seed=5)
    return {name: Loaded(connected.ingest(r).run, twins.RunFiles.read(r), connected) for name, r in roots.items()}


CASES: list[tuple[str, dict[str, Any]]] = [
    *[("chain", {"signs": s, "limit": ALL}) for s in ("excitation", "inhibited_excitation", "excited_inhibition", "disinhibition")],
    ("chain", {"layer": "LAYER", "limit": ALL}),
    *[("feed_forward", {"kind": k, "layer": "LAYER", "limit": ALL}) for k in ("any", "incoherent", "neither")],
    ("feed_forward", {"edges": "all", "min_strength": 0.05, "limit": ALL}),
    ("fan_in", {"feature": "SINK", "sources": 2, "limit": ALL}),
    ("fan_in", {"layer": "LAST", "sources": 2, "edges": "all", "limit": ALL}),
    *[("fan_out", {"targets": 2, "edges": e, "limit": ALL}) for e in ("structural", "all")],
    ("fan_out", {"targets": 2, "feature": "BUSY", "limit": ALL}),
    ("fan_out", {"layer": "LAYER", "min_strength": 0.05, "limit": 3}),
    *[("bi_fan", {"kind": k, "limit": ALL}) for k in ("any", "alike", "opposed", "mixed", "neither")],
    ("bi_fan", {"feature": "BUSY", "edges": "all", "limit": ALL}),
    ("bi_fan", {"layer": "LAYER", "limit": ALL}),
    ("bi_fan", {"min_strength": 0.1, "limit": 5}),
    *[("diamond", {"kind": k, "limit": ALL}) for k in ("any", "coherent", "incoherent", "neither")],
    ("diamond", {"feature": "SOURCE", "edges": "all", "limit": ALL}),
    ("diamond", {"layer": "LAYER", "min_strength": 0.03, "limit": 7}),
    *[(name, {"effect": e, "limit": ALL}) for name in ("feed_forward", "bi_fan", "diamond") for e in ("strength", "computed", "copy")],
    *[(name, {"effect": "computed", "edges": "all", "limit": ALL}) for name in ("fan_in", "fan_out")],
    ("compensation", {"min_compensation": 0.0, "limit": ALL}),
    ("compensation", {"layer": "LAYER", "min_compensation": 0.1, "min_strength": 0.02, "limit": ALL}),
    ("compensation", {"feature": "SOURCE", "min_compensation": 0.0, "limit": ALL}),
]


@pytest.mark.parametrize(
    ("name", "given_", "which"),
    [
        pytest.param(*case, which, marks=mark)
        for which, case, mark in thinned("random11", ("example", "mixed"), CASES, lambda case: case[0])
    ],
    ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v.values())),
)
def test_rows_equal_the_twin(loaded: dict[str, Loaded], name: str, given_: dict[str, Any], which: str) -> None:
    run = loaded[which]
    g = twins.graph(run.files, families=False)
    layers = sorted(set(run.files.layer.values()))
    words = {"BUSY": run.busiest(), "SOURCE": run.first_source(), "LAYER": layers[0], "LAST": layers[-1]}
    words["SINK"] = max(g, key=lambda n: (g.in_degree(n), n))
    values = {k: words.get(v, v) if isinstance(v, str) else v for k, v in given_.items()}
    template = queries.template(name)
    defaults = {p.name: p.default for p in template.parameters if p.type not in ("run", "projection")}
    answer = run.ask(name, **values)
    assert answer.columns == list(template.columns)
    same_rows(answer.records, twins_motifs.TWINS[name](run.files, **defaults | values))


def test_the_cases_are_not_empty(loaded: dict[str, Loaded]) -> None:
    for name in ("fan_out", "bi_fan", "diamond", "chain", "feed_forward"):
        assert len(loaded["random11"].ask(name, limit=ALL).rows) > 5, name
    assert loaded["example"].ask("compensation", min_compensation=0.0).rows


def in_process(run: Loaded, edges: str, effect: str | None = None) -> nx.DiGraph:
    """The run's graph as the command line would build it."""
    g = nx.DiGraph()
    g.add_nodes_from((i, {"layer": layer}) for i, layer in run.files.layer.items())
    chosen = effect or twins.default_effect(run.files)
    for e in run.files.edges():
        size = twins.effect(e, edges, chosen)
        if twins.structural(e, edges) and size is not None:
            g.add_edge(e["source"], e["target"], strength=size, span=e["span"], type=e["type"], kind=chosen)
    return g


def _sign(data: dict[str, Any]) -> int | None:
    """Which arrow of a pattern the edge is; none where it takes from a copy."""
    if twins.takes(data, data["strength"], data["kind"]):
        return None
    return -1 if data["strength"] < 0 else 1


def by_networkx(g: nx.DiGraph, text: str, fits: Callable[[dict[str, Any]], bool]) -> int:
    """Subgraph monomorphisms of a pattern without layers, each counted once an automorphism."""
    pattern = parse_pattern(text)
    shape = nx.DiGraph((e.source, e.target, {"sign": e.sign}) for e in pattern.present)
    signed = nx.DiGraph((u, v, {"sign": _sign(d)}) for u, v, d in g.edges(data=True) if fits(d))
    matcher = nx.algorithms.isomorphism.DiGraphMatcher(signed, shape, edge_match=lambda a, b: b["sign"] in (0, a["sign"]))
    return sum(1 for _ in matcher.subgraph_monomorphisms_iter()) // len(pattern.automorphisms)


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Connected patterns of two to four letters."""
    n = draw(st.integers(2, 4))
    joined = {(draw(st.integers(0, b - 1)), b) for b in range(1, n)}
    statements = []
    for a, b in combinations(range(n), 2):
        if (a, b) in joined or draw(st.booleans()):
            arrows = ["->", "-|", "~>"] + ([] if (a, b) in joined else ["!>"])
            condition = draw(st.sampled_from(["", "", " [|strength| >= 0.08]", " [span <= 2]", " [span < 1]", " [strength < 0.3]"]))
            statements.append(f"{'ABCD'[a]} {draw(st.sampled_from(arrows))} {'ABCD'[b]}{condition}")
    return draw(st.sampled_from(["", "", "A@..4; ", "B@8; ", "D@4.. ; "] if n == 4 else ["", "A@0..4; ", "B@4..; "])) + "; ".join(
        statements
    )


ASKED = {
    "text": texts(),
    "which": st.sampled_from(["random11", "random12", "mixed"]),
    "edges": st.sampled_from(["structural", "all"]),
    "effect": st.sampled_from([None, "strength", "copy"]),
}


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**ASKED)
def test_cypher_counts_and_finds_what_the_products_count(
    loaded: dict[str, Loaded], text: str, which: str, edges: str, effect: str | None
) -> None:
    """Few examples: each is two statements that the server has never seen, and seconds of planning."""
    cypher_agrees(loaded[which], text, edges, effect)


@pytest.mark.long
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(**ASKED)
def test_cypher_counts_and_finds_in_many_examples(loaded: dict[str, Loaded], text: str, which: str, edges: str, effect: str | None) -> None:
    cypher_agrees(loaded[which], text, edges, effect)


def cypher_agrees(run: Loaded, text: str, edges: str, effect: str | None) -> None:
    g = in_process(run, edges, effect)
    expected = count_pattern(g, text)
    assert store.count_pattern(run.store, compile_cypher(text), run.id, edges=edges, effect=effect) == expected
    found = store.match_pattern(run.store, compile_cypher(text), run.id, edges=edges, effect=effect, limit=10)
    mine = find_pattern(g, text, limit=10)
    assert found["weakest"].tolist() == pytest.approx([m.weakest for m in mine])
    for row in found.itertuples():
        pattern = parse_pattern(text)
        at = [getattr(row, n.name) for n in pattern.nodes]
        assert list(row.strengths) == pytest.approx([g.edges[at[e.source], at[e.target]]["strength"] for e in pattern.present])


@pytest.mark.parametrize(
    "text",
    ["A -> B; B -> C; A -| C", "A ~> C; A ~> D; B ~> C; B ~> D", "A ~> B ~> D; A ~> C ~> D", "A ~> B; A ~> C; A -> D"],
)
def test_three_counts_agree(loaded: dict[str, Loaded], text: str) -> None:
    run = loaded["example"]
    g = in_process(run, "structural")
    expected = by_networkx(g, text, lambda _: True)
    assert expected > 0
    assert count_pattern(g, text) == expected
    assert store.count_pattern(run.store, compile_cypher(text), run.id) == expected


@pytest.mark.parametrize("text", ["A -> B; B -| C; A -> C", "A:L2_F28 ~> B", "A@2 ~> B; B ~> C; A !> C", "A ~> C; A ~> D; B ~> C; B ~> D"])
def test_plans_of_patterns_begin_at_an_index(loaded: dict[str, Loaded], connected: Store, text: str) -> None:
    from tests.support.database import BAD_OPERATORS, plan_operators

    made = compile_cypher(text)
    values = made.parameters | {"run": loaded["example"].id, "method": "clamping", "edges": "structural", "effect": "specific", "limit": 5}
    with connected.driver.session(default_access_mode="READ", notifications_min_severity="OFF") as session:
        for statement in (made.match, made.count):
            plan = session.run("EXPLAIN " + statement, values).consume().plan
            assert not set(plan_operators(plan)) & BAD_OPERATORS
            assert "NodeUniqueIndexSeek" in plan_operators(plan)


def test_hostile_names_stay_values(loaded: dict[str, Loaded], connected: Store) -> None:
    before = connected.cypher("MATCH (n) RETURN count(n) AS n")["n"].iloc[0]
    text = 'A:"x\'}) DETACH DELETE n //" -> B; B -> RETURN; RETURN -> MATCH'
    assert store.count_pattern(connected, compile_cypher(text), loaded["example"].id) == 0
    found = store.match_pattern(connected, compile_cypher("WHERE -> run; run -> NULL"), loaded["example"].id, limit=3)
    assert list(found.columns) == ["WHERE", "run", "NULL", "strengths", "weakest"]
    assert len(found) == 3
    assert connected.cypher("MATCH (n) RETURN count(n) AS n")["n"].iloc[0] == before


@pytest.fixture
def command(neo4j_server: server.Connection) -> Callable[..., Result]:
    """``feature-graph motifs`` with the address of the test's server."""

    def run(*arguments: object) -> Result:
        given_ = ["motifs", *map(str, arguments), "--uri", neo4j_server.uri]
        return CliRunner().invoke(app, given_, env={"NEO4J_PASSWORD": neo4j_server.password, "COLUMNS": "200"})

    return run


def test_motifs_are_kept_with_the_run_and_dropped_with_it(
    loaded: dict[str, Loaded], connected: Store, command: Callable[..., Result], tmp_path: Path
) -> None:
    other = connected.ingest(random_run(tmp_path / "kept", n_layers=4, n_features=8, n_edges=120, seed=31)).run
    done = command(other[:8], "--null", 25, "--keep", "--json")
    assert done.exit_code == 0, done.output
    told = {row["motif"]: row for row in json.loads(done.stdout)["motifs"]}
    kept = store.fetch_motifs(connected, other).set_index("motif")
    assert set(kept.index) == set(told)
    run = Loaded(other, twins.RunFiles.read(tmp_path / "kept"), connected)
    assert kept["count"].to_dict() == {name: row["count"] for name, row in told.items()}
    assert {n: c for n, c in kept["count"].items() if n in census(nx.DiGraph()).counts} == census(in_process(run, "structural")).counts
    for name, row in kept.iterrows():
        assert row["z"] == pytest.approx(told[name]["z"]) or told[name]["z"] is None
        assert row["examples"] == told[name]["examples"]
    facts = connected.cypher("MATCH (r:Run {id: $id}) MATCH (a:Analysis {uid: toString(r.n) + '/motifs'}) RETURN a.params AS p", id=other)
    assert json.loads(facts["p"].iloc[0])["n_nulls"] == 25
    assert json.loads(facts["p"].iloc[0])["effect"] == "specific"
    roles = connected.cypher(
        "MATCH (r:Run {id: $id}) MATCH (:Motif {run: r.n})-[e:EXAMPLE]->(:Feature)<-[:OF]-(o:Observation {run: r.n}) "
        "RETURN count(*) AS n, sum(CASE WHEN e.id = o.id THEN 1 ELSE 0 END) AS same",
        id=other,
    )
    assert roles["n"].iloc[0] == roles["same"].iloc[0] == sum(len(e) for row in kept["examples"] for e in row)
    assert command(other, "--null", 25, "--keep").exit_code == 0
    assert len(store.fetch_motifs(connected, other)) == len(kept)
    report = connected.drop(other)
    assert report.deleted["motifs"] == len(kept)
    assert connected.cypher("MATCH (m:Motif) RETURN count(m) AS n")["n"].iloc[0] == 0


def test_the_command_asks_the_database(loaded: dict[str, Loaded], command: Callable[..., Result]) -> None:
    run = loaded["random11"]
    text = "A ~> B [|strength| > 0.05]; B ~> C; A ~> C"
    found = json.loads(command(run.id, "--pattern", text, "--limit", 4, "--json").stdout)
    g = in_process(run, "structural")
    assert found["count"] == count_pattern(g, text) > 4
    assert [m["weakest"] for m in found["matches"]] == pytest.approx([m.weakest for m in find_pattern(g, text, 4)])
    for options, effect in (((), None), (("--effect", "strength"), "strength"), (("--effect", "copy"), "copy")):
        done = command(run.id, "--all", *options, "--json")
        counts = {row["motif"]: row["count"] for row in json.loads(done.stdout)}
        assert counts == census(in_process(run, "all", effect)).counts
        assert {None: "by their specific effect", "strength": "by their strength", "copy": "by their copy effect"}[effect] in done.stderr
    assert "expected one of strength, total" in " ".join(command(run.id, "--effect", "size").stderr.split())
    wrong = command("nosuchrun", "--pattern", text)
    assert wrong.exit_code == 2
    assert "the ready runs are" in wrong.stderr
