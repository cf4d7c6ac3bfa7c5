"""The data behind the pictures of a validation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from feature_graph.evaluation.validation.cascade import cascade_figures
from feature_graph.steering import CascadePairs
from feature_graph.visualization import plot_faithfulness, plot_forecast, plot_overlap


def test_forecast_and_measurement_stand_at_their_roots() -> None:
    pairs = {"source": ["L0_F1", "L0_F1"], "target": ["L1_F2", "L2_<b>"], "hop": [1, 2], "forecast": [4.0, -1.0], "measured": [9.0, 0.0]}
    figure = plot_forecast(pairs)
    assert figure is not None
    points = {trace.name: trace for trace in figure.data}
    assert list(points["hop 1"].x) == [2.0]
    assert list(points["hop 1"].y) == [3.0]
    assert list(points["hop 2"].x) == [-1.0]
    assert list(points["hop 2"].customdata[0]) == [-1.0, 0.0]
    assert "<b>" not in points["hop 2"].text[0]
    assert plot_forecast({"forecast": []}) is None


def test_the_overlap_is_symmetric_and_marks_what_is_more_than_chance() -> None:
    figure = plot_overlap([{"a": "one", "b": "two_words", "jaccard": 0.25, "expected": 0.1, "shared": 5, "q": 0.01}])
    assert figure is not None
    (heat,) = figure.data
    assert heat.z[0][1] == heat.z[1][0] == 0.25
    assert heat.text[0][1] == "0.25*"
    assert list(heat.x) == ["one", "two words"]
    assert plot_overlap([]) is None


def test_curves_are_drawn_for_those_who_have_one() -> None:
    curve = [{"size": 10, "faithfulness": 0.5, "random_faithfulness": 0.1}, {"size": 100, "faithfulness": 1.0, "random_faithfulness": None}]
    figure = plot_faithfulness({"one": {"curve": curve}, "unable": {"curve": []}})
    assert figure is not None
    assert [trace.name for trace in figure.data] == ["one", "one"]
    assert list(figure.data[0].y) == [0.5, 1.0]
    assert plot_faithfulness({"unable": {"curve": []}}) is None


def made_pairs() -> CascadePairs:
    rng = np.random.default_rng(0)
    rows = [
        {
            "kind": "random" if s else "hub", "source": f"L0_F{s}", "target": f"L{hop}_F{t}", "hop": hop, "hop_computed": hop,
            "multiple": multiple, "delta": multiple, "forecast": multiple * f, "forecast_computed": multiple * f,
            "measured": 0.5 * multiple * f + 0.1, "se": 1e-3, "placebo": float(rng.standard_normal()), "placebo_se": 0.1,
            "decoder_cosine": f, "coactivation": -f, "jacobian": multiple * f, "pass_through": 0.2,
        }
        for s in range(8) for hop in (1, 2) for t, f in enumerate(rng.standard_normal(5)) for multiple in (-0.5, 2.0)
    ]  # fmt: skip
    unreached = pd.DataFrame({"source": ["L0_F0"], "multiple": [-0.5], "reached": [3.0], "others": [1.0]})
    return CascadePairs(pd.DataFrame(rows), unreached)


@pytest.mark.slow
def test_cascade_figures_are_of_the_main_delta_and_of_each_hop() -> None:
    found = cascade_figures(made_pairs(), 3, -0.5)
    assert found["hop1"]["spearman"] == pytest.approx(1.0)
    assert found["hop1"]["n"] == found["hop2"]["n"] == 40
    assert found["hop3"]["n"] == 0
    assert found["hop3"]["spearman"] is None
    assert found["hop2"]["baselines"]["coactivation"] == pytest.approx(1.0)  # the delta is negative
    assert found["hop2"]["baselines"]["decoder_cosine"] == pytest.approx(-1.0)
    assert found["hop2"]["with_residual"]["spearman"] == pytest.approx(1.0)
    assert abs(found["hop1"]["placebo"]) < 0.5
    assert found["unreached_share"] == pytest.approx(0.25)
    assert found["sources"] == {"hub": 1, "random": 7}
    assert set(found["by_delta"]) == {"-0.5", "+2"}
