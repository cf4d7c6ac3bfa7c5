"""The one rule for an edge's strength, sign and part in the structural graph, wherever it is asked for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from feature_graph.graph import build_interaction_graph
from feature_graph.interactions import leading_strength
from ingest import checksum, digest, rows, strength
from ingest.derive import derived
from tests.rundirs import by_direct_alone, dense
from tests.strategies import random_interactions

CASES = pd.DataFrame(
    [
        ("total", 1, 0.5, -1.0, np.nan, "total", 0.5, "excitatory"),
        ("total+direct", 2, -0.5, 1.0, 9.0, "total", -0.5, "inhibitory"),
        ("direct", 2, 0.5, -1.0, 9.0, "direct", -1.0, "inhibitory"),
        ("direct+later", 3, 0.5, -1.0, 9.0, "direct", -1.0, "inhibitory"),
        ("later", 2, 0.5, -1.0, -9.0, "later", -9.0, "inhibitory"),
        ("later", 1, 0.5, 0.5, 0.0, "later", 0.0, "excitatory"),
        ("total+later", 2, 0.5, -1.0, 9.0, "total", 0.5, "excitatory"),
        ("later+computed", 2, 0.5, -1.0, 9.0, "total", 0.5, "attenuates_copy"),
        ("computed", 1, -0.001, -0.001, 9.0, "total", -0.001, "erases_copy"),
        ("total", 0, 0.5, 0.5, 9.0, "total", 0.5, "excitatory"),
        ("total", 0, 0.5, -1.0, 9.0, "total", 0.5, "excitatory"),
        ("total+direct", 1, 0.5, -1.0, 9.0, "total", 0.5, "excitatory"),
    ],
    columns=["significant_by", "span", "mean_strength", "direct_strength", "later_strength", "effect", "lead", "interaction_type"],
).assign(
    copy_strength=[0.25, 0.5, 0.52, np.nan, 0.0, 0.52, 1.0, 0.49, 0.5, 0.0, 0.0, 0.0],
    specific_strength=[0.02, -0.02, np.nan, 0.005, -0.005, 0.0, 1.0, np.nan, -1.0, 1.0, 1.0, 1.0],
    floor_computed=[0.01, 0.01, 0.01, 0.01, np.nan, np.nan, np.nan, 0.01, 0.01, 0.01, 0.01, 0.01],
    floor=[0.5, 0.5, 0.5, 0.5, 0.01, 0.03, np.nan, np.nan, np.nan, 0.5, 0.5, 0.5],
    held_features=[np.nan, 9.0, 9.0, 9.0, 9.0, np.nan, np.nan, 0.0, 0.0, np.nan, 2.5, 2.5],  # the last two within a block, over a site
)


@pytest.mark.parametrize("text", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_every_kind_of_edge(text: pa.DataType) -> None:
    table = pa.Table.from_pandas(CASES, preserve_index=False)
    table = table.set_column(0, "significant_by", pa.array(CASES["significant_by"], pa.string()).cast(text))
    assert strength.leading_effect(table["significant_by"]).to_pylist() == CASES["effect"].tolist()
    assert strength.leading_of(table).tolist() == strength.leading_of(CASES).tolist() == CASES["lead"].tolist()
    made = strength.derived_columns(table)
    assert made["strength"].to_pylist() == CASES["lead"].tolist()
    assert made["sign"].to_pylist() == [1, -1, -1, -1, -1, 0, 1, 1, 0, 1, 1, 1]
    assert made["structural"].to_pylist() == [True, True, True, True, False, True, False, False, True, True, False, True]
    assert made["total"].to_pylist() == [None, None, 0.5, 0.5, 0.5, 0.5, *[None] * 6]
    computed = CASES["mean_strength"] - CASES["copy_strength"]
    assert made["computed"].to_pandas().equals(computed.rename(None))
    assert made["sign_computed"].to_pylist() == [1, -1, -1, None, 1, 0, -1, 1, -1, 1, 1, 1]
    assert made["floor_computed"].to_pylist() == [0.01, 0.01, 0.01, 0.01, 0.01, 0.03, None, 0.01, 0.01, 0.01, 0.01, 0.01]
    assert made["sign_specific"].to_pylist() == [1, -1, None, 0, 0, 0, 1, None, -1, 1, 1, 1]


def test_no_rows() -> None:
    assert strength.leading_of(CASES[:0]).shape == (0,)
    assert len(strength.structural([], [], [])) == len(strength.leading_effect([])) == 0


def test_pipeline_files_and_graph_agree() -> None:
    made = random_interactions(4, 10, 100, seed=1)
    frame = by_direct_alone(dense(made)[1], 4)
    lead = strength.leading_of(frame)
    assert leading_strength(frame).tolist() == lead.tolist()
    kinds = derived("interaction_type", *(pa.array(frame[c], from_pandas=True) for c in strength._STRENGTHS)).to_pylist()
    assert [kind == "inhibitory" for kind in kinds] == (lead < 0).tolist()
    graph = build_interaction_graph(type(made)(frame, made.meta))
    alone = frame[frame["significant_by"] == "direct"]
    assert len(alone) == 4
    for row in frame[frame["significant"]].itertuples():
        edge = graph.edges[row.src_id, row.tgt_id]
        assert edge["strength"] == lead[row.Index]
        assert edge["sign"] == np.sign(lead[row.Index])
        by = row.significant_by
        assert edge["kind"] == ("direct" if by.startswith("direct") else "later" if by == "later" else "total")
        assert edge["structural"] == (row.span == 1 or "direct" in row.significant_by)
    for row in alone[alone["interaction_type"] != "pass_through"].itertuples():
        assert (graph.edges[row.src_id, row.tgt_id]["sign"] < 0) == (row.interaction_type == "inhibitory")


def test_what_follows_from_a_column_that_a_file_lacks_is_absent() -> None:
    """A property may follow from a column that not every file has: it is then left out, of the digest and the checksum as well."""
    table = pa.Table.from_pandas(CASES, preserve_index=False)
    for values in ([None] * 12, [1.0, None, -2.0, 0.0, None, 1.0, 3.0, None, -1.0, 0.0, 2.0, None]):
        there = table.append_column("later_slope", pa.array(values, pa.float64()))
        signs = strength.sign(there["later_slope"])
        assert signs.to_pylist() == [None if v is None else int(np.sign(v)) for v in values]
        column = rows._array(signs)
        assert rows._values(column) == signs.to_pylist()
        assert {type(v) for v in rows._values(column)} <= {int, type(None)}
        assert digest.words(column).tolist() == digest.words(signs.to_pylist()).tolist()
        wanted = [checksum._NULL if v is None else int(np.sign(v)) for v in values]
        assert checksum._numbers(column, "INTEGER").tolist() == wanted
