"""What edges are made of, by paper."""

from __future__ import annotations

import json
from math import isnan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from feature_graph.analysis import ComputedShare, composition, computation, replication
from feature_graph.artifacts import InteractionSet
from feature_graph.cli import app
from tests.rundirs import random_run
from tests.strategies import random_interactions


def table() -> pd.DataFrame:
    """A copy, a computed edge, a halved copy, an erased one, an edge by its later effect, and no edge."""
    frame = random_interactions(n_edges=6, seed=1).frame.copy()
    frame["significant_by"] = ["total", "total+computed", "total+computed", "computed", "later", ""]
    frame["significant"] = frame["significant_by"] != ""
    frame["mean_strength"] = [1.0, 0.5, 0.4, 0.001, 0.0, 0.0]
    frame["copy_strength"] = [0.9, 0.1, 1.0, 0.8, 0.0, 0.0]
    frame["computed_strength"] = frame["mean_strength"] - frame["copy_strength"]
    frame["interaction_type"] = ["excitatory", "excitatory", "attenuates_copy", "erases_copy", "excitatory", "excitatory"]
    frame["confirm_strength"] = [0.9, 0.5, -0.2, 0.0, 0.0, 0.0]
    frame["confirm_computed"] = [0.0, 0.4, -0.9, -0.7, 0.0, 0.0]
    frame["replicated"] = [True, True, False, True, None, None]
    return frame.assign(specific_strength=np.nan, p_specific=np.nan, q_specific=np.nan)


def test_shares_of_the_edges() -> None:
    found = {share.kind: share for share in composition(table())}
    assert {kind: share.edges for kind, share in found.items()} == {
        "all": 5,
        "attenuating": 2,
        "mostly copy": 3,
        "|computed| ≥ |copy|": 2,
    }
    assert found["attenuating"].share == 2 / 5
    assert (found["attenuating"].replication.measured, found["attenuating"].replication.replicated) == (2, 1)
    assert found["mostly copy"].replication.rate == 2 / 3


def test_an_edge_by_its_computed_effect_is_confirmed_by_it() -> None:
    frame = table()
    erased = replication(frame[frame["interaction_type"] == "erases_copy"])
    assert erased.same_sign == 1
    assert erased.shrinkage == pytest.approx(1 - 0.7 / 0.799)


def test_specific_and_generic_edges_are_told_apart_where_it_was_measured() -> None:
    frame = table().assign(q_specific=[0.01, 0.2, np.nan, 0.001, np.nan, 0.001])
    found = {share.kind: share.edges for share in composition(frame)}
    assert (found["specific"], found["generic"]) == (2, 1)


def test_no_edges() -> None:
    shares = composition(table().assign(significant=False))
    assert all(share.edges == 0 and isnan(share.share) for share in shares)
    found = computation(table().assign(significant=False))
    assert (found.by_blocks, found.largest) == ([], None)
    assert found.summary().startswith("No edge was found")


def test_what_is_computed_by_distance_and_the_largest_effect() -> None:
    frame = table().assign(blocks=[1, 7, 1, 7, 1, 1], standardised_effect=[1.0, 2.0, 1.0, 9.0, np.nan, 1.0])
    frame.loc[4, ["mean_strength", "computed_strength"]] = 5.0  # not in standard deviations: its target never varies
    found = computation(frame)
    assert found.by_blocks == [ComputedShare(1, 3, 1), ComputedShare(7, 2, 1)]
    assert [part.share for part in found.by_blocks] == [1 / 3, 1 / 2]
    assert found.largest == (frame["src_id"][1], frame["tgt_id"][1])  # the erased copy's effect is larger, and no larger than the copy
    assert found.summary() == (
        "Of 5 edges, 40% are at least as much computed as copied (|computed| ≥ |copy|): 33% of the 3 that cross 1 block, 50% of the 2 that "
        f"cross 7 blocks; of the computed ones, {frame['src_id'][1]} → {frame['tgt_id'][1]} has the largest computed effect, in standard "
        "deviations of its target."
    )


def test_one_distance_and_edges_whose_copy_is_unknown() -> None:
    frame = table().assign(blocks=0, standardised_effect=np.nan)
    assert computation(frame).summary() == (
        "Of 5 edges, 40% are at least as much computed as copied (|computed| ≥ |copy|); all of them stay within a block."
    )
    assert computation(frame.assign(copy_strength=np.nan)).by_blocks == []


def test_the_command_prints_the_same_shares(tmp_path: Path) -> None:
    root = random_run(tmp_path / "run")
    found = InteractionSet.load(root / "interactions.parquet")
    answer = CliRunner().invoke(app, ["composition", str(root), "--json"])
    assert answer.exit_code == 0
    kinds = {row["kind"]: row["edges"] for row in json.loads(answer.stdout)["kinds"]}
    assert kinds == {share.kind: share.edges for share in composition(found.frame)}
    assert kinds["attenuating"] > 0
    computed = json.loads(answer.stdout)["computed"]
    assert sum(part["computed"] for part in computed["by_blocks"]) == kinds["|computed| ≥ |copy|"]
    text = CliRunner().invoke(app, ["composition", str(root)]).stdout
    assert computed["summary"] in text.splitlines()
    assert "mostly copy" in text
    assert "generic" in text
    assert "Specificity was not measured" not in text
    assert CliRunner().invoke(app, ["composition", str(root), "--method", "jacobian"]).exit_code == 2


def test_the_command_says_that_specificity_was_not_measured(tmp_path: Path) -> None:
    root = random_run(tmp_path / "run")
    found = InteractionSet.load(root / "interactions.parquet")
    frame = found.frame.assign(specific_strength=np.nan, p_specific=np.nan, q_specific=np.nan)
    InteractionSet(frame, found.meta).save(root / "interactions.parquet")
    text = CliRunner().invoke(app, ["composition", str(root)]).stdout
    assert "Specificity was not measured" in text
    assert "generic" not in text.split("Specificity")[0]
