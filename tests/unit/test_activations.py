from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_graph.activations import CollectError, active_rows, build_features_table, collect_activations, feature_labels
from feature_graph.activations.labels import top_rows
from feature_graph.artifacts import ActivationStore, CandidateSet
from feature_graph.config import Config
from feature_graph.interventions import InterventionError
from ingest.formats import FEATURES
from tests.support.selection_models import D_VOCAB, N_CTX, random_tokens, tiny_model, tiny_sae, tiny_saes
from tests.support.selection_stores import write_store


def config(**fields) -> Config:
    values = {"layers": [0, 1, 2], "context_length": 10, "position_horizon": 2, "sae_quality": "off", "batch_size": 8}
    return Config(**(values | fields))


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.mark.parametrize("kind", ["standard", "jumprelu", "topk"])
def test_recorded_values_are_those_of_the_sae_itself(model, kind):
    saes, tokens = tiny_saes(kind=kind), random_tokens()
    store = collect_activations(model, saes, config(), tokens)
    assert store.layers == [0, 1, 2]
    assert store.n_tokens == 300
    with torch.no_grad():
        _, cache = model.run_with_cache(tokens)
    for layer, sae in saes.items():
        theirs = (sae.encode(cache[f"blocks.{layer}.hook_resid_post"].flatten(0, 1)) * sae.W_dec.norm(dim=1)).detach().numpy()
        ours = store.activations[layer]
        np.testing.assert_allclose(ours.toarray(), theirs, atol=2e-5)
        assert ours.nnz == (theirs > store.thresholds[layer]).sum()
        assert ours.has_sorted_indices
        np.testing.assert_allclose(store.feature_frequencies[layer], (theirs > 0).mean(axis=0))
        np.testing.assert_allclose(store.max_activations[layer], theirs.max(axis=0), atol=2e-5)
        np.testing.assert_allclose(store.decoder_norms[layer], sae.W_dec.detach().norm(dim=1), rtol=1e-6)
        assert store.feature_frequencies[layer][0] == 0


def test_resid_pre_of_the_next_block_is_the_same_site(model):
    tokens = random_tokens(6)
    after = {0: tiny_sae("blocks.0.hook_resid_post"), 1: tiny_sae("blocks.1.hook_resid_post", seed=1)}
    before = {0: tiny_sae("blocks.1.hook_resid_pre"), 1: tiny_sae("blocks.2.hook_resid_pre", seed=1)}
    a, b = (collect_activations(model, saes, config(layers=[0, 1]), tokens) for saes in (after, before))
    for layer in (0, 1):
        np.testing.assert_array_equal(a.activations[layer].toarray(), b.activations[layer].toarray())
    assert [b.sites[n].hook for n in (0, 1)] == ["blocks.1.hook_resid_pre", "blocks.2.hook_resid_pre"]


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(batch_size=st.integers(1, 40), order=st.permutations(range(13)))
def test_batch_size_and_order_of_documents_change_nothing(model, batch_size, order):
    tokens, saes = random_tokens(13), tiny_saes((0, 1))
    plain = collect_activations(model, saes, config(layers=[0, 1]), tokens)
    other = collect_activations(model, saes, config(layers=[0, 1], batch_size=batch_size), tokens[list(order)])
    rows = (np.array(order)[:, None] * 10 + np.arange(10)).ravel()
    for layer in (0, 1):
        np.testing.assert_allclose(other.activations[layer].toarray(), plain.activations[layer][rows].toarray(), atol=2e-4)


SINK = 7


@pytest.fixture(scope="module")
def sinking():
    """A model that gives one token a residual stream far longer than the others'."""
    model = tiny_model(2)
    model.embed.W_E.data[SINK] *= 400
    return model


