"""Every file that can be run answers ``--help`` and does nothing else, and no benchmark's name hides a package."""

from __future__ import annotations

import os
import subprocess
import sys
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


CALLS = [
    *([sys.executable, name(path)] for path in SCRIPTS if path.name != "__main__.py" and "support" not in path.parts),
    *([sys.executable, "-m", module(path)] for path in [*SCRIPTS, *MODULES] if path.parent.name != "scripts"),  # benchmarks: both ways
    [sys.executable, "examples/worked_example.py"],
    *(["bash", name(path)] for path in sorted((ROOT / "scripts").glob("*.sh"))),
]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: " ".join(call[1:]))
def test_help_is_all_that_happens(call: list[str], tmp_path: Path) -> None:
    words = [str(ROOT / word) if (ROOT / word).is_file() else word for word in call]
    own = {"PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    done = subprocess.run([*words, "--help"], capture_output=True, text=True, cwd=tmp_path, env=os.environ | own, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.split()) > 5
    assert list(tmp_path.iterdir()) == []


def test_every_runnable_file_is_found() -> None:
    found = {name(path) for path in [*SCRIPTS, *MODULES]}
    assert {"benchmarks/interactions.py", "scripts/figures/__main__.py", "ingest/__main__.py", "ingest/docs.py", "queries/docs.py"} <= found


def test_no_benchmark_has_the_name_of_a_package() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} | set(sys.stdlib_module_names)
    assert not [path for path in (ROOT / "benchmarks").iterdir() if path.stem in packages]
