"""The commands that README and docs print, run on the session's bundled run; and the demo's closing lines from a clean shell."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from feature_graph.cli import app
from feature_graph.graph import load_graph, structural
from tests.support import printed
from tests.support.demo import Demo
from tests.support.printed import FEATURE, Printed

pytestmark = [pytest.mark.slow, pytest.mark.graph, pytest.mark.model, pytest.mark.timeout(1800)]

#: First words of what is not run here, with the reason. Everything here is read by the command line in tests/unit/test_printed_commands.py.
LEFT_OUT = {
    "run": "takes minutes, or needs a model hub; the demo runs it",
    "ingest": "the demo ingests; files of the reader's own are in tests/graph/test_own_edges_graph.py",
    "import": "files of the reader's own; tests/graph/test_imports.py",
    "steer": "loads the model: more than 10 s; tests/causal/test_cli_steer.py",
    "probe": "loads the model: more than 10 s; tests/causal/test_cli_probe.py",
    "validate": "takes minutes; tests/causal/test_cli_validate.py",
    "pruning-recall": "takes minutes; tests/e2e/test_figures_of_a_run.py",
    "calibrate": "takes a minute; tests/causal/test_calibration.py",
    "vectors": "writes into the run; tests/graph has it",
    "db": "stops, erases or shows the session's database; tests/graph/test_server.py and test_offline_stores.py",
    "query strongest --param method=attribution": "an imported attribution graph; tests/graph/test_imports.py",
    "query similar": "needs decoder vectors, which the demo does not write",
    "query --check": "starts a server of its own",
    "query --cypher": "a statement of the reader's own",
    "query --favourites": "tests/unit/test_queries_browser.py",
    "runs drop": "the session's run would be gone",
    "motifs bundled": "writes into the database of the session; tests/graph/test_motifs_stored.py",
    "demo": "is the fixture",
}
PAGES = {"docs/queries.md"}  # run on its own graph: tests/graph/test_printed_queries.py
RUN_IDS = {"2dff22a5", "954c9672", "outputs/other", "OTHER"}


def left_out(command: Printed) -> bool:
    words = " ".join(command.words)
    return any(words == begin or words.startswith(f"{begin} ") for begin in LEFT_OUT)


CALLS = [
    c
    for c in printed.all_commands()
    if c.program == "feature-graph" and c.words and c.page not in PAGES and len(c.words) > 1 and not left_out(c)
]


@pytest.fixture(scope="module")
def place(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of the run where the pages have it."""
    folder = tmp_path_factory.mktemp("printed")
    shutil.copytree(demo.run_dir, folder / "outputs" / "bundled", ignore=shutil.ignore_patterns("*.parts", "activations.h5", "atlas.h5"))
    return folder


@pytest.fixture(scope="module")
def source(demo: Demo) -> str:
    """A feature of the run with edges downstream."""
    graph = structural(load_graph(demo.run_dir / "graph.json"))
    return max(graph, key=lambda node: (graph.out_degree(node), node))


@pytest.mark.parametrize("command", CALLS, ids=str)
def test_it_works_as_printed(command: Printed, demo: Demo, place: Path, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("FEATURE_GRAPH_HOME", str(demo.home))
    (run,) = json.loads(CliRunner().invoke(app, ["query", "runs", "--json"]).stdout)
    words = list(command.words)
    if "--home" in words:
        del words[words.index("--home") : words.index("--home") + 2]
    swapped = [run["id"] if word in RUN_IDS or word == "bundled" else FEATURE.sub(source, word) for word in words]
    swapped = [
        run["id"] if word == "outputs/bundled" and words[0] == "runs" else re.sub("=(2dff22a5|OTHER)$", f"={run['id']}", word)
        for word in swapped
    ]
    done = CliRunner().invoke(app, swapped, env={"COLUMNS": "100"})
    assert done.exit_code == 0, done.output


def test_every_reason_is_needed() -> None:
    words = [" ".join(c.words) for c in printed.all_commands() if c.program == "feature-graph"]
    unused = {begin for begin in LEFT_OUT if not any(w == begin or w.startswith(f"{begin} ") for w in words)}
    assert unused <= {"demo", "query --check"}


def test_the_closing_lines_work_from_a_clean_shell(demo: Demo) -> None:
    lines = dict(re.findall(r"^(log in as|ask|stop) +(.*)$", demo.said.stdout, re.MULTILINE))
    calls = [lines["log in as"].partition("password by: ")[2], lines["ask"], lines["stop"].replace(" stop ", " status ")]
    env = {"PATH": "/usr/bin:/bin", "HOME": str(demo.folder), "PYTHONPATH": str(printed.ROOT)}
    for call in calls:
        done = subprocess.run(["bash", "-c", call], capture_output=True, text=True, cwd=demo.folder, env=env, check=False)
        assert done.returncode == 0, f"{call}\n{done.stderr}"