def test_tokens_with_an_outlying_norm_are_left_out_everywhere_and_counted(sinking, caplog):
    saes, tokens = tiny_saes((0, 1)), random_tokens(60)
    with caplog.at_level("INFO", logger="feature_graph"):
        store = collect_activations(sinking, saes, config(layers=[0, 1]), tokens)
    everything = collect_activations(sinking, saes, config(layers=[0, 1], outlier_norm=None), tokens)
    sinks = tokens.numpy() == SINK
    assert 3 < sinks.sum() < 30
    np.testing.assert_array_equal(store.valid, ~sinks)
    assert everything.valid.all()
    assert everything.meta["outliers"]["tokens"] == 0
    assert store.meta["outliers"]["tokens"] == sinks.sum()
    assert store.meta["outliers"]["commonest"] == [[SINK, sinks.sum()]]
    assert f"{sinks.sum()} tokens" in caplog.text
    assert f"id {SINK} ({sinks.sum()})" in caplog.text
    for layer in (0, 1):
        ours, theirs = (s.activations[layer].toarray() for s in (store, everything))
        np.testing.assert_array_equal(ours[~sinks.ravel()], theirs[~sinks.ravel()])
        assert not ours[sinks.ravel()].any()
        at_sink = everything.activations[layer].toarray()[sinks.ravel()].max(axis=0)
        assert (at_sink > store.max_activations[layer]).mean() > 0.2  # they would have been the strongest example of many features
        np.testing.assert_allclose(store.feature_frequencies[layer], (ours > 0).sum(axis=0) / (~sinks).sum())


def test_ordinary_tokens_are_all_counted(model):
    store = collect_activations(model, tiny_saes((0, 1)), config(layers=[0, 1]), random_tokens())
    assert store.meta["outliers"] | {"typical_norms": None} == {"factor": 10.0, "tokens": 0, "typical_norms": None, "commonest": []}
    assert set(store.meta["outliers"]["typical_norms"]) == {"0", "1"}
    assert store.valid.all()


def test_a_limit_that_leaves_out_much_is_said_to(sinking, caplog):
    with caplog.at_level("WARNING", logger="feature_graph"):
        collect_activations(sinking, tiny_saes((0, 1)), config(layers=[0, 1], outlier_norm=1.5), random_tokens(60))
    assert "that is many: look at them, and raise outlier_norm" in caplog.text


def test_a_later_token_changes_nothing_before_it(model):
    tokens = random_tokens(4)
    changed = tokens.clone()
    changed[:, -1] = (changed[:, -1] + 1) % D_VOCAB
    a, b = (
        collect_activations(model, tiny_saes((0, 1)), config(layers=[0, 1]), t).activations[1].toarray().reshape(4, 10, -1)
        for t in (tokens, changed)
    )
    np.testing.assert_allclose(a[:, :-1], b[:, :-1], atol=2e-4)
    assert not np.allclose(a[:, -1], b[:, -1])


class Interrupted(Exception):
    """Stands for a kill."""


def forward_counter(model, stop_after: int | None = None):
    """Count forward passes with a real hook; raise after some of them."""
    seen = []

    def count(x, hook):
        seen.append(len(x))
        if stop_after is not None and len(seen) > stop_after:
            raise Interrupted
        return x

    model.add_hook("blocks.0.hook_resid_pre", count)
    return seen


def test_a_killed_run_goes_on_where_it_was_and_gives_the_same_bytes(tmp_path):
    model, saes, tokens = tiny_model(2), tiny_saes((0, 1)), random_tokens(1000)
    cfg = config(layers=[0, 1], batch_size=100)
    whole = collect_activations(model, saes, cfg, tokens, path=tmp_path / "whole.h5")
    forward_counter(model, stop_after=8)
    with pytest.raises(Interrupted):
        collect_activations(model, saes, cfg, tokens, path=tmp_path / "again.h5", parts_dir=tmp_path / "parts")
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["parts", "whole.h5"]
    assert [p.name for p in (tmp_path / "parts").iterdir()] == ["block-000000.npz"]
    model.reset_hooks()
    seen = forward_counter(model)
    again = collect_activations(model, saes, cfg, tokens, path=tmp_path / "again.h5", parts_dir=tmp_path / "parts")
    assert again.path.read_bytes() == whole.path.read_bytes()
    assert sum(seen[3:]) == 1000 - 409  # before: the check of the engine, the probe of the residual norms, the probe of position 0
    assert not (tmp_path / "parts").exists()


