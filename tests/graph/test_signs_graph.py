"""In the database, too, an edge that attenuates or erases a copy is never inhibition: in the rule itself, in filters and in counts."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from typer.testing import CliRunner

from feature_graph.cli import app
from feature_graph.database import server
from feature_graph.database.store import Projection, Store, analyze_all, match_pattern
from feature_graph.database.store.gds.projection import count_part
from feature_graph.motifs import compile_cypher
from ingest.strength import takes_from_copy
from queries.signs import takes_from_copy as in_cypher
from tests.graph import twins
from tests.rundirs import random_run
from tests.support.database import ALL, Loaded, wipe

pytestmark = pytest.mark.graph

COPIES = {"attenuates_copy", "erases_copy"}


@pytest.fixture(scope="module")
def run(connected: Store, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """Many edges of both types, with what is specific measured."""
    wipe(connected)
    root = random_run(tmp_path_factory.mktemp("signs") / "run", n_layers=5, n_features=8, n_edges=170, seed=11, window=3, erased=9)
    return Loaded(connected.ingest(root).run, twins.RunFiles.read(root), connected)


def test_the_rule_in_cypher_is_the_rule_in_python(connected: Store) -> None:
    kinds = ("excitatory", "inhibitory", "pass_through", *sorted(COPIES))
    rows = [{"e": {"type": kind}, "value": value} for kind, value in product(kinds, (-0.5, 0.0, 0.5))]
    for effect in ("strength", "total", "direct", "later", "computed", "specific", "copy"):
        text = f"UNWIND $rows AS row WITH row.e AS e, row.value AS value RETURN {in_cypher('e', 'value')} AS taking"
        found = connected.run(text, {"rows": rows, "effect": effect})["taking"].tolist()
        assert found == [takes_from_copy(row["value"], row["e"]["type"], effect) for row in rows], effect
    text = f"UNWIND $rows AS row WITH row.e AS e, row.value AS value RETURN {in_cypher('e', 'value', False)} AS taking"
    assert connected.run(text, {"rows": rows})["taking"].tolist() == [
        takes_from_copy(row["value"], row["e"]["type"], "strength") for row in rows
    ]


@pytest.mark.parametrize("effect", ["strength", "total", "computed", "specific", "copy"])
def test_no_filter_gives_a_copy_for_inhibition(run: Loaded, effect: str) -> None:
    every = run.ask("strongest", effect=effect, limit=ALL).records
    taken = [r for r in every if r["type"] in COPIES and r["value"] < 0]
    assert len(taken) > 2, "the case is there"
    signed = {s: run.ask("strongest", effect=effect, sign=s, limit=ALL).records for s in ("excitatory", "inhibitory")}
    assert not {r["type"] for r in signed["inhibitory"]} & COPIES
    assert len(signed["inhibitory"]) == sum(r["value"] < 0 and r["type"] not in COPIES for r in every) > 0
    exciting = {r["type"] for r in signed["excitatory"]} & COPIES
    assert exciting <= (set() if effect in ("computed", "specific") else {"attenuates_copy"})


def test_what_is_projected_is_what_is_counted(run: Loaded) -> None:
    for effect, sign in product(("specific", "computed", "strength"), ("excitatory", "inhibitory")):
        part = Projection(run.id, method="clamping", sign=sign, effect=effect, families=False)
        expected = twins.graph(run.files, sign=sign, by=effect, families=False)
        assert count_part(run.store, part) == (len(expected), expected.number_of_edges()), (effect, sign)
        degrees = run.ask("hubs", measure="degree", sign=sign, effect=effect, families=False, limit=ALL).records
        assert {r["id"]: r["score"] for r in degrees} == dict(expected.degree())
    found = analyze_all(run.store, ["degree"], Projection(run.id, sign="inhibitory", families=False))[0].features
    (name,) = [column for column in found if column.startswith("degree")]
    written = dict(zip(found["id"], found[name], strict=True))
    assert written == dict(twins.graph(run.files, sign="inhibitory", families=False).degree())


@pytest.mark.parametrize("name", ["layer_flow", "site_flow", "fan_in", "fan_out", "boundary"])
@pytest.mark.parametrize("edges", ["structural", "all"])
def test_every_edge_is_counted_once(run: Loaded, name: str, edges: str) -> None:
    more: dict[str, Any] = {} if name.endswith("flow") else {"limit": ALL}
    rows = run.ask(name, edges=edges, **more).records
    assert sum(r["from_copy"] for r in rows) > 0
    for r in rows:
        whole = r["count"] if "count" in r else len(r["sources" if name == "fan_in" else "targets"])
        assert r["excitatory"] + r["inhibitory"] + r["from_copy"] == whole


def test_signed_motifs_have_no_such_edge(run: Loaded) -> None:
    kinds = {(e["source"], e["target"]): e["type"] for e in run.files.edges()}

    def copies(row: dict[str, Any], *pairs: tuple[str, str]) -> set[str]:
        return {kinds[row[a], row[b]] for a, b in pairs} & COPIES

    for kind in ("coherent", "incoherent", "neither"):
        rows = run.ask("feed_forward", kind=kind, edges="all", limit=ALL).records
        assert rows, kind
        for row in rows:
            taking = copies(row, ("source", "middle"), ("middle", "target"), ("source", "target"))
            assert bool(taking) == (kind == "neither") == (row["kind"] == "neither")
    for signs in ("inhibited_excitation", "excited_inhibition", "disinhibition"):
        for row in run.ask("chain", signs=signs, limit=ALL).records:
            for a, b, value in (("source", "middle", "first"), ("middle", "target", "second")):
                assert row[value] >= 0 or not copies(row, (a, b))
    found = match_pattern(run.store, compile_cypher("A -| B"), run.id, limit=ALL)
    assert len(found) > 0
    assert not {kinds[a, b] for a, b in zip(found["A"], found["B"], strict=True)} & COPIES


def test_the_command_line_says_how_many_it_does_not_count(
    run: Loaded, neo4j_server: server.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEO4J_PASSWORD", neo4j_server.password)
    taking = sum(
        twins.takes(e, size, "specific")
        for e in run.files.edges()
        if twins.structural(e) and (size := twins.effect(e, "structural", "specific")) is not None
    )
    said = CliRunner().invoke(app, ["motifs", run.id, "--uri", neo4j_server.uri, "--json"])
    assert said.exit_code == 0, said.output
    assert taking > 0
    assert f"{taking} edges not counted" in " ".join(said.stderr.split())
