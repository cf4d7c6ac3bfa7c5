"""The numbers by which runs call their sites: a layer, or a key that stands for layer and kind."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pandas as pd
import pytest

from feature_graph.artifacts import (
    BySite,
    SiteError,
    SiteKey,
    as_key,
    by_keys,
    by_site,
    feature_id,
    feature_key,
    is_component_key,
    key_of,
    keys_of,
    kind_of,
    layer_of,
    read_key,
    site_kind,
    with_sites,
)
from feature_graph.config import Config
from ingest.site_kinds import SiteKind

KEYS = [key_of(layer, kind) for layer in (0, 5, 30) for kind in get_args(SiteKind)]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_a_key_is_a_number_that_is_written_as_the_sites_name(key: SiteKey) -> None:
    assert site_kind(str(key)) == (layer_of(key), kind_of(key))
    assert read_key(str(key)) == key
    assert f"{key}" == repr(key) == str(key)
    assert str(as_key(int(np.int64(key)))) == str(key)  # after an array
    assert is_component_key(key)
    assert feature_key(feature_id(key, 7), [key]) == (key, 7)


def test_a_layer_is_its_own_key() -> None:
    assert read_key("5") == as_key(5) == layer_of(5) == 5
    assert not is_component_key(5)
    assert feature_id(5, 7) == "L5_F7"
    assert feature_key("L5_F7", [3, 5]) == (5, 7)


def test_keys_sort_by_layer_and_place_in_the_block() -> None:
    order = ["L4", "L5.z", "L5.attn", "L5.mid", "L5.mlpin", "L5.tc", "L5.mlp", "L5", "L6.z"]
    assert [str(key) for key in by_site(dict.fromkeys(reversed(order)))] == order


def test_the_callers_keys_decide() -> None:
    assert list(by_site({7: "b", 3: "a"})) == [3, 7]
    assert list(by_site({"L7": "b", "L3": "a"})) == [3, 7]  # residual SAEs alone
    mixed = by_site({"L7.tc": "b", "L7": "c", "L3": "a"})
    assert [str(key) for key in mixed] == ["L3", "L7.tc", "L7"]
    assert by_site(mixed) == mixed
    with pytest.raises(SiteError, match=r"got the keys \[3, 'L5'\]; expected layers \(5\) or names of sites"):
        by_site({3: "a", "L5": "b"})


def test_values_by_site_are_found_by_name_too() -> None:
    values = by_site({"L3": "a", "L7.tc": "b"})
    assert (values["L3"], values["L7.tc"], values[key_of(7, "transcoder")]) == ("a", "b", "b")
    assert BySite({3: "a"})["L3"] == "a"
    with pytest.raises(KeyError, match=r"L7\.mlp: there are L3, L7\.tc"):
        values["L7.mlp"]
    with pytest.raises(KeyError):
        values[7]


def test_a_configurations_sites() -> None:
    assert keys_of(Config(layers=[3, 1])) == [1, 3]
    assert keys_of(Config(sites=[{"layer": 3}, {"layer": 1}])) == [1, 3]
    both = Config(sites=[{"layer": 3}, {"layer": 3, "kind": "mlp_out"}])
    assert [str(key) for key in keys_of(both)] == ["L3.mlp", "L3"]


def test_tables_of_pairs_go_to_keys_and_back() -> None:
    plain = pd.DataFrame({"src_layer": [1], "src_index": [2], "tgt_layer": [3], "tgt_index": [4]})
    assert by_keys(plain) is plain
    assert with_sites(plain) is plain
    named = plain.assign(src_site="L1.tc", tgt_site="L3")
    keyed = by_keys(named)
    assert (keyed["src_layer"].iloc[0], keyed["tgt_layer"].iloc[0]) == (key_of(1, "transcoder"), key_of(3, "residual"))
    pd.testing.assert_frame_equal(with_sites(keyed)[named.columns], named)
