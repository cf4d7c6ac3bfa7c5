from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_graph.activations import collect_activations
from feature_graph.artifacts import SELECT, CandidateSet
from feature_graph.candidates import CandidateError, identify_candidates
from feature_graph.candidates.alignment import Aligned, _draw, _occurrence
from feature_graph.candidates.grid import Cells, Grid
from feature_graph.candidates.rescue import Rescue
from feature_graph.coactivation import build_coactivation_atlas
from feature_graph.config import Config
from tests.support.counting import brute_force
from tests.support.selection_models import random_tokens, tiny_model, tiny_saes

LAYERS = [0, 1, 2, 3]
BASE = Config(
    layers=LAYERS, context_length=10, position_horizon=2, sae_quality="off", top_k_features=12, layer_window=2,
    min_coactivation=45, min_decoder_alignment=0.1, rescue_fraction=0.2, alignment="cosine", importance_tokens=300,
)  # fmt: skip


def config(**changes) -> Config:
    return Config(**(BASE.model_dump() | changes))


@pytest.fixture(scope="module")
def run():
    model, saes = tiny_model(4), tiny_saes((0, 1, 2, 3))
    store = collect_activations(model, saes, BASE, random_tokens(80))
    return model, saes, store, build_coactivation_atlas(store, BASE)


@pytest.fixture(scope="module")
def chosen(run):
    model, saes, store, atlas = run
    return identify_candidates(atlas, saes, BASE, activation_store=store, model=model)


@pytest.fixture(scope="module")
def joint(run):
    """Layer pair → (same, later) dense counts by two loops, and layer → active counts."""
    _, _, store, _ = run
    rows = (np.flatnonzero(store.splits == SELECT)[:, None] * 10 + np.arange(10)).ravel()
    on = {n: store.activations[n][rows].toarray() > 0 for n in LAYERS}
    return {(s, t): brute_force(on[s], on[t], 10, 2) for s, t in BASE.layer_pairs}, {n: on[n].sum(axis=0) for n in LAYERS}, len(rows)


def cosine(saes, source, target):
    d, w = saes[source].W_dec.detach(), saes[target].W_enc.detach()
    return ((d / d.norm(dim=1, keepdim=True)) @ (w / w.norm(dim=0))).numpy()


def top(chosen, layer, k=12):
    values = np.nan_to_num(chosen.importance[layer])
    return sorted(sorted(range(len(values)), key=lambda i: (-values[i], i))[:k])


def test_kept_pairs_are_exactly_those_that_pass_every_stage(run, chosen, joint):
    _, saes, _, _ = run
    counts, _, _ = joint
    expected = set()
    for source, target in BASE.layer_pairs:
        same, later = counts[source, target]
        aligned = np.abs(cosine(saes, source, target)) >= 0.1
        for i in top(chosen, source):
            for j in top(chosen, target):
                if max(same[i, j], later[i, j]) >= 45 and (BASE.span(source, target) > 1 or aligned[i, j]):
                    expected.add((source, i, target, j))
    kept = chosen.frame[chosen.frame["arm"] == "kept"]
    got = list(zip(kept["src_layer"], kept["src_index"], kept["tgt_layer"], kept["tgt_index"], strict=True))
    assert len(got) == len(set(got)) > 50
    assert set(got) == expected


def test_figures_of_every_pair_follow_from_the_counts(run, chosen, joint):
    """Rescued pairs too, which the atlas does not hold."""
    _, saes, _, _ = run
    counts, active, n_tokens = joint
    assert {"kept", "rescue_jacobian", "rescue_random"} == set(chosen.frame["arm"])
    for c in chosen:
        same, later = (m[c.src.index, c.tgt.index] for m in counts[c.src.layer, c.tgt.layer])
        p, q = active[c.src.layer][c.src.index], active[c.tgt.layer][c.tgt.index]
        assert c.joint_count == max(same, later)
        assert c.pmi == pytest.approx(np.log(same * n_tokens / (p * q)) if same else 0)
        assert c.coactivation_prob == pytest.approx(same / p)
        assert c.decoder_alignment == pytest.approx(cosine(saes, c.src.layer, c.tgt.layer)[c.src.index, c.tgt.index], abs=1e-5)


def test_sorted_by_pmi_and_the_same_every_time(run, chosen):
    model, saes, store, atlas = run
    assert np.all(np.diff(chosen.frame["pmi"]) <= 0)
    again = identify_candidates(atlas, saes, BASE, activation_store=store, model=model)
    assert again.frame.equals(chosen.frame)
    assert [c.src_id for c in again[:3]] == [c.src_id for c in chosen[:3]]
    other = identify_candidates(atlas, saes, config(seed=BASE.seed), activation_store=store, model=model)
    assert other.frame.equals(chosen.frame)


def test_stage_counts_add_up(run, chosen):
    names = [s.stage for s in chosen.stages]
    assert names == ["importance", "coactivation", "alignment", "layer_window", "rescue"]
    assert all(a.after == b.before for a, b in zip(chosen.stages, chosen.stages[1:], strict=False))
    assert chosen.stages[0].before == 5 * 40 * 40
    assert chosen.stages[0].after == 5 * 12 * 12
    assert chosen.stages[3].after == (chosen.frame["arm"] == "kept").sum()
    assert chosen.stages[4].after == len(chosen)


