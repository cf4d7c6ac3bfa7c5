"""Cascades in Cypher: templates against their twins, and the forecast in process against the forecast in the database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import queries
from feature_graph.database.store import Store
from feature_graph.steering import NO_INTERVALS, DirectEffects, between, predict_cascade, reach
from tests.graph import twins, twins_motifs
from tests.mixed_runs import mixed_run
from tests.rundirs import random_run
from tests.support.database import ALL, EXAMPLE, Loaded, same_rows, wipe

pytestmark = pytest.mark.graph
SHAPES = {"narrow": (6, 4, 60, 2), "wide": (3, 14, 200, 2), "deep": (7, 5, 120, 3), "thin": (5, 6, 25, 4)}


@pytest.fixture(scope="module")
def loaded(connected: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Loaded]:
    """The shipped example, four random layered signed graphs and one with several sites a layer in one database."""
    wipe(connected)
    root = tmp_path_factory.mktemp("cascades")
    roots: dict[str, Path] = {"example": EXAMPLE}
    for seed, (name, (layers, features, edges, window)) in enumerate(SHAPES.items()):
        roots[name] = random_run(root / name, layers, features, edges, seed=seed + 20, window=window)
    roots["mixed"] = mixed_run(root / "mixed", n_features=4, n_edges=130, seed=30)
    return {name: Loaded(connected.ingest(r).run, twins.RunFiles.read(r), connected) for name, r in roots.items()}


@pytest.fixture(scope="module")
def graphs(loaded: dict[str, Loaded]) -> dict[str, nx.DiGraph]:
    """The same runs as graphs of this library."""
    made = {}
    for name, run in loaded.items():
        g = nx.DiGraph(method="clamping")
        g.add_nodes_from((i, {"layer": layer, "label": run.files.label[i]}) for i, layer in run.files.layer.items())
        for e in run.files.edges():
            kind = {"later": "later", "direct": "direct"}.get(e["by"].partition("+")[0], "total")
            g.add_edge(
                e["source"], e["target"], direct=e["direct"], span=e["span"], structural=twins.structural(e), kind=kind, total=e["total"]
            )
        made[name] = g
    return made


CASES: list[tuple[str, dict[str, Any]]] = [
    ("cascade", {"feature": "FIRST", "max_hops": 2, "delta": 2.0, "min_effect": 0.0, "decay": 0.5, "limit": ALL}),
    ("cascade", {"feature": "FIRST", "max_hops": 6, "min_effect": 0.0, "decay": 0.9, "limit": ALL}),
    ("cascade", {"feature": "FIRST", "max_hops": 4, "min_effect": 0.0, "min_strength": 0.05, "limit": ALL}),
    *[("between", {"source": "FROM", "target": "TO", "max_hops": h, "limit": ALL}) for h in (2, 3, 6)],
    ("between", {"source": "FROM", "target": "TO", "min_strength": 0.05}),
    ("between", {"source": "TO", "target": "FROM"}),
    *[("bottlenecks", {"edges": e, "min_strength": s, "limit": ALL}) for e in ("structural", "all") for s in (0.0, 0.1, 0.3)],
]


@pytest.mark.parametrize("which", ["example", "deep", "mixed"])
@pytest.mark.parametrize(("name", "given_"), CASES, ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v.values())))
def test_rows_equal_the_twin(loaded: dict[str, Loaded], which: str, name: str, given_: dict[str, Any]) -> None:
    run = loaded[which]
    source, target = run.far_pair()
    words = {"FIRST": run.first_source(), "FROM": source, "TO": target}
    values = {k: words.get(v, v) if isinstance(v, str) else v for k, v in given_.items()}
    template = queries.template(name)
    defaults = {p.name: p.default for p in template.parameters if p.type not in ("run", "projection")}
    answer = run.ask(name, **values)
    assert answer.columns == list(template.columns)
    expected = twins_motifs.TWINS[name](run.files, **defaults | values)
    sizes = [abs(r["effect"]) for r in answer.records if "effect" in r]
    assert sizes == sorted(sizes, reverse=True)
    # Effects that tie but for rounding may come in either order.
    same_rows(*(sorted(rows, key=lambda r: r["id"]) for rows in (answer.records, expected)))


def test_the_cases_are_not_empty(loaded: dict[str, Loaded]) -> None:
    source, target = loaded["deep"].far_pair()
    assert len(loaded["deep"].ask("between", source=source, target=target).rows) > 3
    assert loaded["thin"].ask("bottlenecks").rows


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    which=st.sampled_from(["example", "mixed", *SHAPES]),
    delta=st.floats(-10, 10).filter(lambda x: abs(x) > 1e-3),
    hops=st.integers(1, 6),
    decay=st.sampled_from([1.0, 0.5, 0.83]),
    min_strength=st.sampled_from([0.0, 0.031]),
    min_effect=st.sampled_from([0.0, 1.7e-3, 0.0371]),
)
def test_the_database_forecasts_what_the_library_forecasts(
    loaded: dict[str, Loaded],
    graphs: dict[str, nx.DiGraph],
    data: st.DataObject,
    which: str,
    delta: float,
    hops: int,
    decay: float,
    min_strength: float,
    min_effect: float,
) -> None:
    run, g = loaded[which], graphs[which]
    source = data.draw(st.sampled_from(sorted(run.files.layer)))
    mine = predict_cascade(g, source, delta, hops, min_effect=min_effect, min_strength=min_strength, decay=decay, uncertainty=NO_INTERVALS)
    rows = run.ask(
        "cascade", feature=source, delta=delta, max_hops=hops, min_effect=min_effect, min_strength=min_strength, decay=decay, limit=ALL
    ).records
    listed = {i: x for i, x in mine.effects.items() if mine.hops[i] <= hops}
    theirs = {r["id"]: r for r in rows}
    # Ways that cancel leave rounding, and so may a sum just at the threshold.
    for i in set(listed) ^ set(theirs):
        assert abs(listed.get(i, 0.0) or theirs[i]["effect"]) == pytest.approx(min_effect, rel=1e-9, abs=1e-12)
    for i in set(listed) & set(theirs):
        assert listed[i] == pytest.approx(theirs[i]["effect"], rel=1e-6, abs=1e-12)
        assert mine.hops[i] == theirs[i]["hops"]


@pytest.mark.parametrize("which", ["deep", "mixed"])
def test_paths_of_the_database_are_among_the_librarys_best(loaded: dict[str, Loaded], graphs: dict[str, nx.DiGraph], which: str) -> None:
    """Cheapest by −ln(|direct| / scale) is largest by product only at equal length, so compare the products of the same paths."""
    run = loaded[which]
    source, target = run.far_pair()
    every = predict_cascade(DirectEffects.of(graphs[which]), source, 1.0, 6, min_effect=0, top_paths=10_000).paths
    known = {p.nodes: p.effect for p in every if p.nodes[-1] == target}
    rows = run.ask("paths", source=source, target=target, k=20).records
    assert rows
    for row in rows:
        assert known[tuple(row["path"])] == pytest.approx(row["effect"], rel=1e-9)


def matrix(run: Loaded) -> tuple[np.ndarray, dict[str, int]]:
    """Direct effects of a run that a cascade may follow, [source, target]."""
    at = run.files.fid
    direct = np.zeros((len(at), len(at)))
    for e in run.files.edges():
        if twins.carries(e):
            direct[at[e["source"]], at[e["target"]]] = e["direct"]
    return direct, at


def inverse(run: Loaded, direct: np.ndarray) -> np.ndarray:
    """Sums over paths of any length: (1 − A·P)⁻¹ A, where P keeps the features that paths may lead through."""
    through = twins.led_through(run.files)
    return np.linalg.inv(np.eye(len(direct)) - direct * [i in through for i in run.files.fid]) @ direct


@pytest.mark.parametrize("which", ["deep", "example", "mixed"])
def test_every_effect_is_the_sum_over_all_paths(loaded: dict[str, Loaded], graphs: dict[str, nx.DiGraph], which: str) -> None:
    """Every feature of a run with seven sites, a third of two others', in the database and in process, against the inverse of a matrix."""
    run, g = loaded[which], graphs[which]
    direct, at = matrix(run)
    full, linked = inverse(run, direct), inverse(run, (direct != 0).astype(float)) > 0.5
    for source in list(at)[:: 1 if which == "deep" else 3]:
        expected = {i: full[at[source], at[i]] for i in at if abs(full[at[source], at[i]]) > 1e-12}
        rows = run.ask("cascade", feature=source, min_effect=1e-12, limit=ALL).records
        assert {r["id"]: r["effect"] for r in rows} == pytest.approx(expected, rel=1e-9, abs=1e-12)
        mine = predict_cascade(g, source, 1.0, min_effect=1e-12, top_paths=0, uncertainty=NO_INTERVALS).effects
        assert mine == pytest.approx(expected, rel=1e-9, abs=1e-12)
        met = run.ask("reach", feature=source).records
        reached = (
            nx.descendants(nx.DiGraph((e["source"], e["target"]) for e in run.files.edges() if twins.structural(e)), source)
            if met
            else set()
        )
        assert sum(r["count"] for r in met) == len(reached) >= linked[at[source]].sum()


