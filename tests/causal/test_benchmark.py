"""The benchmark of edges: what the truth itself scores, what mistakes cost, what is refused, and models that others can load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from feature_graph.cli import app
from feature_graph.evaluation.benchmark import (
    METHODS,
    STANDARD,
    BenchmarkError,
    BenchmarkModel,
    benchmark_model,
    compare_methods,
    export_models,
    read_edges,
    score_edges,
)
from feature_graph.evaluation.benchmark.score import average_precision
from feature_graph.evaluation.planted import Pair, TrueEffect


@pytest.fixture(scope="module")
def model() -> BenchmarkModel:
    return benchmark_model("shift_by-original")


@pytest.fixture(scope="module")
def truth(model: BenchmarkModel) -> dict[Pair, TrueEffect]:
    return model.truth()


def ids(pair: Pair) -> dict[str, str]:
    return {"source": "L{}_F{}".format(*pair[0]), "target": "L{}_F{}".format(*pair[1])}


@pytest.fixture
def perfect(truth: dict[Pair, TrueEffect]) -> pd.DataFrame:
    """Every true effect as an edge."""
    rows = [
        ids(pair) | {"score": max(e.total, e.direct, e.later, e.computed, key=abs), "computed": max(e.computed, e.later, key=abs)}
        for pair, e in truth.items()
    ]
    frame = pd.DataFrame(rows).assign(model="shift_by-original")
    return frame.assign(significant=frame["score"].abs() >= 0.01)


def test_the_truth_itself_scores_in_full(perfect: pd.DataFrame) -> None:
    row = score_edges(perfect).iloc[0]
    assert (row["precision"], row["precision_computed"], row["signs"], row["recall"], row["false"]) == (1, 1, 1, 1, 0)
    assert row["true"] > row["true_computed"] > 20


def test_mistakes_cost(perfect: pd.DataFrame) -> None:
    def one(frame: pd.DataFrame) -> pd.Series:
        return score_edges(frame).iloc[0]

    assert one(perfect.assign(score=-perfect["score"]))["signs"] == 0
    assert one(perfect.assign(score=1.0))["precision"] == pytest.approx(one(perfect)["true"] / len(perfect))
    claims = perfect.assign(significant=True)
    assert one(claims)["false"] == pytest.approx(1 - one(claims)["true"] / len(claims))
    few = perfect[perfect["significant"]].head(5)
    assert one(few)["recall"] == pytest.approx(5 / one(perfect)["true"])  # what is not listed is not found
    copies = perfect.drop(columns=["computed", "significant"])
    assert one(copies)["precision_computed"] < 0.9  # ranked by the total effect, copies stand among what is computed
    assert "false" not in score_edges(copies)


def test_average_precision_by_hand() -> None:
    true = np.array([True, False, True, False])
    assert average_precision(np.array([4.0, 3.0, 2.0, 1.0]), true) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(np.zeros(4), true) == 0.5
    assert np.isnan(average_precision(np.ones(2), np.zeros(2, dtype=bool)))


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_the_command_scores_a_file(perfect: pd.DataFrame, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"edges.{ending}"
    perfect.to_csv(path, index=False) if ending == "csv" else perfect.to_parquet(path)
    done = CliRunner().invoke(app, ["calibrate", "--score", str(path), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)[0]["precision"] == 1
    assert "shift_by-original" in CliRunner().invoke(app, ["calibrate", "--score", str(path)]).stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "shift-original"}, "got 'shift-original'; expected VARIANT-SEED, such as relu-0"),
        ({"model": "relo-0"}, "got 'relo-0'"),
        ({"source": "L0_F99"}, "got the feature 'L0_F99'; its dictionaries hold L0_F0 to L0_F18, L1_F0"),
        ({"source": "first"}, "got the feature 'first'"),
        ({"source": "L1_F0", "target": "L0_F0"}, "1 pairs out of reach, such as L1_F0 → L0_F0; scored are L0 → L1, L1 → L2"),
        ({"score": "strong"}, "score: got 'strong'; expected finite numbers"),
        ({"significant": "perhaps"}, "significant: got 'perhaps'; expected true or false"),
    ],
)
def test_what_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    row = {"model": "shift_by-original", "source": "L0_F0", "target": "L1_F0", "score": 1.0} | change
    pd.DataFrame([row]).to_csv(tmp_path / "edges.csv", index=False)
    with pytest.raises(BenchmarkError) as error:
        score_edges(read_edges(tmp_path / "edges.csv"))
    assert message in str(error.value)


def test_files_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "edges.csv"
    with pytest.raises(BenchmarkError, match="no such file"):
        read_edges(path)
    path.write_text("source,target,weight\nL0_F0,L1_F0,1\n")
    with pytest.raises(BenchmarkError, match=r"got the columns source, target, weight; missing model, score\. Expected model, source"):
        read_edges(path)
    path.write_text("model,source,target,score\n" + "shift_by-original,L0_F0,L1_F0,1\n" * 2)
    with pytest.raises(BenchmarkError, match="1 pairs stand there twice, such as L0_F0 → L1_F0"):
        read_edges(path)
    path.write_text("model,source,target,score\n")
    with pytest.raises(BenchmarkError, match="got no edges"):
        score_edges(read_edges(path))
    (tmp_path / "edges.txt").write_text("")
    with pytest.raises(BenchmarkError, match=r"got the ending \.txt; expected \.parquet or \.csv"):
        read_edges(tmp_path / "edges.txt")
    assert CliRunner().invoke(app, ["calibrate", "--score", str(path)]).exit_code == 2


@pytest.mark.parametrize("name", ["shift_by-original", "rms-0"])
def test_exported_models_are_the_same_for_others(name: str, tmp_path: Path) -> None:
    from sae_lens.saes import SAE
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    model: Any = benchmark_model(name)
    done = CliRunner().invoke(app, ["calibrate", "--export", str(tmp_path), "--models", name])
    assert done.exit_code == 0, done.output
    place = tmp_path / name
    values = json.loads((place / "config.json").read_text())
    cfg = HookedTransformerConfig(**values | {"dtype": getattr(torch, values["dtype"]), "device": "cpu"})
    loaded = HookedTransformer(cfg)
    loaded.load_state_dict(load_file(place / "model.safetensors"))
    tokens = np.load(place / "tokens.npy")
    np.testing.assert_array_equal(tokens, model.tokens)
    text = torch.as_tensor(tokens[:4])
    torch.testing.assert_close(loaded(text), model.model(text))
    features = pd.read_csv(place / "features.csv")
    for layer, sae in model.saes.items():
        again = SAE.load_from_disk(place / "saes" / f"layer_{layer}")
        torch.testing.assert_close(again.W_dec, sae.W_dec)
        assert (features["layer"] == layer).sum() == sae.cfg.d_sae
    with pytest.raises(BenchmarkError, match="the folder is not empty"):
        export_models([name], tmp_path)


def test_methods_are_scored_alike() -> None:
    found = compare_methods(["shift_by-original"]).set_index("method")
    assert list(found.index) == list(METHODS)
    assert found.loc["feature-graph", "precision"] > 0.99
    assert found.loc["feature-graph", "precision_computed"] > 0.99
    assert found.loc["feature-graph", "false"] == 0
    assert found["pairs"].nunique() == 1
    for method in ("cosine", "twera", "coactivation"):
        assert found.loc[method, "precision_computed"] < 0.2 < found.loc[method, "precision"] < 0.7
    assert found.loc["placebo floor", "recall"] < 0.6  # of 19 dimensions each target has more drivers than a floor lets pass
    assert found.loc["feature-graph", "recall"] == 1
    assert len(set(STANDARD)) == len(STANDARD)
