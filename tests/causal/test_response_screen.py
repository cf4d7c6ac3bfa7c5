"""The screen: effects from responses, readers and gates are what the plain sums over tokens give; candidates chosen by it."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from feature_graph.artifacts import SELECT, ArtifactError, CandidateSet, ResponseStore, feature_id
from feature_graph.candidates import shortlist
from feature_graph.coactivation import build_coactivation_atlas
from feature_graph.interventions import AnalysedModel
from feature_graph.responses import EFFECTS, ResponseScreen, measure_responses
from tests.support.interaction_stage import Stage

CHANGES = {"response_samples": 7, "response_documents": 3, "min_coactivation": 0, "importance_tokens": 64}


class Screened:
    """A tiny run with responses."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.stage = Stage(folder, kind=kind, **CHANGES)
        self.model = AnalysedModel.of(self.stage.tiny.model, self.stage.tiny.saes, self.stage.cfg)
        self.store = measure_responses(
            self.model, self.stage.tiny.saes, self.stage.store, self.stage.cfg, folder / "responses.h5", progress=False
        )
        self.screen = ResponseScreen(self.store, self.stage.store, self.model.codecs)


@pytest.fixture(scope="module", params=["standard", "jumprelu"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Screened:
    return Screened(tmp_path_factory.mktemp("screen"), request.param)


def plain_effects(run: Screened, source: tuple[int, int], target: tuple[int, int]) -> dict[str, float]:
    """One pair, from the definitions."""
    store, codecs = run.stage.store, run.model.codecs
    rows = store.rows_of(SELECT)
    one = store.activations[source[0]].toarray()[rows, source[1]]
    two = store.activations[target[0]].toarray()[rows, target[1]]
    n, c, base = (one > 0).sum(), ((one > 0) & (two > 0)).sum(), (two > 0).mean()
    on = (c + 2 * base) / (n + 2)
    jump = 0.0
    threshold = codecs[target[0]].threshold
    if threshold is not None:
        jump = ((one > 0) & (two > 0) & (two <= 1.25 * float(threshold[target[1]]))).sum() / (0.25 * n)
    place = int(np.flatnonzero(run.store.sources[source[0]].index == source[1])[0])
    d, w = codecs[source[0]].w_dec[source[1]].numpy(), codecs[target[0]].w_enc[:, target[1]].numpy()
    r, usual = run.store.means(source[0], target[0])[place], run.store.generic(source[0], target[0])[place]
    total, copy = ((on + jump) * float(v @ w) for v in (r, d))
    return {"on": on, "total": total, "copy": copy, "computed": total - copy, "specific": total - copy - (on + jump) * float(usual @ w)}


def test_edges_are_what_the_definitions_give(run: Screened) -> None:
    frame = run.screen.edges(sites=(0, 3))
    assert len(frame) == len(run.store.sources[0].index) * 40
    for row in frame.iloc[[0, 5, 100, len(frame) - 1]].itertuples():
        source, target = (tuple(int(part[1:]) for part in name.split("_")) for name in (row.source, row.target))
        expected = plain_effects(run, source, target)
        for name, value in expected.items():
            assert getattr(row, name) == pytest.approx(value, rel=2e-5, abs=1e-6), name


@pytest.mark.parametrize("effect", EFFECTS)
def test_the_strongest_come_first_and_top_cuts(run: Screened, effect: str) -> None:
    whole = run.screen.edges(sites=(0, 1), effect=effect)
    size = whole[effect].abs().to_numpy()
    assert (np.diff(size) <= 0).all()
    some = run.screen.edges(sites=(0, 1), effect=effect, top=9)
    assert some[effect].abs().tolist() == pytest.approx(size[:9].tolist())


def test_edges_of_a_source_and_of_a_target_are_slices_of_the_whole(run: Screened) -> None:
    index = int(run.store.sources[0].index[2])
    out = run.screen.edges(source=feature_id(0, index))
    assert len(out) == 2 * 40
    into = run.screen.edges(target="L3_F7")
    assert len(into) == sum(len(run.store.sources[n].index) for n in (0, 1))
    both = run.screen.edges(source=feature_id(0, index), target="L3_F7")
    assert len(both) == 1
    for frame in (out[out["target"] == "L3_F7"], into[into["source"] == feature_id(0, index)]):
        for name in (*EFFECTS, "on", "reliability"):
            assert frame[name].item() == pytest.approx(both[name].item(), rel=1e-5, abs=1e-7, nan_ok=True)


def test_without_the_threshold_term_only_jumps_are_lost(run: Screened) -> None:
    smooth = ResponseScreen(run.store, run.stage.store, run.model.codecs, threshold=False)
    with_jump, without = (s.edges(sites=(0, 3)).sort_values(["source", "target"]) for s in (run.screen, smooth))
    jumps = run.model.codecs[3].threshold is not None
    assert (np.abs(with_jump["total"].to_numpy() - without["total"].to_numpy()).max() > 1e-6) == jumps


def test_what_cannot_be_asked_is_said(run: Screened) -> None:
    with pytest.raises(ValueError, match="give source="):
        run.screen.edges()
    with pytest.raises(ValueError, match="give source="):
        run.screen.edges(source="L0_F1", sites=(0, 1))
    with pytest.raises(ValueError, match="'direct'; expected one of total"):
        run.screen.edges(source="L0_F1", effect="direct")  # type: ignore[arg-type]
    with pytest.raises(ArtifactError, match="L3_F1: has no response"):
        run.screen.edges(source="L3_F1")
    with pytest.raises(ArtifactError, match="L3_F40 does not exist"):
        run.screen.edges(target="L3_F40")
    with pytest.raises(ArtifactError, match="no responses of layer 1 at layer 0"):
        run.screen.edges(sites=(1, 0))


def test_a_source_costs_a_few_milliseconds(run: Screened) -> None:
    name = feature_id(0, int(run.store.sources[0].index[0]))
    run.screen.edges(source=name)
    begun = time.process_time()
    for _ in range(10):
        run.screen.edges(source=name)
    assert (time.process_time() - begun) / 10 < 0.05


def test_candidates_are_the_largest_of_all_pairs(run: Screened, tmp_path: Path) -> None:
    stage = run.stage
    cfg = stage.cfg.model_copy(update={"candidates": "responses", "shortlist_pairs": 90, "density_range": (0.05, 0.6)})
    atlas = build_coactivation_atlas(stage.store, cfg)
    found = shortlist(run.store, atlas, stage.store, run.model, cfg)
    share = 90 // (3 * len(cfg.layer_pairs))
    table = run.screen.edges(sites=(0, 1), effect="specific")
    dense = {n: run.screen.gates.density(n) for n in (0, 1)}
    able = {feature_id(n, i) for n, values in dense.items() for i in np.flatnonzero((values >= 0.05) & (values <= 0.6))}
    assert able
    assert len(able) < 80  # the range leaves something out
    outside = next(name for name in table["source"] if name not in able)
    assert len(run.screen.edges(source=outside, top=5)) == 5  # it can still be asked for
    expected = table[table["source"].isin(able) & table["target"].isin(able)].head(share)
    mine = found.frame[(found.frame["src_layer"] == 0) & (found.frame["tgt_layer"] == 1)]
    names = {(feature_id(0, s), feature_id(1, t)) for s, t in zip(mine["src_index"], mine["tgt_index"], strict=True)}
    assert set(zip(expected["source"], expected["target"], strict=True)) <= names
    assert set(found.frame["arm"]) <= {"specific", "computed", "total"}
    assert not found.frame.duplicated(["src_layer", "src_index", "tgt_layer", "tgt_index"]).any()
    assert len(found) <= 90
    found.save(tmp_path / "candidates.parquet")
    assert len(CandidateSet.load(tmp_path / "candidates.parquet", stage.store)) == len(found)
    assert len(stage.run(candidates=found, cfg=cfg)) > 0


def test_a_shortlist_of_few_sources_has_their_largest_effects(run: Screened) -> None:
    stage = run.stage
    cfg = stage.cfg.model_copy(
        update={"candidates": "responses", "shortlist_pairs": 300, "shortlist_sources": 3, "density_range": (0.05, 0.6)}
    )
    found = shortlist(run.store, build_coactivation_atlas(stage.store, cfg), stage.store, run.model, cfg)
    dense = {n: run.screen.gates.density(n) for n in run.model.codecs}
    able = {feature_id(n, i) for n, values in dense.items() for i in np.flatnonzero((values >= 0.05) & (values <= 0.6))}
    for layer, part in found.frame.groupby("src_layer"):
        tables = [run.screen.edges(sites=pair, effect="specific") for pair in cfg.layer_pairs if pair[0] == layer]
        table = pd.concat(tables)
        table = table[table["source"].isin(able) & table["target"].isin(able)]
        squares = table["specific"].pow(2).groupby(table["source"]).sum()
        chosen = {feature_id(int(layer), int(index)) for index in part["src_index"]}
        assert chosen == set(squares.nlargest(3).index)
    assert [step.stage for step in found.stages] == ["density", "sources", "responses"]
    assert found.stages[1].after < found.stages[1].before
    for before, after in pairwise(found.stages):
        assert before.after == after.before >= after.after
    alone = stage.cfg.model_copy(update={"candidates": "responses", "shortlist_pairs": 300, "density_range": (0.05, 0.6)})
    everybody = shortlist(run.store, build_coactivation_atlas(stage.store, alone), stage.store, run.model, alone)
    assert everybody.frame["src_index"].nunique() > 5
    assert len(found) > len(found.frame["src_index"].unique()) * 10  # the places go to more targets of each


def test_seeds_have_places_of_their_own_whatever_their_density(run: Screened) -> None:
    stage = run.stage
    changes = {"candidates": "responses", "shortlist_pairs": 60, "shortlist_sources": 2, "density_range": (0.2, 0.4)}
    cfg = stage.cfg.model_copy(update=changes)
    atlas = build_coactivation_atlas(stage.store, cfg)
    middle, last = cfg.layers[1:]
    density = {n: run.screen.gates.density(n) for n in cfg.layers}
    able = {n: set(np.flatnonzero((d >= 0.2) & (d <= 0.4)).tolist()) for n, d in density.items()}
    seeds = {
        middle: [next(int(i) for i in run.store.sources[middle].index if int(i) not in able[middle])],
        last: [next(i for i in range(len(density[last])) if i not in able[last])],
    }
    without = shortlist(run.store, atlas, stage.store, run.model, cfg).frame
    found = shortlist(run.store, atlas, stage.store, run.model, cfg, seeds).frame
    assert _named(without) == _named(found[found["arm"] != "seed"])
    sources = {n: set(part["src_index"]) for n, part in without.groupby("src_layer")}
    expected, taken = set(), _named(found[found["arm"] != "seed"])
    for pair in cfg.layer_pairs:
        table = run.screen.edges(sites=pair, effect="specific")
        ids = [{feature_id(n, i) for i in seeds.get(n, [])} for n in pair]
        open_ = {feature_id(pair[0], i) for i in sources[pair[0]]} | ids[0], {feature_id(pair[1], i) for i in able[pair[1]]} | ids[1]
        for seed in ids[0]:  # what the seed drives
            expected |= _pairs(table[(table["source"] == seed) & table["target"].isin(open_[1])].head(3))
        for seed in ids[1]:  # and what drives it, of the sources that are measured
            expected |= _pairs(table[(table["target"] == seed) & table["source"].isin(open_[0])].head(3))
    mine = _named(found[found["arm"] == "seed"])
    assert mine == expected - taken
    assert any(target == feature_id(last, seeds[last][0]) for _, target in mine)
    assert any(source == feature_id(middle, seeds[middle][0]) for source, _ in mine)


def _named(frame: pd.DataFrame) -> set[tuple[str, str]]:
    rows = frame[["src_layer", "src_index", "tgt_layer", "tgt_index"]].itertuples(index=False)
    return {(feature_id(a, b), feature_id(c, d)) for a, b, c, d in rows}


def _pairs(table: pd.DataFrame) -> set[tuple[str, str]]:
    table = table[table["specific"] != 0]
    return set(zip(table["source"], table["target"], strict=True))


def test_responses_are_opened_with_their_run(run: Screened) -> None:
    assert ResponseStore(run.store.path).sources.keys() == run.store.sources.keys()