@pytest.mark.parametrize("which", ["deep", "example", "mixed"])
def test_what_lies_between_carries_the_product_of_both_sums(loaded: dict[str, Loaded], graphs: dict[str, nx.DiGraph], which: str) -> None:
    run, g = loaded[which], graphs[which]
    direct, at = matrix(run)
    full = inverse(run, direct)
    ids = sorted(at, key=lambda i: at[i])
    far = 3 if which == "mixed" else 8
    pairs = [(a, b) for a in ids for b in ids if run.files.layer[b] - run.files.layer[a] >= far and full[at[a], at[b]]]
    assert len(pairs) > 3
    for source, target in pairs[:: max(1, len(pairs) // 12)]:
        rows = {r["id"]: r for r in run.ask("between", source=source, target=target, limit=ALL).records}
        mine = between(g, source, target).set_index("id")
        assert set(rows) == set(mine.index)
        for i, row in rows.items():
            assert row["effect"] == pytest.approx(full[at[source], at[i]] * full[at[i], at[target]], rel=1e-9, abs=1e-12)
            assert row["effect"] == pytest.approx(mine.loc[i, "effect"], rel=1e-9, abs=1e-12)
            assert row["share"] == pytest.approx(row["effect"] / full[at[source], at[target]], rel=1e-6)
            assert (row["paths"], row["bottleneck"], row["label"]) == tuple(mine.loc[i, ["paths", "bottleneck", "label"]])


@pytest.mark.parametrize("direction", ["downstream", "upstream"])
def test_reach_in_process_is_reach_in_the_database(loaded: dict[str, Loaded], graphs: dict[str, nx.DiGraph], direction: str) -> None:
    run, g = loaded["deep"], graphs["deep"]
    for feature in sorted(g)[::6]:
        rows, mine = run.ask("reach", feature=feature, direction=direction).records, reach(g, feature, direction)
        assert [(r["hops"], r["count"], r["layers"]) for r in rows] == list(zip(mine["hops"], mine["count"], mine["layers"], strict=True))
        assert [r["share"] for r in rows] == pytest.approx(mine["share"].tolist())


def test_a_run_with_more_sites_is_refused_naming_the_call(loaded: dict[str, Loaded], connected: Store, tmp_path: Path) -> None:
    """Nine sites in a row: eight edges, where the templates follow six."""
    deep = random_run(tmp_path / "nine", 9, 2, 60, seed=3, window=1)
    run = Loaded(connected.ingest(deep).run, twins.RunFiles.read(deep), connected)
    direct, at = matrix(run)
    lengths = nx.DiGraph((a, b) for a in at for b in at if direct[at[a], at[b]])
    way = nx.dag_longest_path(lengths)
    assert len(way) == 9
    first, last = way[0], way[-1]
    for name, given_, call in (
        ("cascade", {"feature": first}, f'feature_graph.steering.predict_cascade(G, "{first}")'),
        ("cascade", {"feature": first, "max_hops": 2}, "predict_cascade"),
        ("between", {"source": first, "target": last}, f'feature_graph.steering.between(G, "{first}", "{last}")'),
        ("reach", {"feature": first}, f'feature_graph.steering.reach(G, "{first}", "downstream")'),
        ("reach", {"feature": last, "direction": "upstream"}, f'feature_graph.steering.reach(G, "{last}", "upstream")'),
    ):
        with pytest.raises(queries.TooDeep) as refused:
            run.ask(name, **given_)
        assert str(refused.value).startswith(f"{name}: ")
        assert call in str(refused.value)
        assert "\n" not in str(refused.value)
    # What no longer path leads on from is answered, and rightly; so is reach where the steps asked for are few.
    full = inverse(run, direct)
    middle = way[2]
    rows = run.ask("cascade", feature=middle, min_effect=1e-12, limit=ALL).records
    assert {r["id"]: r["effect"] for r in rows} == pytest.approx(
        {i: full[at[middle], at[i]] for i in at if abs(full[at[middle], at[i]]) > 1e-12}
    )
    assert [r["hops"] for r in run.ask("reach", feature=first, max_hops=3).records] == [1, 2, 3]
