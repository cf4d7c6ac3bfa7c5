"""Every file that can be run answers ``--help`` and does nothing else, and no benchmark's name hides a package.

Files of Python run in children of one process that has the heavy libraries loaded already, each as the program that it is; a few are
started from nothing, as people start them.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAIN = 'if __name__ == "__main__":'
SCRIPTS = sorted(p for folder in ("benchmarks", "scripts") for p in (ROOT / folder).rglob("*.py") if MAIN in p.read_text(encoding="utf-8"))
MODULES = sorted(p for folder in ("ingest", "queries") for p in (ROOT / folder).rglob("*.py") if MAIN in p.read_text(encoding="utf-8"))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module(path: Path) -> str:
    return name(path).removesuffix(".py").removesuffix("/__main__").replace("/", ".")


PRELOAD = ["torch", "pandas", "plotly.graph_objects", "transformer_lens", "sae_lens", "neo4j", "typer"]
#: One of each way to start a program.
FROM_NOTHING = {"benchmarks/engine.py", "benchmarks.motifs", "queries.docs", "examples/worked_example.py"}
CALLS = [
    *([sys.executable, name(path)] for path in SCRIPTS if path.name != "__main__.py" and "support" not in path.parts),
    *([sys.executable, "-m", module(path)] for path in [*SCRIPTS, *MODULES] if path.parent.name != "scripts"),  # benchmarks: both ways
    [sys.executable, "examples/worked_example.py"],
    *(["bash", name(path)] for path in sorted((ROOT / "scripts").glob("*.sh"))),
]


@pytest.fixture(scope="module")
def server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    return context


def be(words: list[str], folder: Path, out: Path, error: Path) -> None:
    """Become the Python program that is called so, in a folder, with its output in files."""
    for number, path in ((1, out), (2, error)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(folder)
    os.environ["COLUMNS"] = "100"
    sys.path.insert(0, str(ROOT))
    module, file = words[0] == "-m", words[words[0] == "-m"]
    sys.argv = [file, *words[words.index(file) + 1 :]]
    if module:
        runpy.run_module(file, run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(file).parent))
        runpy.run_path(file, run_name="__main__")


@pytest.mark.parametrize("call", CALLS, ids=lambda call: " ".join(call[1:]))
def test_help_is_all_that_happens(call: list[str], server: ForkServerContext, tmp_path: Path) -> None:
    words = [*(str(ROOT / word) if (ROOT / word).is_file() else word for word in call), "--help"]
    out, error, folder = tmp_path / "out", tmp_path / "error", tmp_path / "empty"
    folder.mkdir()
    if call[0] != sys.executable or FROM_NOTHING & {*call}:
        own = {"PYTHONPATH": str(ROOT), "COLUMNS": "100"}
        with out.open("w") as o, error.open("w") as e:
            code = subprocess.run(words, stdout=o, stderr=e, cwd=folder, env=os.environ | own, check=False).returncode
    else:
        child = server.Process(target=be, args=(words[1:], folder, out, error))
        child.start()
        child.join(300)
        code = child.exitcode
    assert (code, error.read_text()) == (0, "")
    assert len(out.read_text().split()) > 5
    assert list(folder.iterdir()) == []


def test_every_runnable_file_is_found() -> None:
    found = {name(path) for path in [*SCRIPTS, *MODULES]}
    assert {"benchmarks/interactions.py", "scripts/figures/__main__.py", "ingest/__main__.py", "ingest/docs.py", "queries/docs.py"} <= found


def test_no_benchmark_has_the_name_of_a_package() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} | set(sys.stdlib_module_names)
    assert not [path for path in (ROOT / "benchmarks").iterdir() if path.stem in packages]
