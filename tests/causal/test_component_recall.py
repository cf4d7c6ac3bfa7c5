"""Pruning recall with transcoders: every pair of the slice has the effect that it has as a candidate, and each loss can be counted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from feature_graph.activations import collect_activations
from feature_graph.artifacts import SELECT, TEST, ActivationStore, CandidateSet, CoactivationAtlas, as_key, feature_id
from feature_graph.candidates import shortlist, window_of
from feature_graph.coactivation import build_coactivation_atlas
from feature_graph.config import Config
from feature_graph.evaluation.planted import COMPONENT_VARIANTS, PLANTED, PlantedComponents, component_effects
from feature_graph.evaluation.pruning_recall import PruningRecall, pruning_recall, sample
from feature_graph.interactions import measure_interactions
from feature_graph.interventions import AnalysedModel
from feature_graph.responses import measure_responses

SETTINGS: dict[str, Any] = {"layer_window": 2, "top_k_features": 4, "min_coactivation": 1}
EFFECTS = ["mean_strength", "direct_strength", "later_strength", "copy_strength", "computed_strength", "p_value", "p_computed"]


@dataclass
class Run:
    """A planted model with transcoders, its activations, and all its pairs measured as candidates."""

    planted: PlantedComponents
    model: AnalysedModel
    cfg: Config
    store: ActivationStore
    atlas: CoactivationAtlas
    pairs: pd.DataFrame
    measured: pd.DataFrame

    def recall(self, **changes: Any) -> PruningRecall:
        """Of all sources that can be measured."""
        given = {"n_sources": 64, "importance": importance(self), "progress": False} | changes
        return pruning_recall(self.model, self.planted.saes, self.store, self.atlas, self.cfg, **given)

    @cached_property
    def whole(self) -> PruningRecall:
        """As the run stands."""
        return self.recall()

    @property
    def edges(self) -> pd.DataFrame:
        """Significant pairs, up to one site beyond the window."""
        return self.measured[self.measured["significant"].astype(bool)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    variant = COMPONENT_VARIANTS["transcoder"]
    planted = variant.build(11)
    cfg = Config(**variant.config(planted).model_dump() | SETTINGS)
    model = AnalysedModel.of(planted.model, planted.saes, cfg, components=True)
    store = collect_activations(model, planted.saes, cfg, tokens=planted.tokens, path=tmp_path_factory.mktemp("run") / "activations.h5")
    wide = beyond(cfg)
    pairs = every_pair(model, store, wide)
    measured = measure_interactions(model, planted.saes, CandidateSet(pairs, store), wide, progress=False).frame
    return Run(planted, model, cfg, store, build_coactivation_atlas(store, cfg), pairs, measured)


def beyond(cfg: Config) -> Config:
    """With a window of one site more."""
    return cfg.model_copy(update={"layer_window": cfg.layer_window + 1})


def every_pair(model: AnalysedModel, store: ActivationStore, cfg: Config) -> pd.DataFrame:
    """All pairs of features of the window, as the slice makes them of all sources."""
    reach: dict[int, list[int]] = {}
    for source, target in window_of(model.codecs, cfg):
        reach.setdefault(source, []).append(target)
    drawn = {site: sample.draw_sources(store, {}, cfg, site, 64) for site in reach}
    return pd.concat([sample.slice_pairs(store, drawn[site], reach[site]) for site in reach], ignore_index=True)


def importance(run: Run) -> dict[int, np.ndarray]:
    """The lower the index, the more."""
    return {site: 1 / (1 + np.arange(codec.d_sae, dtype=float)) for site, codec in run.model.codecs.items()}


def indices(names: pd.Series) -> np.ndarray:
    return names.str.rpartition("_F")[2].to_numpy(np.int64)


def test_a_pair_of_the_slice_has_the_effects_that_it_has_as_a_candidate(run: Run) -> None:
    few = run.pairs.sample(frac=0.3, random_state=0)
    alone = measure_interactions(run.model, run.planted.saes, CandidateSet(few, run.store), run.cfg, progress=False).frame
    both = alone.merge(run.measured, on=["src_id", "tgt_id"], suffixes=("", "_slice"))
    assert len(both) == len(alone) > 100
    for column in EFFECTS:
        np.testing.assert_allclose(both[column], both[f"{column}_slice"], atol=1e-6, rtol=1e-5)


def test_the_slice_has_every_planted_edge_and_nothing_that_is_not_there(run: Run) -> None:
    half = (np.asarray(run.store.splits == part) for part in (SELECT, TEST))
    truth = component_effects(run.planted, beyond(run.cfg), *half)
    named = {(feature_id(*source), feature_id(*target)): effect.largest for (source, target), effect in truth.items()}
    found = set(zip(run.edges["src_id"], run.edges["tgt_id"], strict=True))
    assert {pair for pair, size in named.items() if size >= PLANTED} <= found
    assert found <= {pair for pair, size in named.items() if size >= run.cfg.min_effect}
    assert run.whole.edges == len(found)


def test_each_stage_loses_what_is_counted_by_hand(run: Run) -> None:
    found, edges = run.whole, run.edges
    assert set(found.sources) == {"L0", "L1.tc", "L2.tc"}  # what the transcoder of block 3 writes is a weight at L3
    assert found.tested == len(run.pairs)
    inside = edges[edges["span"] <= 2]
    window = found.of("layer_window")
    assert (window.edges, window.lost) == (len(edges), len(edges) - len(inside))
    assert 0 < window.lost < window.edges
    for stage, side in (("source", "src"), ("target", "tgt")):
        loss = found.of(stage)
        assert (loss.edges, loss.lost) == (len(inside), int((indices(inside[f"{side}_id"]) >= 4).sum()))
        assert 0 < loss.lost < loss.edges
    assert "alignment" not in found.stage_names  # no stage looks at it here
    assert found.of("all_stages").lost >= found.of("source").lost


def test_the_shortlist_of_a_run_with_components_is_judged(run: Run, tmp_path: Path) -> None:
    cfg = Config(
        **run.cfg.model_dump() | {"candidates": "responses", "shortlist_pairs": 60, "response_documents": 2, "response_samples": 4}
    )
    responses = measure_responses(run.model, run.planted.saes, run.store, cfg, tmp_path / "responses.h5", progress=False)
    chosen = shortlist(responses, run.atlas, run.store, run.model, cfg)
    found = run.recall(shortlisted=chosen.frame)
    taken = {(c.src_id, c.tgt_id) for c in chosen}
    inside = run.edges[run.edges["span"] <= 2]
    kept = sum(pair in taken for pair in zip(inside["src_id"], inside["tgt_id"], strict=True))
    assert 0 < kept < len(inside)
    assert (found.of("responses").edges, found.of("responses").lost) == (len(inside), len(inside) - kept)
    on_it = {source for source, _ in taken}
    assert found.of("responses", "chosen").edges == int(inside["src_id"].isin(on_it).sum())
    able = {feature_id(as_key(site), int(i)) for site in run.atlas.active for i in sample.testable(run.store, site, cfg.min_documents)}
    assert sum(site["chosen"] for site in found.sources.values()) == len(on_it & able)
