"""Pruning recall where the answer is known: the planted model, all its sources, thresholds at which each loss can be counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_graph.activations import collect_activations
from feature_graph.artifacts import ActivationStore, ArtifactError, feature_id
from feature_graph.candidates import shortlist
from feature_graph.coactivation import build_coactivation_atlas
from feature_graph.config import Config
from feature_graph.evaluation.planted import PlantedModel, nonlinear_pairs, true_effects
from feature_graph.evaluation.pruning_recall import PruningRecall, RecallError, pruning_recall, sample
from feature_graph.interventions import AnalysedModel
from feature_graph.responses import measure_responses

CHOSEN = {0: ("excite", "inhibit", "chain", "carry"), 1: ("excited", "chain1", "carried"), 2: ("chain2",), 3: ("chain3", "forwarded")}
Edge = tuple[tuple[int, int], tuple[int, int]]


@pytest.fixture(scope="module")
def store(planted: PlantedModel, tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    path = tmp_path_factory.mktemp("recall") / "activations.h5"
    return collect_activations(planted.model, planted.saes, planted.config(), tokens=planted.tokens, path=path)


def importance(planted: PlantedModel) -> dict[int, np.ndarray]:
    """1 for the chosen features, next to nothing for the others, a little less for each than for the one before."""
    values = {layer: 1e-6 / (1 + np.arange(sae.cfg.d_sae)) for layer, sae in planted.saes.items()}
    for site, names in CHOSEN.items():
        for name in names:
            layer, index = planted.key(site, name)
            values[layer][index] = 1.0
    return values


def settings(planted: PlantedModel, **changes: Any) -> Config:
    values = {"top_k_features": 4, "min_coactivation": 10, "min_decoder_alignment": 0.005, "n_placebo": 20, "n_intervention_samples": 30}
    return planted.config(**(values | changes))


def measured(planted: PlantedModel, store: ActivationStore, n_sources: int = 64, **changes: Any) -> PruningRecall:
    cfg = settings(planted, **changes)
    atlas = build_coactivation_atlas(store, cfg)
    return pruning_recall(
        planted.model, planted.saes, store, atlas, cfg, n_sources=n_sources, importance=importance(planted), progress=False
    )


@pytest.fixture(scope="module")
def found(planted: PlantedModel, store: ActivationStore) -> PruningRecall:
    return measured(planted, store)


def truth(planted: PlantedModel, window: int) -> set[Edge]:
    return {*true_effects(planted.wiring, window), *nonlinear_pairs(planted.wiring, window)}


def lost(planted: PlantedModel, side: int) -> set[Edge]:
    top = {planted.key(site, name) for site, names in CHOSEN.items() for name in names}
    ranked = {layer: [k for k in range(sae.cfg.d_sae) if (layer, k) not in top] for layer, sae in planted.saes.items()}
    for layer, others in ranked.items():  # the lower index first
        top |= {(layer, k) for k in others[: 4 - sum(n == layer for n, _ in top)]}
    return {edge for edge in truth(planted, 2) if edge[side] not in top}


def test_the_shortlist_by_responses_is_judged_beside_the_stages(planted: PlantedModel, store: ActivationStore, tmp_path: Path) -> None:
    cfg = settings(planted, shortlist_pairs=600)
    analysed = AnalysedModel.of(planted.model, planted.saes, cfg)
    responses = measure_responses(analysed, planted.saes, store, cfg, tmp_path / "responses.h5", progress=False)
    atlas = build_coactivation_atlas(store, cfg)
    chosen = shortlist(responses, atlas, store, analysed, cfg)
    found = pruning_recall(
        analysed, planted.saes, store, atlas, cfg, n_sources=64, importance=importance(planted), shortlisted=chosen.frame, progress=False
    )
    loss = found.of("responses")
    assert loss.edges == found.of("all_stages").edges
    assert loss.lost < found.of("all_stages").lost  # four features a site lose most; 40 pairs of two sites, by effect, do not
    assert found.stage_names["responses"] == "shortlist by responses instead"
    assert found.settings["shortlist_pairs"] == 600
    on_it = {f"L{layer}_F{i}" for layer, i in chosen.frame[["src_layer", "src_index"]].itertuples(index=False)}
    assert sum(layer["chosen"] for layer in found.sources.values()) == len(on_it)  # all are testable here
    taken = {(f"L{r.src_layer}_F{r.src_index}", f"L{r.tgt_layer}_F{r.tgt_index}") for r in chosen.frame.itertuples()}
    inside = {(feature_id(*s), feature_id(*t)) for s, t in truth(planted, 2)}
    mine = found.of("responses", "chosen")
    assert mine.edges == sum(source in on_it for source, _ in inside)
    assert mine.lost == sum(source in on_it and (source, target) not in taken for source, target in inside)
    assert loss.lost == sum(edge not in taken for edge in inside)


def test_places_that_a_group_cannot_fill_go_to_the_others(planted: PlantedModel, store: ActivationStore) -> None:
    cfg = settings(planted)
    able = sample.testable(store, 0, cfg.min_documents)
    groups = {"chosen": able[:1], "top": able[:5]}
    drawn = sample.draw_sources(store, groups, cfg, 0, 12)
    assert drawn.groups == {"chosen": 1, "top": 4}
    counted = {name: int((drawn.stratum == name).sum()) for name in ("chosen", "top", "other")}
    assert counted == {"chosen": 1, "top": 4, "other": 7}
    assert drawn.weight[drawn.stratum == "other"] == pytest.approx((len(able) - 5) / 7)
    assert drawn.weight.sum() == pytest.approx(len(able))


def test_the_slice_finds_the_planted_edges_and_each_stage_its_losses(found: PruningRecall, planted: PlantedModel) -> None:
    inside, all_ = truth(planted, 2), truth(planted, 3)
    assert found.edges == len(all_)
    assert (found.of("layer_window").edges, found.of("layer_window").lost) == (len(all_), len(all_ - inside))
    assert len(all_ - inside) == 2  # chain → chain3, carry → forwarded
    source, target = lost(planted, 0), lost(planted, 1)
    assert (found.of("source").edges, found.of("source").lost) == (len(inside), len(source))
    assert (found.of("target").edges, found.of("target").lost) == (len(inside), len(target))
    adjacent = {edge for edge in inside if edge[1][0] - edge[0][0] == 1}
    assert (found.of("alignment").edges, found.of("alignment").lost) == (len(adjacent), 0)
    assert found.of("all_stages").lost >= len(source | target)
    assert found.of("source").share == pytest.approx(len(source) / len(inside))
    assert found.of("source", "top").lost == 0
    assert found.of("target", "top").edges == len(inside - source)


def test_losses_are_told_apart_by_sign(found: PruningRecall, planted: PlantedModel) -> None:
    for stage in ("source", "target", "coactivation", "alignment", "all_stages", "layer_window"):
        both, up, down = (found.of(stage, sign=sign) for sign in ("both", "excitatory", "inhibitory"))
        assert (both.edges, both.lost) == (up.edges + down.edges, up.lost + down.lost)
    signs = {edge: np.sign(e.total + e.direct + e.later) for edge, e in true_effects(planted.wiring, 2).items()}
    pushed = {(planted.key(0, "push"), planted.key(1, "pushed"))}
    gone = {edge for edge in lost(planted, 1) if signs.get(edge, 1) < 0} | (pushed & lost(planted, 1))
    assert found.of("target", sign="inhibitory").lost == len(gone) > 0


def test_strong_edges_weigh_more(found: PruningRecall, planted: PlantedModel) -> None:
    row = found.of("layer_window")
    lost_strength = 0.9 * 0.7 * 0.8 + 0.75 * 0.65
    assert row.share is not None
    assert row.strength_share is not None
    assert row.strength_share < row.share  # what two or three steps carry is weaker
    total = lost_strength / row.strength_share
    assert 10 < total < 40


def test_plain_cosine_loses_what_the_mlp_computes(planted: PlantedModel, store: ActivationStore) -> None:
    row = measured(planted, store, alignment="cosine").of("alignment")
    assert row.edges - row.lost == 2  # what is passed on unchanged from site 0 to 1 and from 1 to 2


def test_coactivation_is_counted_as_the_pipeline_counts(planted: PlantedModel, store: ActivationStore) -> None:
    least = 300
    row = measured(planted, store, min_coactivation=least).of("coactivation")
    select = np.flatnonzero(store.splits == 0)
    context = store.context_length

    def active(key: tuple[int, int]) -> np.ndarray:
        return store.activations[key[0]][:, [key[1]]].toarray().reshape(-1, context)[select] > 0

    def joint(edge: Edge) -> int:
        a, b = active(edge[0]), active(edge[1])
        later = np.zeros_like(b)
        for step in range(1, 5):
            later[:, :-step] |= b[:, step:]
        return max(int((a & b).sum()), int((a & later).sum()))

    gone = {edge for edge in truth(planted, 2) if joint(edge) < least}
    assert 0 < row.lost < row.edges
    assert row.lost == len(gone)


def test_a_sample_stands_for_all_testable_sources(planted: PlantedModel, store: ActivationStore, found: PruningRecall) -> None:
    few = measured(planted, store, n_sources=8)
    layer = min(planted.saes)
    assert few.sources[str(layer)]["drawn"] == 8
    assert few.sources[str(layer)]["testable"] == found.sources[str(layer)]["testable"] == found.sources[str(layer)]["drawn"]
    row, whole = few.of("source"), found.of("source")
    assert row.low is not None
    assert row.high is not None
    assert whole.share is not None
    assert row.low <= whole.share <= row.high
    assert row.low < row.high


@pytest.mark.parametrize("value", [0.0, np.nan], ids=["none", "unknown"])
def test_features_without_an_importance_take_the_places_that_are_left(planted: PlantedModel, store: ActivationStore, value: float) -> None:
    """As in a run, whose candidates are chosen by frequency there."""
    cfg = settings(planted)
    atlas, given = build_coactivation_atlas(store, cfg), {layer: np.full(sae.cfg.d_sae, value) for layer, sae in planted.saes.items()}
    found = pruning_recall(planted.model, planted.saes, store, atlas, cfg, n_sources=2, importance=given, progress=False)
    for layer in cfg.layers[:-1]:
        often = np.lexsort((np.arange(len(atlas.active[layer])), -atlas.active[layer]))[: cfg.top_k_features]
        assert found.sources[str(layer)]["top"] == len(np.intersect1d(often, sample.testable(store, layer, cfg.min_documents))) > 0


def test_figures_survive_the_disk(found: PruningRecall, tmp_path: Path) -> None:
    found.save(tmp_path / "pruning_recall.json")
    assert PruningRecall.load(tmp_path / "pruning_recall.json") == found
    (tmp_path / "other.json").write_text('{"kind": "graph", "version": 1}')
    with pytest.raises(ArtifactError, match="got kind graph version 1; expected pruning_recall version 1"):
        PruningRecall.load(tmp_path / "other.json")
    with pytest.raises(ArtifactError, match="feature-graph pruning-recall"):
        PruningRecall.load(tmp_path / "none.json")


def test_what_cannot_be_drawn_is_refused(planted: PlantedModel, store: ActivationStore) -> None:
    with pytest.raises(RecallError, match="n_sources: got 1; at least 2"):
        measured(planted, store, n_sources=1)
    with pytest.raises(RecallError, match="active in enough documents"):
        measured(planted, store, min_documents=200)
    cfg = settings(planted)
    with pytest.raises(RecallError, match="layer 1 is missing or of another width"):
        pruning_recall(
            planted.model, planted.saes, store, build_coactivation_atlas(store, cfg), cfg,
            importance=importance(planted) | {1: np.ones(3)}, progress=False,
        )  # fmt: skip
