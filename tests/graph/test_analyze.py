"""``store.analyze_all`` and ``feature-graph analyze --algorithms``: scores, records, repeatability, refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

import queries
from feature_graph.cli import app
from feature_graph.database import server, store
from feature_graph.database.store import ALGORITHMS, Projection, Store, StoreError
from ingest.formats import FEATURES, INTERACTIONS, write_table
from tests.graph import twins
from tests.graph.twins_copies import heads
from tests.rundirs import random_run
from tests.support.database import wipe

pytestmark = pytest.mark.graph

EXAMPLE = Path(str(files("queries") / "example"))
SCORED = [name for name, one in ALGORITHMS.items() if one.family == "hubs"]
GROUPED = [name for name, one in ALGORITHMS.items() if one.family == "communities"]
SIGNS = {"any": "", "excitatory": "_excitatory", "inhibitory": "_inhibitory"}


@pytest.fixture(scope="module")
def run(connected: Store) -> Iterator[str]:
    wipe(connected)
    yield connected.ingest(EXAMPLE).run
    wipe(connected)


def scores(features: pd.DataFrame) -> dict[str, Any]:
    return dict(zip(features["id"], features.iloc[:, -1], strict=True))


@pytest.mark.parametrize(
    ("edges", "sign", "orientation", "chosen"),
    [
        ("structural", "any", "natural", {}),
        ("all", "excitatory", "reversed", {"families": False}),
        ("structural", "inhibitory", "reversed", {"effect": "computed"}),
    ],
)
def test_scores_are_those_of_the_twin(connected: Store, run: str, edges: Any, sign: Any, orientation: Any, chosen: dict[str, Any]) -> None:
    """Against the edges, what comes in goes out, and a measure is what the template calls reverse."""
    part = Projection(run, edges=edges, sign=sign, orientation=orientation, **chosen)
    files = twins.RunFiles.read(EXAMPLE)
    head = heads(files.edges()) if part.families else {}
    graph = twins.graph(files, edges, sign, by=part.effect, families=part.families)
    turned = {"in_": "out_", "out_": "in_", "hits_hub": "hits_authority", "hits_authority": "hits_hub"}
    for one in store.analyze_all(connected, SCORED, part):
        measure = one.algorithm
        if orientation == "reversed":
            name = next((name for name in turned if measure.startswith(name)), None)
            walk = measure in twins.WALKS
            measure = f"reverse_{measure}" if walk else measure.replace(name, turned[name], 1) if name else measure
        expected = twins.hub_scores(graph, measure)
        tolerance = 1e-6 if measure.startswith("hits") else 1e-9  # reversed, the iteration begins with the other vector
        assert scores(one.features) == pytest.approx(expected, abs=tolerance), measure
        assert one.features.iloc[:, -1].is_monotonic_decreasing
        directed = ALGORITHMS[one.algorithm].directed
        marks = "_all" if edges == "all" else ""
        marks += ("_computed" if chosen.get("effect") else "") + ("" if part.families else "_single")
        marks += SIGNS[sign] + ("_reversed" if orientation == "reversed" and directed else "")
        assert (one.kind, one.written_to) == (one.algorithm + marks, ALGORITHMS[one.algorithm].written_to + marks)
        assert one.features.columns.tolist() == ["id", "layer", "label", one.written_to]
        shown = scores(connected.fetch_features(run)[["id", one.written_to]])
        assert shown == {i: scores(one.features)[head.get(i, i)] for i in files.features["id"]}, "a family's members share its score"


def test_communities_are_those_of_the_template(connected: Store, run: str) -> None:
    for one in store.analyze_all(connected, GROUPED, Projection(run, sign="excitatory"), seed=7):
        rows = connected.ask("communities", run=run, algorithm=one.algorithm, sign="excitatory", seed=7, members=100, min_size=1, limit=100)
        expected = {row["community"]: row for row in rows.records}
        members = one.features.groupby(one.written_to)["id"].agg(set).to_dict()
        assert members == {number: set(row["members"]) for number, row in expected.items()}
        assert one.modularity == pytest.approx(sum(row["modularity"] for row in expected.values()))
        for row in one.communities.to_dict("records"):
            kept = {k: None if v != v else v for k, v in row.items()}
            assert kept == {k: pytest.approx(expected[row["community"]][k]) for k in ("community", "size", "modularity", "conductance")}
        query = (
            "MATCH (c:Community {kind: $kind}) RETURN c.community AS community, c.size AS size, c.modularity AS modularity, "
            "COUNT { (c)<-[:IN_COMMUNITY]-(:Feature) } AS members ORDER BY community"
        )
        nodes = connected.cypher(query, kind=one.kind)
        assert nodes["size"].tolist() == nodes["members"].tolist() == one.communities["size"].tolist()
        assert nodes["modularity"].tolist() == pytest.approx(one.communities["modularity"].tolist())


def test_cores_are_those_of_the_template(connected: Store, run: str) -> None:
    frame = store.analyze(connected, "kcore", Projection(run))
    rows = connected.ask("cores", run=run, min_core=0, limit=100).records
    assert scores(frame) == {row["id"]: row["core"] for row in rows}


def test_the_record_says_how(connected: Store, run: str) -> None:
    part = Projection(run, method="jacobian", sign="inhibitory")
    one, other = store.analyze_all(connected, ["leiden", "article_rank"], part, seed=3)
    assert (one.kind, other.kind) == ("leiden_inhibitory_jacobian", "article_rank_inhibitory_jacobian")
    notes = connected.cypher("MATCH (a:Analysis) WHERE a.kind IN $kinds RETURN properties(a) AS a", kinds=[one.kind, other.kind])["a"]
    found = {note["algorithm"]: note for note in notes}
    for analysis in (one, other):
        note = found[analysis.algorithm]
        assert (note["kind"], note["property"], note["seed"]) == (analysis.kind, analysis.written_to, 3)
        assert note["gds_version"] == analysis.gds_version
        assert analysis.gds_version.startswith("2.13")
        params = json.loads(note["params"])
        assert params["heap_estimate"] > 0
        assert {k: params[k] for k in ("run", "method", "edges", "sign")} == {
            "run": run,
            "method": "jacobian",
            "edges": "structural",
            "sign": "inhibitory",
        }
        assert (params["effect"], params["families"]) == ("strength", True)
    assert json.loads(found["leiden"]["params"])["random_seed"] == 3
    store.analyze_all(connected, ["leiden"], part, seed=4)
    again = connected.cypher("MATCH (a:Analysis {kind: $kind}) RETURN a.seed AS seed", kind=one.kind)
    assert again["seed"].tolist() == [4]


def test_without_edges_there_are_scores_all_the_same(connected: Store, run: str, tmp_path: Path) -> None:
    root = random_run(tmp_path / "run", n_layers=3, n_features=8, n_edges=60)
    write_table(root / INTERACTIONS.name, INTERACTIONS, pq.read_table(root / INTERACTIONS.name).slice(0, 0))
    empty, n = connected.ingest(root).run, pq.read_metadata(root / FEATURES.name).num_rows
    try:
        found = store.analyze_all(connected, list(ALGORITHMS), Projection(empty))
    finally:
        connected.drop(empty)
    assert [one.algorithm for one in found] == list(ALGORITHMS)
    for one in found:
        assert len(one.features) == n
        if one.algorithm in GROUPED:
            assert (len(one.communities), one.modularity) == (n, 0.0)
        elif one.algorithm not in ("pagerank", "article_rank"):
            assert set(one.features.iloc[:, -1]) == {0}, one.algorithm


def test_a_run_of_nothing_is_said(connected: Store, run: str, tmp_path: Path) -> None:
    nothing = connected.ingest(random_run(tmp_path / "run", n_edges=0)).run
    try:
        with pytest.raises(StoreError, match=r"^run \w+ has no features; there is nothing to score$"):
            store.analyze(connected, "pagerank", Projection(nothing))
    finally:
        connected.drop(nothing)


def test_loaded_anew_everything_is_the_same(connected: Store, run: str, tmp_path: Path) -> None:
    """Features get other numbers inside the database, and another run lies beside this one; nothing else may change."""
    names = list(ALGORITHMS)
    before = [one.features for one in store.analyze_all(connected, names, Projection(run))]
    other = connected.ingest(random_run(tmp_path / "run", seed=11)).run
    left = connected.cypher("MATCH (r:Run {id: $id}) RETURN r.digest AS digest", id=other)["digest"].iloc[0]
    store.analyze_all(connected, ["leiden", "pagerank"], Projection(other))
    connected.drop(run)
    remains = "MATCH (x) WHERE x:Analysis OR x:Community RETURN DISTINCT x.run AS run"
    mine = connected.cypher("MATCH (r:Run {id: $id}) RETURN r.n AS n", id=other)["n"].tolist()
    assert connected.cypher(remains)["run"].tolist() == mine
    assert connected.cypher("MATCH (r:Run {id: $id}) RETURN r.digest AS digest", id=other)["digest"].iloc[0] == left
    assert connected.ingest(EXAMPLE).run == run
    assert "pagerank" not in connected.fetch_features(run).columns
    after = [one.features for one in store.analyze_all(connected, names, Projection(run))]
    for one, two in zip(before, after, strict=True):
        pd.testing.assert_frame_equal(one, two)
    connected.drop(other)
    assert connected.cypher(remains)["run"].nunique() == 1


def test_what_the_heap_would_not_hold_is_refused_with_the_number(connected: Store, run: str) -> None:
    gds = store.client(connected)
    small = store.require_memory(store.memory_needed(gds, 1_000, 10_000, list(ALGORITHMS)))
    assert 0 < small.needed < small.free
    large = store.memory_needed(gds, 10**8, 10**10, ["pagerank", "closeness"])
    with pytest.raises(store.NotEnoughMemory, match=r"on 100,000,000 features and 10,000,000,000 edges needs about [\d,]+ MB .* --heap"):
        store.require_memory(large)
    by_name = {name: store.memory_needed(gds, 10**6, 10**7, [name]).needed for name in ALGORITHMS}
    assert by_name["leiden"] >= by_name["wcc"]


@pytest.mark.parametrize(
    ("names", "part", "message"),
    [
        ([], {}, "got none"),
        (["eigenvector"], {}, "got 'eigenvector'; expected one of degree"),
        (["degree", "degree"], {}, "expected each once"),
        (["degree"], {"sign": "both"}, "sign: got 'both'; expected one of any, excitatory, inhibitory"),
        (["degree"], {"edges": "direct"}, "edges: got 'direct'"),
        (["degree"], {"orientation": "back"}, "orientation: got 'back'"),
        (["degree"], {"effect": "direct"}, "effect: got 'direct'; expected one of strength, computed, specific, copy"),
    ],
)
def test_what_does_not_exist_is_refused(connected: Store, run: str, names: list[str], part: dict[str, Any], message: str) -> None:
    with pytest.raises(store.StoreError, match=message):
        store.analyze_all(connected, names, Projection(run, **part))
    assert connected.cypher("CALL gds.graph.list() YIELD graphName RETURN graphName").empty


# --- the command ---


def command(where: server.Connection, *arguments: str) -> Result:
    environment = {"NEO4J_URI": where.uri, "NEO4J_USERNAME": where.username, "NEO4J_PASSWORD": where.password}
    return CliRunner().invoke(app, ["-q", "analyze", *arguments], env=environment)


def test_the_command_computes_and_writes(neo4j_server: server.Connection, connected: Store, run: str) -> None:
    options = ["--algorithms", "pagerank,leiden", "--sign", "excitatory", "--edges", "all", "--orientation", "reversed", "--top", "2"]
    done = command(neo4j_server, str(EXAMPLE), *options, "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    asked = {"run": run, "method": "clamping", "edges": "all", "sign": "excitatory", "orientation": "reversed"}
    assert said["part"] == asked | {"effect": "strength", "families": True}
    first, second = said["analyses"]
    assert (first["kind"], second["kind"]) == ("pagerank_all_excitatory_reversed", "leiden_all_excitatory")
    part = Projection(run, edges="all", sign="excitatory", orientation="reversed")
    one, two = store.analyze_all(connected, ["pagerank", "leiden"], part)
    assert first["top"] == one.features.head(2).to_dict("records")
    assert second["modularity"] == pytest.approx(two.modularity)
    assert (second["n_communities"], len(second["communities"])) == (len(two.communities), 2)


def test_the_command_prints_tables_and_finds_the_run(neo4j_server: server.Connection, run: str) -> None:
    for which in ([run[:5]], []):
        done = command(neo4j_server, *which, "-a", "wcc, degree")
        assert done.exit_code == 0, done.output
        families = twins.graph(twins.RunFiles.read(EXAMPLE))
        pieces = ("wcc: 1 community of modularity", "conductance", f"degree: {len(families)} features, written to Observation.degree")
        for piece in (*pieces, "Edges are weighed by their strength; each copy family counts as one feature."):
            assert piece in done.stdout
    single = command(neo4j_server, run, "-a", "degree", "--collapse", "nothing", "--effect", "copy")
    assert "degree_copy_single: 48 features, written to Observation.degree_copy_single" in single.stdout
    assert "Edges are weighed by their copy effect." in single.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["954", "-a", "fame"], "--algorithms: got fame; expected some of degree"),
        (["954", "-a", ","], "--algorithms: got none"),
        (["zzz", "-a", "degree"], "the ready runs are"),
        (["-a", "degree", "--method", "magic"], "method: got 'magic'; run"),
        (["-a", "degree", "--effect", "direct"], "got 'direct'; expected one of"),
        (["-a", "degree", "--effect", "specific"], "effect: got 'specific', which run"),
        (["zzz", "-a", "all"], "the ready runs are"),
        ([], "give a run directory, or --algorithms"),
        (["nowhere"], "no such run directory or graph file"),
    ],
)
def test_what_is_wrong_is_one_clear_line(neo4j_server: server.Connection, run: str, arguments: list[str], message: str) -> None:
    done = command(neo4j_server, *arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.output


def test_edges_without_any_weight_are_said(connected: Store, tmp_path: Path) -> None:
    """Direct effects of 0, as an import may bring: Leiden fails with a Java exception, the others find no modularity."""
    found = connected.ingest(random_run(tmp_path / "run", n_layers=3, n_features=5, n_edges=20)).run
    connected.write("MATCH (r:Run {id: $id}) MATCH ()-[e:AFFECTS {run: r.n}]->() SET e.direct = 0.0, e.by = 'total'", id=found)
    try:
        with pytest.raises(StoreError, match=r"^gds\.leiden has no weights to use: every edge asked for has the effect 0.*edges=all"):
            store.analyze(connected, "leiden", Projection(found, effect="strength"))
        with pytest.raises(queries.QueryError, match=r"^communities: gds\.leiden has no weights to use: [^\n]*$"):
            connected.ask("communities", run=found, effect="strength")
        rows = connected.ask("communities", run=found, effect="strength", algorithm="louvain", min_size=1).records
        assert {row["modularity"] for row in rows} == {None}
        groups = store.analyze_all(connected, ["louvain", "wcc"], Projection(found, effect="strength"))
        assert [one.modularity for one in groups] == [0.0, 0.0]
        assert connected.ask("hubs", run=found, effect="strength", measure="strength").records[0]["score"] == 0
    finally:
        connected.drop(found)


def test_nothing_to_compute_on_is_said(connected: Store, run: str) -> None:
    own = "UNWIND [] AS i WITH gds.graph.project('none', i, null) AS g CALL gds.pageRank.stream(g.graphName) YIELD nodeId RETURN nodeId"
    with pytest.raises(queries.QueryError, match=r"refused it: gds\.pageRank has nothing to compute on: the run has no edges"):
        queries.ask(connected.driver, own)
