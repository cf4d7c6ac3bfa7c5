"""The commands that README and docs print, run as printed in a folder with a small bundled run; and the demo's closing lines."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from feature_graph.cli import app
from feature_graph.database import server
from feature_graph.graph import load_graph, structural
from tests.support import printed
from tests.support.demo import Demo
from tests.support.printed import FEATURE, Printed
from tests.support.printed_place import Place, fill, furnish

pytestmark = [pytest.mark.slow, pytest.mark.graph, pytest.mark.model, pytest.mark.timeout(1800)]

LOADS = "loads the model: more than 10 s"
RESTARTS = "stops, checks and starts the server: more than 10 s"
#: First words of what is not run here: what needs a hub, a GPU or more than 10 s, and where it is tested. Everything here is read by the
#: command line in tests/unit/test_printed_commands.py.
LEFT_OUT = {
    "demo": "takes minutes; tests/e2e/test_demo.py runs it, and it is the fixture here",
    "run gpt2-small": "needs a model hub, or its folders; tests/e2e/test_hub_models.py, test_hub_layout.py",
    "run bundled": f"{LOADS}; tests/e2e/test_demo.py",
    "run bundled-residual": f"{LOADS}; tests/e2e/test_figures_of_a_run.py, test_worked_example.py",
    "run mine.yaml": f"{LOADS}; tests/e2e/test_worked_example.py, tests/unit/test_config.py",
    "steer": f"{LOADS}; tests/causal/test_cli_steer.py",
    "probe": f"{LOADS}; tests/causal/test_cli_probe.py",
    "validate": f"{LOADS}; tests/causal/test_cli_validate.py",
    "forecasts": f"{LOADS}; tests/causal/test_forecasts.py",
    "pruning-recall": f"{LOADS}; tests/e2e/test_figures_of_a_run.py",
    "quality": f"{LOADS}; tests/unit/test_cli_quality.py",
    "calibrate": "measures planted models: more than 10 s; tests/causal/test_calibration.py",
    "query --check": "starts a server of its own: more than 10 s; tests/graph/test_queries_cli.py",
    "ingest outputs/exhaustive --bulk always": f"{RESTARTS}; tests/graph/test_bulk.py",
    "db dump": f"{RESTARTS}; tests/graph/test_offline_stores.py",
    "db load": f"{RESTARTS}; tests/graph/test_offline_stores.py",
    "db backup": f"{RESTARTS}; tests/graph/test_offline_stores.py",
    "db start --": "starts the server once more: more than 10 s; tests/graph/test_server.py",
}
PAGES = {"docs/queries.md"}  # run on its own graph: tests/graph/test_printed_queries.py
#: Run ids of the pages, and which run stands for them here.
RUN_IDS = {
    **dict.fromkeys(("2dff22a5", "bundled", "outputs/bundled", "bundled-residual", "outputs/bundled-residual"), "run"),
    **dict.fromkeys(("954c9672", "outputs/other", "OTHER"), "part"),
}
ON_A_TERMINAL = {("db", "password")}  # says its answer to a terminal only
PROGRAM = [sys.executable, "-c", "from feature_graph.cli import main; main()"]


def left_out(command: Printed) -> bool:
    words = " ".join(command.words)
    return any(words == begin or words.startswith(begin if begin.endswith("-") else f"{begin} ") for begin in LEFT_OUT)


#: These come last, in this order: what follows one of them finds no server, or an empty database, and has it started or filled again.
LAST = [("db", "start"), ("db", "migrate"), ("db", "stop"), ("db", "reset")]
_calls = {
    command.words: command
    for command in reversed(printed.all_commands())
    if command.program == "feature-graph" and len(command.words) > 1 and command.page not in PAGES and not left_out(command)
}
CALLS = dict(sorted(_calls.items(), key=lambda call: LAST.index(call[0][:2]) if call[0][:2] in LAST else -1))


@pytest.fixture(scope="module")
def place(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("printed")
    try:
        yield furnish(folder, demo.run_dir)
    finally:
        server.stop(folder / ".feature-graph")


@pytest.fixture(scope="module")
def source(demo: Demo) -> str:
    """A feature of the run with edges downstream."""
    graph = structural(load_graph(demo.run_dir / "graph.json"))
    return max(graph, key=lambda node: (graph.out_degree(node), node))


def as_here(command: Printed, place: Place, source: str) -> list[str]:
    """Its words with this run's ids; only where the command asks for a run in the database does a run's name or folder stand for an id."""
    asks_for_run = command.words[0] in {"runs", "motifs", "analyze"}
    words = []
    for word in command.words:
        before, equals, value = word.rpartition("=")
        if value in RUN_IDS and (asks_for_run or equals) and not (command.words[0] != "runs" and "/" in value):
            value = getattr(place, RUN_IDS[value])
        words.append(FEATURE.sub(source, f"{before}{equals}{value}"))
    if words[0] == "import":  # the pages' FILE and RUN_DIR stand for an attribution graph and a new run directory
        words = [{"own.cypher": "graph.json", "outputs/bundled": "attribution-run"}.get(word, word) for word in words]
    return words


#: What the page has done before, where it is more than a run in a database: first words → commands.
BEFORE = {
    ("ingest", "folder"): ["runs export RUN folder -f parquet"],
    ("db", "start"): ["db stop"],
    ("query", "similar"): ["vectors outputs/bundled", "ingest outputs/bundled"],
    ("query", "strongest", "--param", "method=attribution"): [
        "import attribution graph.json --output-dir attribution-run",
        "ingest attribution-run",
    ],
}


def prepare(words: list[str], place: Place) -> None:
    fill(place.folder)
    if "--output-dir" in words:
        shutil.rmtree(place.folder / words[words.index("--output-dir") + 1], ignore_errors=True)
    for begin, calls in BEFORE.items():
        for call in calls if tuple(words[: len(begin)]) == begin else []:
            done = CliRunner().invoke(app, call.replace("RUN", place.run).split())
            assert done.exit_code == 0, done.output


@pytest.mark.parametrize("command", CALLS.values(), ids=str)
def test_it_works_as_printed(command: Printed, place: Place, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.folder)
    monkeypatch.setenv("BROWSER", "true")
    words = as_here(command, place, source)
    prepare(words, place)
    if command.page.startswith("docker/"):
        monkeypatch.chdir(place.folder / "docker")
    if command.words in ON_A_TERMINAL:
        assert len(on_a_terminal(words)) > 10
    elif command.words == ("db", "browser"):  # a process of its own: it starts another and does not wait for it
        subprocess.run(PROGRAM + words, env=environment(), check=True, capture_output=True)
    else:
        done = CliRunner().invoke(app, words, env={"COLUMNS": "100"}, input=":exit\n" if words[:2] == ["db", "shell"] else "y\n")
        assert done.exit_code == 0, done.output


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(printed.ROOT)}


def on_a_terminal(words: list[str]) -> str:
    """What a command says where its output is a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(PROGRAM + words, stdout=theirs, stderr=subprocess.DEVNULL, env=environment()) as process:
        os.close(theirs)
        assert process.wait(60) == 0
    return os.read(ours, 1000).decode().strip()


def test_every_reason_is_needed() -> None:
    words = [" ".join(c.words) for c in printed.all_commands() if c.program == "feature-graph"]
    assert {begin for begin in LEFT_OUT if not any(word.startswith(begin) for word in words)} <= {"demo", "query --check"}


def test_the_closing_lines_work_from_a_clean_shell(demo: Demo) -> None:
    lines = dict(re.findall(r"^(log in as|ask|stop) +(.*)$", demo.said.stdout, re.MULTILINE))
    calls = [lines["log in as"].partition("password by: ")[2], lines["ask"], lines["stop"].replace(" stop ", " status ")]
    env = {"PATH": "/usr/bin:/bin", "HOME": str(demo.folder), "PYTHONPATH": str(printed.ROOT)}
    for call in calls:
        done = subprocess.run(["bash", "-c", call], capture_output=True, text=True, cwd=demo.folder, env=env, check=False)
        assert done.returncode == 0, f"{call}\n{done.stderr}"
