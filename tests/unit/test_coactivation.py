from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from feature_graph.artifacts import SELECT, CoactivationAtlas
from feature_graph.coactivation import ActivityPattern, build_coactivation_atlas, count_pairs, count_pairs_plain
from feature_graph.config import Config
from tests.support.counting import brute_force
from tests.support.selection_stores import write_store

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def two_layers(draw):
    """(context, horizon, minimum, source [rows, features], target [rows, features]) of booleans, documents whole."""
    context, documents = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    n_source, n_target = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    source = draw(arrays(bool, (documents * context, n_source)))
    target = draw(arrays(bool, (documents * context, n_target)))
    return context, draw(st.integers(0, context)), draw(st.integers(1, 4)), source, target


@quick
@given(two_layers())
def test_counts_equal_the_double_loop(case):
    context, horizon, minimum, source, target = case
    same, later = brute_force(source, target, context, horizon)
    kept = np.maximum(same, later) >= minimum
    a, b = ActivityPattern.of(sp.csr_matrix(source)), ActivityPattern.of(sp.csr_matrix(target))
    for count in (count_pairs, count_pairs_plain):
        got = count(a, b, b.following(context, horizon), minimum)
        np.testing.assert_array_equal(got.same.toarray(), same * kept)
        np.testing.assert_array_equal(got.later.toarray(), later * kept)
        assert got.same.dtype == got.later.dtype == np.int32
        assert np.all(got.same.data > 0)
        assert np.all(got.later.data > 0)
        assert got.same.has_canonical_format


def test_compiled_path_equals_plain_path_over_several_blocks():
    rng = np.random.default_rng(0)
    density = np.minimum(0.4, 3 / np.arange(1, 1501))
    source, target = (sp.csr_matrix(rng.random((640, 1500)) < rng.permutation(density)) for _ in range(2))
    a, b = ActivityPattern.of(source), ActivityPattern.of(target)
    later = b.following(32, 4)
    fast, plain = count_pairs(a, b, later, 3), count_pairs_plain(a, b, later, 3)
    assert fast.same.nnz > 1000
    for ours, theirs in ((fast.same, plain.same), (fast.later, plain.later)):
        np.testing.assert_array_equal(ours.indptr, theirs.indptr)
        np.testing.assert_array_equal(ours.indices, theirs.indices)
        np.testing.assert_array_equal(ours.data, theirs.data)


def test_following_never_leaves_the_document():
    pattern = ActivityPattern.of(sp.csr_matrix(np.array([[0, 0], [1, 0], [0, 1], [1, 1]], dtype=bool)))
    following = pattern.following(context=2, horizon=3).ones().toarray()
    np.testing.assert_array_equal(following, [[1, 0], [0, 0], [1, 1], [0, 0]])


@pytest.fixture
def three_layers(tmp_path):
    rng = np.random.default_rng(1)
    valid = rng.random((40, 6)) < 0.9
    valid[:, 0] = False
    activations = {layer: rng.random((240, 5 + layer)).astype(np.float32) * (rng.random((240, 5 + layer)) < 0.3) for layer in (1, 2, 4)}
    return write_store(tmp_path / "store.h5", activations, valid, seed=7)


def config(**fields):
    values = {"layers": [1, 2, 4], "context_length": 6, "position_horizon": 2, "min_coactivation": 0, "layer_window": 2}
    return Config(**(values | fields))


def test_atlas_counts_select_documents_only(three_layers):
    atlas = build_coactivation_atlas(three_layers, config())
    documents = np.flatnonzero(three_layers.splits == SELECT)
    rows = (documents[:, None] * 6 + np.arange(6)).ravel()
    assert 0 < len(documents) < 40
    assert atlas.layer_pairs == [(1, 2), (1, 4), (2, 4)]
    assert atlas.n_tokens == three_layers.valid[documents].sum()
    for source, target in atlas.layer_pairs:
        a, b = (three_layers.activations[n][rows].toarray() > 0 for n in (source, target))
        same, later = brute_force(a, b, 6, 2)
        np.testing.assert_array_equal(atlas.counts[source, target].toarray(), same)
        np.testing.assert_array_equal(atlas.later_counts[source, target].toarray(), later)
        np.testing.assert_array_equal(atlas.active[source], a.sum(axis=0))
        np.testing.assert_array_equal(atlas.active[target], b.sum(axis=0))


def test_probabilities_follow_from_counts(three_layers):
    atlas = build_coactivation_atlas(three_layers, config())
    joint = atlas.counts[1, 2].toarray() / atlas.n_tokens
    p, q = atlas.active[1] / atlas.n_tokens, atlas.active[2] / atlas.n_tokens
    i, j = np.nonzero(joint)
    np.testing.assert_allclose(atlas.pmi[1, 2].toarray()[i, j], np.log(joint / p[:, None] / q)[i, j])
    np.testing.assert_allclose(atlas.conditional[1, 2].toarray()[i, j], (joint / p[:, None])[i, j])
    np.testing.assert_allclose(atlas.ratio[1, 2].toarray()[i, j], (joint / p[:, None] / q)[i, j])


def test_atlas_survives_the_disk_and_the_window_bounds_the_pairs(three_layers, tmp_path):
    atlas = build_coactivation_atlas(three_layers, config(layer_window=1, min_coactivation=3))
    atlas.save(tmp_path / "atlas.h5")
    again = CoactivationAtlas.load(tmp_path / "atlas.h5")
    assert again.layer_pairs == atlas.layer_pairs == [(1, 2), (2, 4)]
    assert (again.n_tokens, again.horizon, again.min_count) == (atlas.n_tokens, 2, 3)
    for pair in atlas.layer_pairs:
        assert (again.counts[pair] != atlas.counts[pair]).nnz == 0
        assert (again.later_counts[pair] != atlas.later_counts[pair]).nnz == 0


def test_written_pair_by_pair_it_is_the_same_atlas(three_layers, tmp_path):
    held = build_coactivation_atlas(three_layers, config(min_coactivation=2))
    path = tmp_path / "atlas.h5"
    lazy = build_coactivation_atlas(three_layers, config(min_coactivation=2), path=path)
    held.save(tmp_path / "saved.h5")
    assert (tmp_path / "saved.h5").read_bytes() == path.read_bytes()
    assert lazy.layer_pairs == held.layer_pairs
    for pair in held.layer_pairs:
        for ours, theirs in ((lazy.counts, held.counts), (lazy.later_counts, held.later_counts)):
            assert (ours[pair] != theirs[pair]).nnz == 0
            assert ours[pair] is ours[pair]  # kept until another pair is asked for
    for layer, active in held.active.items():
        np.testing.assert_array_equal(lazy.active[layer], active)
    assert (4, 1) not in lazy.counts
    with pytest.raises(KeyError, match=r"layer pair \(4, 1\) is not in the atlas"):
        lazy.counts[4, 1]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["atlas.h5", "saved.h5", "store.h5"]


def test_a_layer_that_was_not_collected_is_named(three_layers):
    with pytest.raises(ValueError, match=r"names \[3\], the store holds \[1, 2, 4\]"):
        build_coactivation_atlas(three_layers, config(layers=[1, 2, 3, 4]))


def test_no_select_document_is_an_error(tmp_path):
    values = {n: np.ones((4, 2), dtype=np.float32) for n in (1, 2, 4)}
    seeds = (write_store(tmp_path / f"{s}.h5", values, np.ones((1, 4), dtype=bool), seed=s) for s in range(20))
    store = next(s for s in seeds if s.splits[0] != SELECT)
    with pytest.raises(ValueError, match="none of them for selection"):
        build_coactivation_atlas(store, config(context_length=6))
