"""Cascades in Cypher: templates against their twins, and the forecast in process against the forecast in the database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import queries
from feature_graph.steering import DirectEffects, predict_cascade
from feature_graph.store import Store
from tests.graph import twins, twins_motifs
from tests.graph.conftest import wipe
from tests.graph.test_motifs_stored import EXAMPLE
from tests.graph.test_queries import ALL, Loaded, same_rows
from tests.rundirs import random_run

pytestmark = pytest.mark.graph
SHAPES = {"narrow": (6, 4, 60, 2), "wide": (3, 14, 200, 2), "deep": (7, 5, 120, 3), "thin": (5, 6, 25, 4)}


@pytest.fixture(scope="module")
def loaded(connected: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Loaded]:
    """The shipped example and four random layered signed graphs in one database."""
    wipe(connected)
    root = tmp_path_factory.mktemp("cascades")
    roots: dict[str, Path] = {"example": EXAMPLE}
    for seed, (name, (layers, features, edges, window)) in enumerate(SHAPES.items()):
        roots[name] = random_run(root / name, layers, features, edges, seed=seed + 20, window=window)
    return {name: Loaded(connected.ingest(r).run, twins.RunFiles.read(r), connected) for name, r in roots.items()}


@pytest.fixture(scope="module")
def graphs(loaded: dict[str, Loaded]) -> dict[str, nx.DiGraph]:
    """The same runs as graphs of this library."""
    made = {}
    for name, run in loaded.items():
        g = nx.DiGraph()
        g.add_nodes_from((i, {"layer": layer, "label": run.files.label[i]}) for i, layer in run.files.layer.items())
        for e in run.files.edges():
            kind = "later" if e["by"] == "later" else "total"
            g.add_edge(
                e["source"], e["target"], direct=e["direct"], span=e["span"], structural=twins.structural(e), kind=kind, total=e["total"]
            )
        made[name] = g
    return made


CASES: list[tuple[str, dict[str, Any]]] = [
    ("cascade", {"feature": "FIRST", "max_hops": 2, "delta": 2.0, "min_effect": 0.0, "decay": 0.5, "limit": ALL}),
    ("cascade", {"feature": "FIRST", "max_hops": 5, "min_effect": 0.0, "decay": 0.9, "limit": ALL}),
    ("cascade", {"feature": "FIRST", "max_hops": 4, "min_effect": 0.0, "min_strength": 0.05, "limit": ALL}),
    *[("between", {"source": "FROM", "target": "TO", "max_hops": h, "limit": ALL}) for h in (2, 3, 4)],
    ("between", {"source": "FROM", "target": "TO", "min_strength": 0.05}),
    ("between", {"source": "TO", "target": "FROM"}),
    *[("bottlenecks", {"edges": e, "min_strength": s, "limit": ALL}) for e in ("structural", "all") for s in (0.0, 0.1, 0.3)],
]


@pytest.mark.parametrize("which", ["example", "deep"])
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


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    which=st.sampled_from(["example", *SHAPES]),
    delta=st.floats(-10, 10).filter(lambda x: abs(x) > 1e-3),
    hops=st.integers(1, 5),
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
    mine = predict_cascade(g, source, delta, hops, min_effect=min_effect, min_strength=min_strength, decay=decay, draws=0)
    rows = run.ask(
        "cascade", feature=source, delta=delta, max_hops=hops, min_effect=min_effect, min_strength=min_strength, decay=decay, limit=ALL
    ).records
    # The library leaves out what is moved by too little in sum; the template reports every feature that one step moved enough.
    theirs = {r["id"]: r for r in rows if abs(r["effect"]) >= min_effect and r["effect"] != 0}
    near = [r["effect"] for r in rows if abs(abs(r["effect"]) - min_effect) < 1e-12 * (1 + abs(delta))]
    assume(not near or min_effect == 0)
    if min_effect == 0:  # ways that cancel leave rounding
        theirs = {i: r for i, r in theirs.items() if abs(r["effect"]) > 1e-12 or i in mine.effects}
    assert set(mine.effects) - set(theirs) <= {i for i, x in mine.effects.items() if abs(x) <= 1e-12}
    for i, row in theirs.items():
        assert mine.effects.get(i, 0.0) == pytest.approx(row["effect"], rel=1e-6, abs=1e-12)
        assert mine.hops.get(i, row["hops"]) == row["hops"]


def test_paths_of_the_database_are_among_the_librarys_best(loaded: dict[str, Loaded], graphs: dict[str, nx.DiGraph]) -> None:
    """Cheapest by −ln(|direct| / scale) is largest by product only at equal length, so compare the products of the same paths."""
    run = loaded["deep"]
    source, target = run.far_pair()
    every = predict_cascade(DirectEffects.of(graphs["deep"]), source, 1.0, 6, min_effect=0, top_paths=10_000).paths
    known = {p.nodes: p.effect for p in every if p.nodes[-1] == target}
    rows = run.ask("paths", source=source, target=target, k=20).records
    assert rows
    for row in rows:
        assert known[tuple(row["path"])] == pytest.approx(row["effect"], rel=1e-9)