def test_rescue_gives_back_its_share_of_each_layer_pair(chosen):
    arms = Counter((c.src.layer, c.tgt.layer, c.arm) for c in chosen)
    for source, target in BASE.layer_pairs:
        places = round(0.2 * (144 - arms[source, target, "kept"]))
        assert arms[source, target, "rescue_jacobian"] == -(-places // 2)
        assert arms[source, target, "rescue_random"] == places // 2
    pairs = [(c.src_id, c.tgt_id) for c in chosen]
    assert len(set(pairs)) == len(pairs)


def test_no_rescue_when_told_so(run):
    model, saes, store, atlas = run
    got = identify_candidates(atlas, saes, config(rescue_fraction=0), activation_store=store, model=model)
    assert set(got.frame["arm"]) == {"kept"}


def test_dead_features_take_no_place_and_importance_is_measured(run, chosen):
    _, _, store, _ = run
    for layer in LAYERS:
        assert store.feature_frequencies[layer][0] == 0
        assert np.isnan(chosen.importance[layer][0])
        assert (chosen.importance[layer][1:] >= 0).sum() > 30
    assert 0 not in {c.src.index for c in chosen}
    assert chosen.facts["importance"]["estimate"] == "gradient"
    assert chosen.facts["importance"]["check"]["spearman"] > 0.5


def test_alignment_through_the_blocks_is_the_jacobian_of_the_model(run):
    model, saes, store, _ = run
    cfg = config(alignment="block", min_coactivation=1, rescue_fraction=0, top_k_features=3, min_decoder_alignment=0)
    got = identify_candidates(build_coactivation_atlas(store, cfg), saes, cfg, activation_store=store, model=model)
    assert got.facts["alignment"] == "block"
    frame = got.frame[(got.frame["src_layer"] == 0) & (got.frame["tgt_layer"].isin([1, 2]))]
    sources = np.array(top(got, 0, 3))
    places = _draw(store, 0, sources, _documents(store, cfg), _seed(cfg))
    assert len(frame) > 6
    for c in frame.head(6).itertuples():
        mine = sources[places.source] == c.src_index
        d = saes[0].W_dec[c.src_index].detach()
        w = saes[c.tgt_layer].W_enc[:, c.tgt_index].detach()
        values = [
            (torch.dot(w, _push(model, store, doc, pos, d / d.norm(), c.tgt_layer)) / w.norm()).item()
            for doc, pos in zip(_documents(store, cfg)[places.document[mine]], places.position[mine], strict=True)
        ]
        assert c.decoder_alignment == pytest.approx(np.mean(values), abs=5e-3)


def _documents(store, cfg):
    from feature_graph.candidates.attribution import importance_documents

    return importance_documents(store, cfg)


def _seed(cfg):
    from feature_graph.utils import derived_seed

    return derived_seed(cfg.seed, "alignment", 0)


def _push(model, store, document, position, direction, layer, step=1e-2):
    """Central difference of the residual stream behind ``layer`` when the direction is added behind block 0."""
    tokens = torch.as_tensor(store.tokens[[document]])
    ends = []
    for sign in (1, -1):

        def add(x, hook, sign=sign):
            x[0, position] += sign * step * direction
            return x

        name = f"blocks.{layer}.hook_resid_post"
        with torch.no_grad(), model.hooks(fwd_hooks=[("blocks.0.hook_resid_post", add)]):
            ends.append(model.run_with_cache(tokens, names_filter=name)[1][name][0, position])
    return (ends[0] - ends[1]) / (2 * step)


def test_only_adjacent_pairs_are_removed_by_alignment(run):
    model, saes, store, atlas = run
    strict = identify_candidates(atlas, saes, config(min_decoder_alignment=1.0, rescue_fraction=0), activation_store=store, model=model)
    assert {BASE.span(c.src.layer, c.tgt.layer) for c in strict} == {2}
    off = identify_candidates(
        atlas, saes, config(min_decoder_alignment=1.0, alignment="off", rescue_fraction=0), activation_store=store, model=model
    )
    assert {BASE.span(c.src.layer, c.tgt.layer) for c in off} == {1, 2}
    assert np.abs(off.frame["decoder_alignment"]).max() > 0.1


def test_pairs_outside_the_window_are_dropped_by_the_last_stage(run):
    model, saes, store, atlas = run
    got = identify_candidates(atlas, saes, config(layer_window=1), activation_store=store, model=model)
    assert {BASE.span(c.src.layer, c.tgt.layer) for c in got} == {1}
    assert got.stages[3].after < got.stages[3].before


def test_without_model_or_store_it_says_what_it_does_instead(run, caplog):
    _, saes, store, atlas = run
    with caplog.at_level("WARNING", logger="feature_graph"):
        got = identify_candidates(atlas, saes, config(alignment="block"), activation_store=store)
    assert "no model given" in caplog.text
    assert "the stage is skipped" in caplog.text
    assert got.facts["alignment"] == "skipped"
    assert got.facts["importance"]["estimate"] == "frequency"
    assert got.importance == {}
    assert got.frame["decoder_alignment"].abs().max() > 0
    bare = identify_candidates(atlas, saes, config(alignment="block", rescue_fraction=0))
    assert bare.store is None
    kept = got.frame[got.frame["arm"] == "kept"].reset_index(drop=True)
    assert bare.frame.drop(columns="decoder_alignment").equals(kept.drop(columns="decoder_alignment"))


def test_zero_minimum_removes_nothing(run):
    model, saes, store, _ = run
    cfg = config(min_coactivation=0, alignment="off")
    got = identify_candidates(build_coactivation_atlas(store, cfg), saes, cfg, activation_store=store, model=model)
    assert len(got) == 5 * 144
    assert np.isfinite(got.frame["pmi"]).all()


def test_candidates_survive_the_disk(chosen, tmp_path):
    chosen.save(tmp_path / "candidates.parquet")
    again = CandidateSet.load(tmp_path / "candidates.parquet", chosen.store)
    assert list(again) == list(chosen)
    assert again.stages == chosen.stages
    assert again.facts == chosen.facts
    for layer in LAYERS:
        np.testing.assert_array_equal(again.importance[layer], chosen.importance[layer])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_coactivation": 5}, "got 5, the atlas keeps pairs from 45 upwards"),
        ({"position_horizon": 3}, "position_horizon: got 3, the atlas was built with 2"),
        ({"layer_window": 3}, r"layer pairs \[\(0, 3\)\] are missing"),
        ({"layers": [0, 1, 2, 5]}, r"saes: got layers \[0, 1, 2, 3\], the configuration asks for \[5\] too"),
    ],
)
def test_what_does_not_belong_together_is_refused(run, changes, message):
    model, saes, store, atlas = run
    with pytest.raises(CandidateError, match=message):
        identify_candidates(atlas, saes, config(**changes), activation_store=store, model=model)