@pytest.mark.parametrize("damage", ["other tokens", "cut off", "not a part"])
def test_a_part_of_another_run_or_a_damaged_one_is_not_used(tmp_path, damage):
    model, saes, tokens = tiny_model(2), tiny_saes((0, 1)), random_tokens(500)
    cfg, parts = config(layers=[0, 1], batch_size=100), tmp_path / "parts"
    forward_counter(model, stop_after=8)
    with pytest.raises(Interrupted):
        collect_activations(model, saes, cfg, random_tokens(500, seed=9) if damage == "other tokens" else tokens, parts_dir=parts)
    model.reset_hooks()
    part = parts / "block-000000.npz"
    if damage == "cut off":
        part.write_bytes(part.read_bytes()[:1000])
    if damage == "not a part":
        part.write_text("nothing")
    got = collect_activations(model, saes, cfg, tokens, path=tmp_path / "got.h5", parts_dir=parts)
    whole = collect_activations(model, saes, cfg, tokens, path=tmp_path / "whole.h5")
    assert got.path.read_bytes() == whole.path.read_bytes()


def test_the_temporary_file_goes_with_the_store(model, tmp_path):
    store = collect_activations(model, tiny_saes((0, 1)), config(layers=[0, 1]), random_tokens(3))
    path = store.path
    assert path.is_file()
    store.save(tmp_path / "kept.h5")
    del store
    gc.collect()
    assert not path.parent.exists()
    assert ActivationStore.load(tmp_path / "kept.h5").n_tokens == 30


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.zeros(2, 4), "dtype float32, expected int64"),
        (torch.zeros(2, 4, dtype=torch.bool), "dtype bool"),
        (torch.zeros(4, dtype=torch.long), r"shape \(4,\), expected \[documents, context\]"),
        (torch.zeros(0, 4, dtype=torch.long), "at least 1 document"),
        (torch.zeros(2, N_CTX + 1, dtype=torch.long), f"contexts of {N_CTX + 1} tokens; the model reads at most {N_CTX}"),
        (torch.full((2, 4), D_VOCAB), f"ids from {D_VOCAB} to {D_VOCAB}; the model's vocabulary is 0 to {D_VOCAB - 1}"),
        (torch.full((2, 4), -1), "ids from -1"),
    ],
)
def test_tokens_that_do_not_fit_are_refused_before_work(model, tokens, message, tmp_path):
    with pytest.raises(CollectError, match=message):
        collect_activations(model, tiny_saes(), config(), tokens, path=tmp_path / "store.h5")
    assert not list(tmp_path.iterdir())


def test_a_model_that_gives_nan_is_refused_and_leaves_nothing(tmp_path):
    model = tiny_model(2)
    model.add_hook("blocks.1.hook_mlp_out", lambda x, hook: x * torch.nan)
    with pytest.raises(InterventionError, match=r"the model gives NaN or infinity at blocks.1.hook_resid_post"):
        collect_activations(model, tiny_saes((0, 1)), config(layers=[0, 1]), random_tokens(3), path=tmp_path / "store.h5")
    assert not list(tmp_path.iterdir())


def test_poor_dictionaries_stop_the_run_unless_told_otherwise(model):
    from feature_graph.loading.errors import QualityError

    with pytest.raises(QualityError, match=r"explain less than 0\.5"):
        collect_activations(model, tiny_saes(), config(sae_quality="stop"), random_tokens())
    store = collect_activations(model, tiny_saes(), config(sae_quality="warn"), random_tokens())
    assert store.meta["sae_quality"]["0"]["explained_variance"] < 0.5


WORDS = ["The", " capital", " of", " France", " is", " Paris", "\n", " Rome", "\ufffd", "  "]


def decode(ids: list[int]) -> str:
    return "".join(WORDS[i] for i in ids)


@pytest.fixture
def labelled(tmp_path: Path) -> ActivationStore:
    """Two documents of six tokens; feature 0 on Paris and Rome, 1 never, 2 on a line break, 3 on a broken character at the beginning."""
    tokens = np.array([[0, 1, 2, 3, 4, 5], [8, 6, 2, 7, 5, 9]])
    values = np.zeros((12, 4), dtype=np.float32)
    values[[5, 9, 10], 0] = 3, 2, 1
    values[7, 2] = 1
    values[6, 3] = 1
    layers = {1: values, 2: values[:, ::-1].copy()}
    return write_store(tmp_path / "store.h5", layers, np.ones((2, 6), dtype=bool), tokens)


