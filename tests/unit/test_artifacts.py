"""Artifacts: what is written is what is read, and half or foreign files are refused."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from feature_graph.artifacts import (
    ActivationStore,
    ArtifactError,
    CandidateSet,
    CoactivationAtlas,
    StageCount,
    feature_id,
    parse_feature_id,
    split_documents,
)
from ingest.formats import CANDIDATES, FormatError
from tests.support.one_site_store import SITE, matrix, write_store


def test_store_round_trip(tmp_path: Path) -> None:
    whole = matrix()
    write_store(tmp_path / "a.h5", [whole[:16], whole[16:17], whole[17:]])
    store = ActivationStore.load(tmp_path / "a.h5")
    assert (store.activations[0] != whole).nnz == 0
    assert store.n_tokens == 35
    assert store.sites == {0: SITE}
    assert np.allclose(store.feature_frequencies[0], np.asarray((whole > 0).sum(0)).ravel() / 35)
    assert np.allclose(store.max_activations[0], whole.max(0).toarray().ravel())
    store.save(tmp_path / "copy" / "b.h5")
    assert (tmp_path / "copy" / "b.h5").read_bytes() == (tmp_path / "a.h5").read_bytes()


def test_rows_of_splits_cover_counted_tokens_once(tmp_path: Path) -> None:
    write_store(tmp_path / "a.h5", [matrix()])
    store = ActivationStore(tmp_path / "a.h5")
    rows = np.concatenate([store.rows_of(split) for split in (0, 1, 2)])
    assert sorted(rows) == list(np.flatnonzero(store.valid))


def test_unfinished_and_damaged_stores_are_refused(tmp_path: Path) -> None:
    write_store(tmp_path / "half.h5", [matrix()], finish=False)
    with pytest.raises(ArtifactError, match="not finished"):
        ActivationStore(tmp_path / "half.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(ArtifactError, match="not a readable HDF5"):
        ActivationStore(tmp_path / "text.h5")
    with pytest.raises(ArtifactError, match="no such file"):
        ActivationStore(tmp_path / "none.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.attrs["kind"], file.attrs["version"] = "atlas", 1
    with pytest.raises(ArtifactError, match="got kind atlas"):
        ActivationStore(tmp_path / "other.h5")


def test_writer_refuses_wrong_blocks(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="expected 40"):
        write_store(tmp_path / "a.h5", [matrix(16)])
    with pytest.raises(ArtifactError, match="5 features, the SAE has 6"):
        write_store(tmp_path / "a.h5", [matrix()[:, :5]])
    bad = matrix()
    bad.data[0] = np.nan
    with pytest.raises(ArtifactError, match="NaN or infinite"):
        write_store(tmp_path / "a.h5", [bad])


def test_atlas_round_trip_and_derived_figures(tmp_path: Path) -> None:
    counts = sp.csr_matrix(np.array([[1, 2], [0, 3]], dtype=np.int32))
    active = {0: np.array([3, 4]), 1: np.array([2, 5])}
    CoactivationAtlas({(0, 1): counts}, {(0, 1): counts}, active, 10, 4).save(tmp_path / "atlas.h5")
    atlas = CoactivationAtlas.load(tmp_path / "atlas.h5")
    assert atlas.layer_pairs == [(0, 1)]
    assert atlas.pmi.get((3, 4)) is None
    assert atlas.conditional[(0, 1)][0, 1] == pytest.approx(2 / 3)
    assert atlas.ratio[(0, 1)][1, 1] == pytest.approx((3 / 4) / (5 / 10))
    assert atlas.pmi[(0, 1)][0, 0] == pytest.approx(np.log((1 / 10) / (3 / 10 * 2 / 10)))
    assert atlas.pmi[(0, 1)].nnz == 3


def frame(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(n)
    return pd.DataFrame(
        {
            "src_layer": np.zeros(n, dtype=np.int32),
            "src_index": np.arange(n, dtype=np.int32),
            "tgt_layer": np.ones(n, dtype=np.int32),
            "tgt_index": np.arange(n, dtype=np.int32),
            "pmi": np.sort(rng.normal(size=n))[::-1],
            "coactivation_prob": rng.random(n),
            "joint_count": np.arange(n),
            "decoder_alignment": rng.normal(size=n),
            "arm": ["kept"] * n,
        }
    )


@given(st.integers(0, 20))
def test_candidates_round_trip(n: int) -> None:
    import tempfile

    importance = {0: np.array([np.nan, 0.5, 2.0])}
    made = CandidateSet(frame(n), None, (StageCount("importance", 9, 4),), importance, {"spearman": 0.9})
    with tempfile.TemporaryDirectory() as folder:
        made.save(Path(folder) / "c.parquet")
        read = CandidateSet.load(Path(folder) / "c.parquet")
    assert list(read) == list(made)
    assert read.stages == made.stages
    assert read.facts == made.facts
    assert np.array_equal(read.importance[0], importance[0], equal_nan=True)
    assert read[:3] == list(made)[:3]


def test_candidates_say_how_many_blocks_apart_they_are(tmp_path: Path) -> None:
    """A column of the file; a file of an earlier version, without it, reads the same."""
    pairs = frame(4).assign(src_layer=[1, 1, 2, 0], tgt_layer=[3, 1, 3, 5], src_site=["L1.tc", "L1.attn", "L2", "L0"], tgt_site="L3.tc")
    made = CandidateSet(pairs.assign(blocks=9))  # what is given wrongly does not stay
    assert [one.blocks for one in made] == made.frame["blocks"].tolist() == [2, 0, 1, 5]
    path = tmp_path / "c.parquet"
    made.save(path)
    stored = pq.read_table(path)
    assert stored["blocks"].to_pylist() == [2, 0, 1, 5]
    pq.write_table(stored.drop_columns("blocks"), path)
    pd.testing.assert_frame_equal(CandidateSet.load(path).frame, made.frame, check_dtype=False)


def test_candidate_files_of_another_form_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    with pytest.raises(FormatError, match=r"missing \['pmi'\]"):
        CandidateSet(frame(2).drop(columns="pmi")).save(path)
    assert list(tmp_path.iterdir()) == []
    frame(2).to_parquet(path)
    with pytest.raises(FormatError, match=f"expected candidates version {CANDIDATES.version}"):
        CandidateSet.load(path)
    path.write_bytes(b"PAR1 not")
    with pytest.raises(FormatError, match="not a readable Parquet"):
        CandidateSet.load(path)


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_feature_ids_round_trip(layer: int, index: int) -> None:
    assert parse_feature_id(feature_id(layer, index)) == (layer, index)


@pytest.mark.parametrize("text", ["", "L1", "L1_F", "F1_L1", "L-1_F1", "L1_F1 "])
def test_wrong_feature_ids_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected L<layer>_F<index>"):
        parse_feature_id(text)


def test_split_is_stable_and_near_its_shares() -> None:
    split = split_documents(20_000, seed=1)
    assert np.array_equal(split_documents(100, seed=1), split[:100])
    shares = np.bincount(split, minlength=3) / len(split)
    assert np.allclose(shares, [0.4, 0.4, 0.2], atol=0.02)
    assert not np.array_equal(split_documents(100, seed=2), split[:100])