def test_a_store_of_other_dictionaries_or_another_run_is_refused(run):
    model, saes, store, atlas = run
    with pytest.raises(CandidateError, match="the store was collected with"):
        identify_candidates(atlas, tiny_saes((0, 1, 2, 3), kind="jumprelu"), BASE, activation_store=store, model=model)
    with pytest.raises(CandidateError, match="not the same run"):
        identify_candidates(dataclasses.replace(atlas, n_tokens=7), saes, BASE, activation_store=store, model=model)
    with pytest.raises(CandidateError, match="40 features, the SAE 24"):
        identify_candidates(atlas, tiny_saes((0, 1, 2, 3), d_sae=24), BASE)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.floats(0, 1), st.integers(1, 4), st.integers(0, 2**16))
def test_rescue_never_gives_back_what_was_kept_and_takes_the_largest(n_sources, n_targets, fraction, step, seed):
    rng = np.random.default_rng(seed)
    grid = Grid(0, 1, np.arange(n_sources), np.arange(n_targets))
    signed, norms = rng.normal(size=(n_sources, n_targets)), rng.uniform(0.5, 2, n_targets)
    keep = rng.random((n_sources, n_targets)) < 0.3
    rescue = Rescue(grid, fraction, norms, rng)
    for first in range(0, n_sources, step):
        part = signed[first : first + step]
        row, column = np.nonzero(keep[first : first + step])
        rescue.see(Aligned(first, part, np.abs(part)), Cells(row + first, column, part[row, column], np.abs(part[row, column])))
    largest, random = rescue.result(int(keep.sum()))
    places = round(fraction * int((~keep).sum()))
    assert len(largest) + len(random) == places
    got = list(zip([*largest.row, *random.row], [*largest.column, *random.column], strict=True))
    assert len(set(got)) == len(got)
    assert not any(keep[i, j] for i, j in got)
    jacobian = np.where(keep, -1, np.abs(signed) * norms)
    np.testing.assert_allclose(np.sort(jacobian[largest.row, largest.column]), np.sort(jacobian.ravel())[::-1][: len(largest)][::-1])
    np.testing.assert_array_equal(random.alignment, signed[random.row, random.column])


@given(st.lists(st.integers(0, 5), max_size=30))
def test_occurrence_counts_what_came_before(keys):
    assert _occurrence(np.array(keys, dtype=np.int64)).tolist() == [keys[:n].count(key) for n, key in enumerate(keys)]


def test_samples_are_active_and_over_distinct_documents_first(run):
    _, _, store, _ = run
    documents = np.flatnonzero(store.splits == SELECT)
    sources = np.array([3, 7, 11])
    places = _draw(store, 1, sources, documents, seed=5)
    values = store.activations[1].toarray().reshape(80, 10, -1)
    for k, feature in enumerate(sources):
        here = places.source == k
        assert (values[documents[places.document[here]], places.position[here], feature] > 0).all()
        n_documents = (values[documents, :, feature] > 0).any(axis=1).sum()
        assert len(set(places.document[here])) == min(n_documents, 8)
        assert here.sum() == min(8, (values[documents][:, :, feature] > 0).sum())
