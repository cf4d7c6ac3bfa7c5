"""The figures for README and docs, read from the session's runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from feature_graph.graph import load_graph
from scripts.figures import answers, counts
from tests.support.demo import Demo

pytestmark = [pytest.mark.slow, pytest.mark.graph, pytest.mark.model, pytest.mark.timeout(1800)]


@pytest.mark.long
def test_counts_are_those_of_the_files(demo: Demo, residual_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(residual_run, tmp_path / "run"))
    said = demo.command("pruning-recall", str(run), "--sources", "2")
    assert said.returncode == 0, said.stderr[-3000:]
    found = counts.figures(run)
    interactions, G = pd.read_parquet(run / "interactions.parquet"), load_graph(run / "graph.json")
    assert found["run.pairs"] == f"{len(interactions):,}"
    assert found["run.edges"] == f"{int(interactions['significant'].sum()):,}"
    assert found["run.features"] == f"{G.number_of_nodes():,}"
    assert found["feature.first"] in G
    assert found["feature.deep"] in found["command.cascade"]
    assert found["feature.first"] in found["vectors.commands"]
    assert found["pruning.table"].count("\n") == 8  # six rows on pruning, one on the shortlist
    assert "shortlist by responses" in found["pruning.table"]
    assert found["pruning.sources"] == "4"


def test_an_answer_is_what_the_command_prints(demo: Demo) -> None:
    said = demo.command("query", "layer_flow", "--home", str(demo.home))
    assert said.returncode == 0, said.stderr
    (shown,) = answers.figures(demo.home).values()
    first = shown.splitlines()[2].split()
    assert first[:2] == ["8", "11"]
    assert [cell for cell in first if cell not in said.stdout] == []
    assert not set("│┃━┏┡└") & set(shown)
