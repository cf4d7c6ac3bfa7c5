"""Path sums of runs with dictionaries on components in the database: they are the measured total effects, and those of the library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

import ingest
from feature_graph.database.store import Store
from feature_graph.graph import PassedSites, graph_of_run
from feature_graph.steering import NO_INTERVALS, predict_cascade
from tests.support.database import ALL, wipe
from tests.support.one_token import effects_at_a_token, site_codecs, tiny_model

pytestmark = pytest.mark.graph
#: Two dictionaries on each MLP; paths lead through the transcoder. A file of edges orders only sites with a name, so the stream has one.
PARTS, STREAM = ("", "attn", "mlp", "tc"), "resid"
ORDER = ("attn", "tc", "mlp", STREAM)
ROUNDING = 1e-6


@dataclass(frozen=True)
class TinyRun:
    """Every effect at one token, as run directories, and in the database."""

    effects: pd.DataFrame
    root: Path
    run: str
    elsewhere: str
    store: Store


@pytest.fixture(scope="module")
def loaded(connected: Store, tmp_path_factory: pytest.TempPathFactory) -> TinyRun:
    """The same edges by clamping, and by a method of another program."""
    wipe(connected)
    model = tiny_model()
    effects = effects_at_a_token(model, site_codecs(model, PARTS))
    effects[["source", "target"]] = effects[["source", "target"]].replace("^(L[0-9])_", rf"\1.{STREAM}_", regex=True)
    blocks = [effects[end].str[1].astype(int) for end in ("source", "target")]
    # Every effect counts, however small: the sum over paths needs all of them.
    edges = effects.rename(columns={"total": "strength"}).assign(significant_by="total+direct", span=blocks[1] - blocks[0])
    roots = [
        ingest.from_frames(None, edges, model="tiny", method=method, site_order=ORDER, out=tmp_path_factory.mktemp("runs") / method)
        for method in ("clamping", "attribution")
    ]
    run, elsewhere = (connected.ingest(root).run for root in roots)
    return TinyRun(effects, roots[0], run, elsewhere, connected)


def sums(loaded: TinyRun, run: str, source: str, method: str) -> dict[str, float]:
    rows = loaded.store.ask("cascade", run=run, method=method, feature=source, min_effect=0.0, limit=ALL).records
    return {row["id"]: row["effect"] for row in rows}


def test_sums_over_paths_are_the_total_effects(loaded: TinyRun) -> None:
    off = 0.0
    for source, rows in list(loaded.effects.groupby("source"))[::3]:
        found, without = sums(loaded, loaded.run, source, "clamping"), sums(loaded, loaded.elsewhere, source, "attribution")
        for row in rows.itertuples():
            assert found.get(row.target, 0.0) == pytest.approx(row.total, abs=ROUNDING)
            off = max(off, abs(without.get(row.target, 0.0) - row.total))
    assert off > 1  # a program that holds every feature in between has other direct effects


def test_the_library_sums_the_same(loaded: TinyRun) -> None:
    graph = graph_of_run(loaded.root)
    assert PassedSites.of(graph).names == {"L1.tc", "L2.tc"}
    for source in sorted(graph)[::5]:
        mine = predict_cascade(graph, source, 1.0, min_effect=0.0, top_paths=0, uncertainty=NO_INTERVALS).effects
        assert sums(loaded, loaded.run, source, "clamping") == pytest.approx(mine, rel=1e-9, abs=1e-12)


def test_what_attention_carries_is_in_the_effect_past_it(loaded: TinyRun) -> None:
    """Asked for a path through a feature that paths do not lead through, the answer has those that go past it."""
    source = loaded.effects["source"].iloc[0]
    target = loaded.effects.loc[loaded.effects["target"].str.startswith("L2.resid"), "target"].iloc[0]
    asked = {"run": loaded.run, "source": source, "target": target}
    middle = {row["id"].partition("_F")[0] for row in loaded.store.ask("between", **asked, limit=ALL).records}
    assert middle == {"L1.tc", "L2.tc"}
    paths = loaded.store.ask("paths", **asked, k=100).records
    assert {name.partition("_F")[0] for row in paths for name in row["path"][1:-1]} <= middle
    assert [source, target] in [row["path"] for row in paths]
    every = loaded.store.ask("between", run=loaded.elsewhere, method="attribution", source=source, target=target, limit=ALL).records
    assert {row["id"].partition("_F")[0] for row in every} == {*(f"L1.{part}" for part in ORDER), "L2.attn", "L2.tc", "L2.mlp"}
