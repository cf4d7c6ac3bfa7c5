from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_graph.artifacts import ArtifactError, number_features, number_pairs

features = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2**31 - 1)), max_size=30)


@given(features)
def test_fid_is_the_rank_among_distinct_features(given_features):
    layers, indices = ([f[k] for f in given_features] for k in (0, 1))
    numbers = number_features(layers, indices)
    expected = sorted(set(given_features))
    assert list(zip(numbers.layers.tolist(), numbers.indices.tolist(), strict=True)) == expected
    assert numbers.fids(layers, indices).tolist() == [expected.index(f) for f in given_features]
    assert numbers.ids == [f"L{layer}_F{index}" for layer, index in expected]


def test_pairs_number_both_ends():
    frame = pd.DataFrame({"src_layer": [3, 1], "src_index": [7, 9], "tgt_layer": [5, 3], "tgt_index": [0, 7]})
    numbers = number_pairs(frame)
    assert numbers.ids == ["L1_F9", "L3_F7", "L5_F0"]
    assert numbers.fids(frame["src_layer"], frame["src_index"]).tolist() == [1, 0]
    assert numbers.of_layer(3).tolist() == [7]
    assert len(number_pairs(frame.iloc[:0])) == 0


def test_a_feature_without_a_number_is_named():
    numbers = number_features([1, 2], [5, 5])
    with pytest.raises(ArtifactError, match=r"1, such as \['L2_F6'\]"):
        numbers.fids(np.array([2, 2]), np.array([5, 6]))
