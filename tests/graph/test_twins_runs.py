"""Features in several runs, behaviours, whole runs and their soundness: the rows of the templates equal those of their twins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import queries
from feature_graph.database.store import Store
from tests.graph import twins, twins_runs
from tests.rundirs import agreeing, random_run, write_files
from tests.support.database import same_rows, wipe

pytestmark = pytest.mark.graph

ALL = 10_000
METHODS = ("clamping", "jacobian")


@dataclass(frozen=True)
class Loaded:
    """A run in the database, and its files."""

    id: str
    name: str
    files: twins.RunFiles
    store: Store

    def ask(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        answer = self.store.ask(name, run=self.id, **parameters)
        assert answer.columns == list(queries.template(name).columns)
        return answer.records


def load(store: Store, root: Path) -> Loaded:
    return Loaded(store.ingest(root).run, root.name, twins.RunFiles.read(root), store)


@pytest.fixture(scope="module")
def example(connected: Store) -> Loaded:
    wipe(connected)
    return load(connected, queries.example_run())


@pytest.fixture(scope="module")
def first(example: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load(
        example.store, random_run(tmp_path_factory.mktemp("one") / "first", n_layers=4, n_features=10, n_edges=150, seed=4, window=3)
    )


@pytest.fixture(scope="module")
def second(first: Loaded, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    """The first without its last three features, with some edges gone and some turned round in sign."""
    features, frame = first.files.features, first.files.interactions
    few = len(features) - 3
    kept = frame[(frame["src_fid"] < few) & (frame["tgt_fid"] < few)].iloc[4:].copy()
    kept.loc[kept.index[::5], ["mean_strength", "direct_strength", "later_strength"]] *= -1.0
    root = write_files(tmp_path_factory.mktemp("two") / "second", features.iloc[:few], agreeing(kept.reset_index(drop=True)), seed=5)
    loaded = load(first.store, root)
    yield loaded
    first.store.drop(loaded.id)


def defaults(name: str) -> dict[str, Any]:
    return {p.name: p.default for p in queries.template(name).parameters if p.type not in ("run", "projection", "behavior", "other_run")}


CASES: list[tuple[str, dict[str, Any]]] = [
    *[("orphans", {"method": m, "edges": e}) for m in METHODS for e in ("structural", "all")],
    ("orphans", {"method": "jacobian", "members": 1}),
    *[("duplicates", {"min_overlap": o, "min_shared": 1, "limit": ALL, "edges": e}) for o in (0.0, 0.4) for e in ("structural", "all")],
    ("duplicates", {"layer": 5, "min_overlap": 0.1}),
    ("duplicates", {"max_drivers": 3, "min_overlap": 0.0, "limit": 5}),
]
OF_BEHAVIORS: list[tuple[str, dict[str, Any]]] = [
    *[("behavior_hubs", {"hops": h, "min_behaviors": b, "edges": e}) for h in (0, 1, 2) for b in (1, 2) for e in ("structural", "all")],
    ("behavior_hubs", {"limit": 2, "min_behaviors": 1, "method": "jacobian"}),
    *[("seed_paths", {"behavior": b, "method": m}) for b in ("capital_of", "counting") for m in METHODS],
    ("seed_paths", {"behavior": "capital_of", "layer": 8}),
    *[("seed_paths", {"behavior": b, "to": "output"}) for b in ("capital_of", "counting")],
    ("seed_paths", {"behavior": "capital_of", "limit": 1}),
]


@pytest.mark.parametrize(
    ("name", "given"), [*CASES, *OF_BEHAVIORS], ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v.values()))
)
def test_the_example_s_rows_equal_the_twin(example: Loaded, name: str, given: dict[str, Any]) -> None:
    expected = getattr(twins_runs, name)(example.files, **defaults(name) | given)
    same_rows(example.ask(name, **given), expected)


@pytest.mark.parametrize(("name", "given"), [c for c in CASES if "jacobian" not in c[1].values()], ids=str)
def test_a_random_run_s_rows_equal_the_twin(first: Loaded, name: str, given: dict[str, Any]) -> None:
    same_rows(first.ask(name, **given), getattr(twins_runs, name)(first.files, **defaults(name) | given))


def test_two_runs_have_in_common(first: Loaded, second: Loaded) -> None:
    rows = first.ask("run_overlap", other=second.id)
    same_rows(rows, twins_runs.run_overlap(first.files, second.files, "clamping"))
    assert rows[0] | {"what": "features"} == rows[0]
    assert (rows[0]["both"], rows[0]["here"], rows[0]["there"]) == (len(second.files.features), 3, 0)
    assert 0 < rows[1]["same_sign"] < 1
    back = second.ask("run_overlap", other=first.id)
    assert [(r["both"], r["here"], r["there"]) for r in back] == [(r["both"], r["there"], r["here"]) for r in rows]


def test_runs_without_anything_in_common(example: Loaded, first: Loaded) -> None:
    rows = example.ask("run_overlap", other=first.id)
    same_rows(rows, twins_runs.run_overlap(example.files, first.files, "clamping"))
    assert {(r["both"], r["same_sign"]) for r in rows} == {(0, None)}


def test_a_feature_in_every_run_that_saw_it(first: Loaded, second: Loaded) -> None:
    runs = [(r.id, r.name, r.files) for r in (second, first)]
    for row in first.files.features.iloc[[0, 7, -1]].to_dict("records"):
        rows = first.ask("feature_in_runs", feature=row["id"])
        same_rows(rows, twins_runs.feature_in_runs(runs, row["uid"], "clamping"))
    assert [r["name"] for r in rows] == ["first"], "the last feature is not in the second run"


def test_drawings_hold_what_the_tables_tell(example: Loaded) -> None:
    def drawn(name: str, **given: Any) -> set[str]:
        rows = example.store.ask(name, visual=True, run=example.id, **given).records
        return {node["properties"]["uid"] for row in rows for node in row["path"]["nodes"]}

    uid = dict(zip(example.files.features["id"], example.files.features["uid"], strict=True))
    paths = example.ask("seed_paths", behavior="capital_of")
    of_behavior = {u for u in drawn("seed_paths", behavior="capital_of") if u in set(uid.values())}
    assert of_behavior == {uid[i] for row in paths for i in row["path"]}
    paths = example.ask("seed_paths", behavior="capital_of", to="output")
    assert {uid[i] for row in paths for i in row["path"]} <= drawn("seed_paths", behavior="capital_of", to="output")
    pairs = example.ask("duplicates", min_overlap=0.5)
    assert {uid[i] for row in pairs for i in (row["first"], row["second"])} <= drawn("duplicates", min_overlap=0.5)
    apart = example.ask("methods_agree", limit=5)
    assert {uid[row[end]] for row in apart for end in ("source", "target")} <= drawn("methods_agree")
    strong = example.ask("strongest", sign="inhibitory", limit=5)
    assert {uid[row[end]] for row in strong for end in ("source", "target")} <= drawn("strongest", sign="inhibitory")
    both = example.ask("shared", behavior="capital_of", other="counting")
    reached = {uid[row["id"]] for row in both if "target" in (row["first"], row["second"])}
    assert reached <= drawn("shared", behavior="capital_of", other="counting")
    mates = example.ask("co_drivers", feature="L5_F280", min_shared=2)
    assert {uid[row["id"]] for row in mates} <= drawn("co_drivers", feature="L5_F280", min_shared=2)


def test_a_way_s_effect_is_the_product_of_its_edges_and_no_other_way_is_stronger(example: Loaded) -> None:
    direct = {(e["source"], e["target"]): e["direct"] for e in example.files.edges() if twins.carries(e)}
    for row in example.ask("seed_paths", behavior="capital_of"):
        steps = list(zip(row["path"][:-1], row["path"][1:], strict=True))
        assert row["effect"] == pytest.approx(np.prod([direct[step] for step in steps]))
        for seed in twins.seeds(example.files, "capital_of"):
            assert all(abs(v) <= abs(row["effect"]) + 1e-12 for (s, t), v in direct.items() if (s, t) == (seed, row["target"]))