def test_labels_show_top_tokens_and_the_strongest_in_context(labelled):
    got = feature_labels(labelled, decode, 1, [0, 1, 2, 3])
    assert got == ["Paris, Rome: The capital of France is «Paris»", "", "↵: «↵»", "«␣»"]


def test_labels_come_in_the_order_asked_and_are_empty_without_a_tokenizer(labelled):
    assert feature_labels(labelled, decode, 1, [2, 0, 2])[::2] == ["↵: «↵»", "↵: «↵»"]
    assert feature_labels(labelled, None, 1, [0, 1]) == ["", ""]
    assert feature_labels(labelled, decode, 1, []) == []


@settings(max_examples=40, deadline=None)
@given(text=st.lists(st.text(max_size=8), min_size=10, max_size=10))
def test_labels_are_printable_short_and_one_line_whatever_the_tokens(text, tmp_path_factory):
    store = write_store(
        tmp_path_factory.mktemp("labels") / "s.h5",
        {1: np.ones((10, 1), dtype=np.float32)},
        np.ones((1, 10), dtype=bool),
        np.arange(10)[None],
    )
    label = feature_labels(store, lambda ids: "".join(text[i] for i in ids), 1, [0])[0]
    assert label.isprintable()
    assert "«" in label
    assert len(label) < 120


def test_top_rows_are_the_strongest_with_ties_to_the_earlier():
    import scipy.sparse as sp

    matrix = sp.csr_matrix(np.array([[1, 0], [3, 0], [3, 2], [2, 0]], dtype=np.float32))
    assert [rows.tolist() for rows in top_rows(matrix, [1, 0], 3)] == [[2], [1, 2, 3]]


def test_features_table_describes_every_feature_of_the_candidates(labelled):
    import pandas as pd

    frame = pd.DataFrame({"src_layer": [1, 1], "src_index": [2, 0], "tgt_layer": [2, 2], "tgt_index": [3, 3]})
    importance = {1: np.array([0.5, np.nan, 0.25, np.nan])}
    table = build_features_table(labelled, CandidateSet(frame, labelled, importance=importance), decode).to_pandas()
    assert table.columns.tolist() == FEATURES.names
    assert table["id"].tolist() == ["L1_F0", "L1_F2", "L2_F3"]
    assert table["fid"].tolist() == [0, 1, 2]
    assert table["density"].tolist() == [3 / 12, 1 / 12, 3 / 12]
    assert table["dense"].tolist() == [True, False, True]
    assert not table["dead"].any()
    np.testing.assert_allclose(table["mean_act"], [2, 1, 2])
    assert table["max_act"].tolist() == [3, 1, 3]
    np.testing.assert_array_equal(table["importance"], [0.5, 0.25, np.nan])
    assert table["uid"][0] == "tiny@00000000/made-here/L1/0"
    assert table["label"][0].endswith("«Paris»")


def test_active_rows_are_the_tokens_at_which_each_feature_is_active(tmp_path):
    rng = np.random.default_rng(3)
    dense = (rng.random((30, 7)) * (rng.random((30, 7)) < 0.3)).astype(np.float32)
    dense[:, 4] = 0
    valid = np.ones((5, 6), dtype=bool)
    valid[:, 0] = False
    store = write_store(tmp_path / "a.h5", {0: dense}, valid)
    kept = dense * valid.ravel()[:, None]
    found = list(active_rows(store, 0, np.array([1, 4, 6])))
    assert [at.index for at in found] == [1, 4, 6]
    for at in found:
        np.testing.assert_array_equal(at.rows, np.flatnonzero(kept[:, at.index]))
        np.testing.assert_array_equal(at.values, kept[at.rows, at.index])
        np.testing.assert_array_equal(at.documents * 6 + at.positions, at.rows)
    assert len(found[1].rows) == 0
