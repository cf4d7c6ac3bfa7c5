"""Pictures of a steering: what is drawn is what was given, forecast and measurement beside each other."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from feature_graph.steering import CascadePairs, predict_cascade
from feature_graph.visualization import (
    plot_compensation,
    plot_divergence,
    plot_divergence_change,
    plot_side_effects,
    plot_token_changes,
    render_cascade_overlay,
    render_side_effects,
)
from feature_graph.visualization.cascade import cascade_scene
from feature_graph.visualization.style import EXCITES, INHIBITS, PASSES
from feature_graph.visualization.svg import svg_text

EVIL = "<script>alert(1)</script>"
FEATURES = pd.DataFrame(
    {
        "feature": ["L1_F1", "L2_F1", "L2_F2", "L2_F3"],
        "label": ["one", EVIL, "new", "still"],
        "hop": [1, 2, 0, 0],
        "unit": [2.0, 4.0, 1.0, 1.0],
        "forecast": [1.0, -0.5, 0.0, 0.0],
        "measured": [1.2, -0.4, 0.3, 0.01],
        "ci_low": [1.0, -0.6, 0.2, -0.1],
        "ci_high": [1.4, -0.2, 0.4, 0.1],
        "placebo": [0.1, 0.1, np.nan, 0.1],
        "q_value": [0.001, 0.01, 0.02, 0.9],
    }
)
OUTPUT = pd.DataFrame({"offset": [0, 1], "kl": [0.2, 0.1], "kl_low": [0.1, 0.05], "kl_high": [0.3, 0.2], "placebo_kl": [0.05, 0.01]})
TOKENS = pd.DataFrame(
    {
        "when": ["here", "here", "later"],
        "side": ["gained", "lost", "lost"],
        "text": [" up", EVIL, "\n"],
        "p_before": [0.1, 0.3, 0.2],
        "p_after": [0.2, 0.1, 0.1],
        "change": [0.1, -0.2, -0.1],
    }
)


@dataclass
class Toy:
    source: str = "L0_F0"
    features: pd.DataFrame = field(default_factory=lambda: FEATURES)
    output: pd.DataFrame = field(default_factory=lambda: OUTPUT)
    tokens: pd.DataFrame = field(default_factory=lambda: TOKENS)

    @property
    def measured(self) -> dict[str, float]:
        return dict(zip(self.features["feature"], self.features["measured"], strict=True))

    def summary(self) -> str:
        return f"said in words {EVIL}"


@dataclass
class ToyCountered:
    effects: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(
            {
                "role": ["side effect", "target"],
                "feature": ["L2_F1", "L1_F1"],
                "label": [EVIL, "one"],
                "unit": [4.0, 2.0],
                "before": [-0.4, 1.2],
                "before_low": [-0.6, 1.0],
                "before_high": [-0.2, 1.4],
                "after": [0.0, 1.0],
                "after_low": [-0.1, 0.9],
                "after_high": [0.1, 1.1],
            }
        )
    )
    output: pd.DataFrame = field(default_factory=lambda: pd.DataFrame({"offset": [0], "kl_before": [0.2], "kl_after": [0.1]}))

    def summary(self) -> str:
        return "countered in words"


def graph() -> nx.DiGraph:
    G = nx.DiGraph()
    G.add_edge("L0_F0", "L1_F1", strength=0.5, direct=0.5, span=1, structural=True)
    G.add_edge("L1_F1", "L2_F1", strength=-0.5, direct=-0.5, span=1, structural=True)
    G.add_nodes_from(["L2_F2", "L2_F3"])
    for name in G:
        G.nodes[name].update(layer=int(name[1]), label=f"label of {name}")
    return G


def test_side_effects_are_drawn_in_units_of_each_feature() -> None:
    figure = plot_side_effects(FEATURES.to_dict("list"))
    assert figure is not None
    random, forecast, measured = figure.data
    assert list(measured.x) == pytest.approx([0.6, -0.1, 0.3])  # the one that did not move is left out
    assert list(forecast.x) == pytest.approx([0.5, -0.125, 0.0])
    assert list(forecast.marker.symbol) == ["circle", "circle", "circle-open"]
    assert list(measured.marker.color) == [EXCITES, INHIBITS, EXCITES]
    assert list(measured.error_x.array) == pytest.approx([0.1, 0.05, 0.1])
    assert list(random.x) == pytest.approx([0.1, 0.05, 0.0])
    assert plot_side_effects(FEATURES.assign(q_value=1.0).to_dict("list")) is None


def test_tokens_divergence_and_counter_steers_are_drawn() -> None:
    here, later = plot_token_changes(TOKENS.to_dict("list")).data
    assert (list(here.x), list(later.x)) == ([0.1, -0.2], [-0.1])
    assert list(here.marker.color) == [EXCITES, INHIBITS]
    random, steered = plot_divergence(OUTPUT.to_dict("list")).data
    assert (list(steered.y), list(random.y)) == ([0.2, 0.1], [0.05, 0.01])
    before, after = plot_compensation(ToyCountered().effects.to_dict("list")).data
    assert list(before.x) == pytest.approx([-0.1, 0.6])
    assert list(after.x) == pytest.approx([0.0, 0.5])
    assert [list(t.y) for t in plot_divergence_change(ToyCountered().output.to_dict("list")).data] == [[0.2], [0.1]]
    empty = {name: [] for name in (*TOKENS, *OUTPUT, *ToyCountered().effects, *ToyCountered().output)}
    assert [plot(empty) for plot in (plot_token_changes, plot_divergence, plot_compensation, plot_divergence_change)] == [None] * 4


def test_the_page_holds_all_of_it_and_no_text_becomes_code(tmp_path: Path) -> None:
    cascade = predict_cascade(graph(), "L0_F0", 2.0, 2)
    page = render_side_effects(
        graph(), Toy(), tmp_path / "s.html", cascade=cascade, compensation=ToyCountered(), title=EVIL, plotlyjs="directory"
    )
    text = page.read_text(encoding="utf-8")
    assert EVIL not in text
    for part in (
        "said in words",
        "countered in words",
        "Largest side effects",
        "Tokens gained and lost",
        "Counter-steers: before and after",
    ):
        assert part in text
    assert (tmp_path / "plotly.min.js").is_file()
    plain = render_side_effects(graph(), Toy(), tmp_path / "p.html", plotlyjs="directory").read_text(encoding="utf-8")
    assert "Counter-steers" not in plain
    assert "along the graph" not in plain


def test_the_overlay_sets_measured_beside_forecast(tmp_path: Path) -> None:
    cascade = predict_cascade(graph(), "L0_F0", 2.0, 2)
    measured = Toy().measured | {"L2_F3": 0.0001, "L9_F9": 3.0, "L1_F1": 0.25}
    scene = cascade_scene(graph(), cascade, measured=measured)
    marks = {n.id: n for n in scene.nodes}
    assert set(marks) == {"L0_F0", "L1_F1", "L2_F1", "L2_F2"}  # L2_F3 hardly moved, L9_F9 is not a feature of the graph
    assert marks["L1_F1"].twin_radius < marks["L1_F1"].radius  # 0.25 measured, 1 forecast
    assert (marks["L2_F1"].color, marks["L2_F1"].twin_color) == (INHIBITS, INHIBITS)
    assert (marks["L2_F2"].color, marks["L2_F2"].twin_color) == (PASSES, EXCITES)
    assert marks["L0_F0"].twin_radius == 0
    assert "measured change −0.4 activation units" in marks["L2_F1"].facts
    assert "the forecast does not reach it" in marks["L2_F2"].facts
    assert any("−0.5 | −0.4" in t.text for t in scene.labels)
    assert any("moved though the forecast does not reach them (1)" in note for note in scene.notes)
    assert svg_text(scene).count("<circle") > svg_text(cascade_scene(graph(), cascade)).count("<circle")
    page = render_cascade_overlay(graph(), cascade, tmp_path / "c.html", measured=measured, plotlyjs="directory").read_text(
        encoding="utf-8"
    )
    found = re.search(r'<script type="application/json">(.*?)</script>', page, re.S)
    assert found is not None
    roles = [t.get("meta", {}).get("role") for t in json.loads(found[1])["figure"]["data"]]
    assert roles[-1] == "twins"
    assert "Steering: forecast and measured" in page  # the scatter below


def test_without_measurement_the_overlay_is_as_it_was(tmp_path: Path) -> None:
    cascade = predict_cascade(graph(), "L0_F0", 2.0, 2)
    scene = cascade_scene(graph(), cascade)
    assert all(n.twin_radius == 0 for n in scene.nodes)
    page = render_cascade_overlay(graph(), cascade, tmp_path / "c.html", plotlyjs="directory").read_text(encoding="utf-8")
    assert "twins" not in re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert "forecast and measured" not in page


def test_pairs_of_a_validation_can_be_drawn() -> None:
    pairs = pd.DataFrame(
        {
            "source": ["L0_F0", "L0_F0", "L0_F1"],
            "target": ["L1_F1", "L1_F1", "L1_F1"],
            "multiple": [-0.5, 2.0, 2.0],
            "measured": [1.0, 2.0, 3.0],
        }
    )
    found = CascadePairs(pairs, pd.DataFrame())
    assert found.measured("L0_F0", 2.0) == {"L1_F1": 2.0}
    assert found.measured("L0_F9", 2.0) == {}
