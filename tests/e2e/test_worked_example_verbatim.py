"""The user's worked example, its code unchanged, on a folder in the hub's cache layout with random weights of the real shapes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import networkx as nx
import pytest

from feature_graph.artifacts import ActivationStore, CoactivationAtlas
from feature_graph.config import Config
from tests import hublayout

pytestmark = [pytest.mark.slow, pytest.mark.model, pytest.mark.timeout(1800)]

CODE = Path(__file__).parents[1] / "data" / "worked_example_user.py"
FILES = [
    "config.json",
    "activations.h5",
    "atlas.h5",
    "graph.graphml",
    "graph.json",
    "full_graph.html",
    "top_hub_neighborhood.html",
    "factual_recall_subgraph.html",
    "cascade.html",
]


@dataclass(frozen=True)
class Finished:
    folder: Path
    out: str
    log: str

    def number(self, pattern: str) -> int:
        match = re.search(pattern, self.out)
        assert match is not None, f"{pattern} not in:\n{self.out}"
        return int(match[1].replace(",", ""))


@pytest.fixture(scope="module")
def finished(hub_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("fresh")
    # figures are written as JSON to the output: no browser opens
    env = hublayout.apply(hub_env | {"PLOTLY_RENDERER": "json", "PYTHONPATH": str(CODE.parents[2])})
    done = subprocess.run([sys.executable, str(CODE)], env=env, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-6000:] + done.stdout[-3000:]
    return Finished(folder, done.stdout, done.stderr)


def test_every_layer_asked_for_is_loaded_and_the_renaming_is_said(finished: Finished) -> None:
    assert "Loaded SAEs for layers: [0, 1, 2, 3, 4, 5]" in finished.out
    assert finished.out.count("24576 features\n") == 6
    assert "blocks.5.hook_resid_post -> blocks.6.hook_resid_pre" in " ".join(finished.log.split())


def test_every_file_it_names_is_there(finished: Finished) -> None:
    assert "Pipeline complete!" in finished.out
    for name in FILES:
        path = finished.folder / "outputs" / "demo" / name
        assert path.stat().st_size > 100, name


def test_nothing_it_prints_is_empty(finished: Finished) -> None:
    assert finished.number(r"Collected activations for ([\d,]+) tokens") >= 9_000
    assert finished.number(r"(\d+) candidate pairs identified") > 100
    assert finished.number(r"(\d+) interactions measured") > 100
    assert finished.number(r"(\d+) significant interactions") > 0
    assert finished.number(r"Detected (\d+) communities") > 0
    assert finished.number(r"Seed features: (\d+)") == 10
    assert finished.number(r"Subgraph nodes: (\d+)") >= 10
    assert len(re.findall(r"L\d_F\d+: effect_size=-?\d+\.\d{4}", finished.out)) == 10
    assert len(re.findall(r"L\d_F\d+: degree=\d+, in=\d+, out=\d+, label='", finished.out)) == 10
    assert "Steering L" in finished.out


def test_strengths_and_p_are_numbers(finished: Finished) -> None:
    rows = re.findall(r"→ L\d_F\d+ \| (\w+) \| strength=(-?\d+\.\d+) \| p=(\d\.\d+)", finished.out)
    assert len(rows) == 10
    assert {kind for kind, _, _ in rows} <= {"excitatory", "inhibitory", "pass_through"}
    sizes = [abs(float(strength)) for _, strength, _ in rows]
    assert sizes == sorted(sizes, reverse=True)
    assert all(float(p) < 0.05 for _, _, p in rows)


def test_the_files_can_be_read_back(finished: Finished) -> None:
    out = finished.folder / "outputs" / "demo"
    assert Config.load(out / "config.json").layers == [0, 1, 2, 3, 4, 5]
    assert ActivationStore.load(out / "activations.h5").layers == [0, 1, 2, 3, 4, 5]
    assert (0, 2) in CoactivationAtlas.load(out / "atlas.h5").layer_pairs
    G = nx.read_graphml(out / "graph.graphml")
    as_json = json.loads((out / "graph.json").read_text())
    assert {node["id"] for node in as_json["nodes"]} == set(G.nodes)
    assert len(as_json["edges"]) == G.number_of_edges() > 0
    assert all(d["layer"] < 6 and isinstance(d["label"], str) for _, d in G.nodes(data=True))
    assert all(G.nodes[u]["layer"] < G.nodes[v]["layer"] for u, v in G.edges)


def test_no_warning_of_other_libraries_reaches_the_user(finished: Finished) -> None:
    assert "Traceback" not in finished.log
    assert "DeprecationWarning" not in finished.log
