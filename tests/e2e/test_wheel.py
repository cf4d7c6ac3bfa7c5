"""The wheel, installed into an empty environment, works without the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from uv import find_uv_bin

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.graph]  # one lane, since all share one environment


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    env = tmp_path_factory.mktemp("env")
    uv = [find_uv_bin()]
    subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, str(env)], check=True)
    pip = [*uv, "pip", "install", "--quiet", "--python", str(env / "bin" / "python")]
    subprocess.run([*pip, "--require-hashes", "-r", str(ROOT / "requirements" / "runtime.txt")], check=True)
    subprocess.run([*pip, "--no-deps", str(wheel)], check=True)
    return env / "bin" / "feature-graph"


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Path]:
    """An empty working directory outside the checkout."""
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def run(command: Path, *args: str) -> str:
    done = subprocess.run([command, *args], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{args}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_wheel_holds_what_it_needs(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert wheel.stat().st_size < 95e6
    assert any(n.startswith("queries/") and n.endswith(".cypher") for n in names)
    assert any(n.startswith("ingest/") for n in names)
    for folder, n_dictionaries in (("bundled_saes", 7), ("bundled_transcoders", 8)):
        assert sum(n.endswith("sae_weights.safetensors") and f"/{folder}/" in n for n in names) == n_dictionaries
    for name in ("bundled", "bundled-residual"):
        assert any(n.endswith(f"/{name}.yaml") for n in names)
    assert not [n for n in names if n.split("/")[0] not in {"feature_graph", "ingest", "queries"} and ".dist-info/" not in n]


def test_help_from_the_wheel(command: Path, empty: Path) -> None:
    assert "Neo4j" in run(command, "--help")


@pytest.mark.model
def test_first_stage_of_the_bundled_run(command: Path, empty: Path) -> None:
    sites = ", ".join(f"{{layer: {n}, kind: transcoder, id: 'blocks.{n}.transcoder'}}" for n in (8, 15))  # the first and the last
    run(command, "run", "bundled", "--only", "collect", "--set", "n_tokens=512", "--set", f"sites=[{sites}]", "--output-dir", "run")
    assert (empty / "run" / "activations.h5").is_file()
    assert json.loads((empty / "run" / "manifest.json").read_text())["stages"]["collect"]["state"] == "done"


def test_database_and_query(command: Path, empty: Path) -> None:
    home = str(empty / "home")
    try:
        run(command, "db", "start", "--home", home)
        assert json.loads(run(command, "query", "runs", "--home", home, "--format", "json")) == []
    finally:
        run(command, "db", "stop", "--home", home)
