"""responses.h5: what is written comes back up to float16's rounding, what cannot be stored or read is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_graph.artifacts import ArtifactError, ResponseSources, ResponseStore, ResponseWriter, Site
from feature_graph.artifacts.responses import pack, unpack


def site(layer: int) -> Site:
    hook = f"blocks.{layer}.hook_resid_post"
    return Site(layer, hook, layer + 1, "tiny", "01234567", "own", hook, 16, 48)


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, np.ndarray]:
    halves = np.random.default_rng(1).normal(size=(3, 2, 16)) * np.array([1e-6, 1.0, 1e6])[:, None, None]
    halves[0, 1] = 0.0
    counts = np.array([[3, 0], [2, 6], [5, 5]], dtype=np.int32)
    with ResponseWriter(tmp_path / "responses.h5", {n: site(n) for n in (2, 10)}, {"seed": 7}) as writer:
        writer.sources(2, ResponseSources(np.array([1, 4, 9], dtype=np.int32), np.array([3, 8, 25], dtype=np.int32), counts))
        writer.pair(2, 10, halves)
    return tmp_path / "responses.h5", halves


def test_what_is_written_comes_back(written: tuple[Path, np.ndarray]) -> None:
    path, halves = written
    store = ResponseStore(path)
    assert list(store.sites) == [2, 10]  # by number, not as text
    assert store.sites[10] == site(10)
    assert store.pairs == [(2, 10)]
    assert store.meta == {"seed": 7}
    assert store.sources[2].index.tolist() == [1, 4, 9]
    found = store.halves(2, 10)
    assert (np.abs(found - halves) <= 2.0**-12 * np.abs(halves).max(axis=-1, keepdims=True) * 1.001).all()


def test_means_weigh_the_halves_by_their_documents(written: tuple[Path, np.ndarray]) -> None:
    path, halves = written
    means = ResponseStore(path).means(2, 10)
    np.testing.assert_allclose(means[1], (2 * halves[1, 0] + 6 * halves[1, 1]) / 8, atol=1e-3)
    np.testing.assert_allclose(means[0], halves[0, 0], atol=1e-9)


def test_reliability_is_the_cosine_of_the_halves(written: tuple[Path, np.ndarray]) -> None:
    path, halves = written
    found = ResponseStore(path).reliability(2, 10)
    one, two = halves[2]
    assert found[2] == pytest.approx(one @ two / np.linalg.norm(one) / np.linalg.norm(two), abs=2e-3)
    assert np.isnan(found[0])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=9))
def test_rows_of_any_size_keep_their_shape(values: list[float]) -> None:
    row = np.array([values])
    back = unpack(*pack(row))
    assert np.isfinite(back).all()
    assert (np.abs(back - row) <= 2.0**-12 * np.abs(row).max() * 1.001 + np.finfo(np.float32).tiny).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e39])
def test_values_that_cannot_be_stored_are_refused(bad: float) -> None:
    with pytest.raises(ArtifactError, match="beyond float32"):
        pack(np.array([[1.0, bad]]))


def test_a_pair_that_was_not_measured_is_refused(written: tuple[Path, np.ndarray]) -> None:
    with pytest.raises(ArtifactError, match=r"no responses of layer 10 at layer 2; it holds \[\(2, 10\)\]"):
        ResponseStore(written[0]).halves(10, 2)


def test_counts_must_fit_the_sources() -> None:
    with pytest.raises(ArtifactError, match="3 features"):
        ResponseSources(np.arange(3, dtype=np.int32), np.arange(3, dtype=np.int32), np.zeros((3, 1), dtype=np.int32))


def test_another_file_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.attrs["kind"], file.attrs["version"] = "atlas", 1
    with pytest.raises(ArtifactError, match="expected responses version 1"):
        ResponseStore(tmp_path / "x.h5")


def test_the_loader_of_the_docs_needs_no_library(written: tuple[Path, np.ndarray]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "artifacts.md").read_text(encoding="utf-8")
    code = page.split("A loader without this library:")[1].split("```python\n")[1].split("```")[0]
    assert "feature_graph" not in code
    made: dict[str, Any] = {}
    exec(code, made)
    index, means = made["load_responses"](written[0], 2, 10)
    store = ResponseStore(written[0])
    assert index.tolist() == store.sources[2].index.tolist()
    np.testing.assert_allclose(means, store.means(2, 10), rtol=1e-5, atol=1e-9)


def test_generic_responses_come_back(tmp_path: Path) -> None:
    rows = np.random.default_rng(2).normal(size=(3, 16))
    counts = ResponseSources(np.arange(3, dtype=np.int32), np.full(3, 4, dtype=np.int32), np.full((3, 2), 2, dtype=np.int32))
    with ResponseWriter(tmp_path / "responses.h5", {n: site(n) for n in (2, 10)}, {}) as writer:
        writer.sources(2, counts)
        writer.pair(2, 10, np.zeros((3, 2, 16)))
        writer.generic(2, 10, rows)
    found = ResponseStore(tmp_path / "responses.h5").generic(2, 10, slice(1, 3))
    assert np.abs(found - rows[1:]).max() <= 2.0**-12 * np.abs(rows).max()


def test_blocks_of_sources_make_the_same_file(written: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    store = ResponseStore(written[0])
    with ResponseWriter(tmp_path / "blocks.h5", {n: site(n) for n in (2, 10)}, {}) as writer:
        writer.sources(2, store.sources[2])
        writer.begin(2, 10, 3, 16)
        for first in (0, 2):
            writer.put(2, 10, first, *pack(written[1][first : first + 2]))
    np.testing.assert_array_equal(ResponseStore(tmp_path / "blocks.h5").halves(2, 10), store.halves(2, 10))
