"""docs/howto-figure.md: its examples run one after the other, and write the files that they name."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from feature_graph.config import Config
from feature_graph.graph import build_interaction_graph, save_graph
from tests.strategies import random_features, random_interactions

PAGE = Path(__file__).parents[2] / "docs" / "howto-figure.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_examples_of_the_page_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    interactions = random_interactions()
    graph = build_interaction_graph(interactions, Config(), features=random_features(interactions))
    assert graph.number_of_edges()
    save_graph(graph, "outputs/bundled/graph.json", format="json")
    names: dict[str, object] = {"__name__": "page"}
    for block in BLOCKS:
        exec(compile(block, str(PAGE), "exec"), names)
    written = set(re.findall(r'"(figures/[\w.-]+)"', "".join(BLOCKS)))
    assert {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "figures").iterdir()} == written
    assert "<svg" in (tmp_path / "figures" / "graph.svg").read_text(encoding="utf-8")
    edges = pd.read_csv(tmp_path / "figures" / "edges.csv")
    assert len(edges) == graph.number_of_edges()
