"""A run directory from a stranger: no name inside it leads outside."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.rundirs import random_run

ROOT = Path(__file__).parents[2]

# Prints every file that is opened under a folder while a run is read and checked for loading.
_WATCH = """
import os, sys
from pathlib import Path
import ingest.behaviors, ingest.vectors
from ingest.rundir import open_run
from ingest.validate import validate

root, folder = Path(sys.argv[1]), sys.argv[2]

def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if path.startswith(folder):
            print(path)

sys.addaudithook(watch)
run = open_run(root)
seen = validate(run)
ingest.behaviors.read(run, seen.features)
ingest.vectors.read(run, seen.features)
"""


def test_names_in_its_files_are_not_paths(tmp_path: Path) -> None:
    secret = tmp_path / "secret.parquet"
    secret.write_bytes(b"not for you")
    root = random_run(tmp_path / "run")
    mark = {"sha256": "0" * 64, "size": 11, "modified": 0}
    artifacts = {"../secret.parquet": mark, str(secret): mark}
    stages = {"graph": {"state": "done", "artifacts": artifacts}}
    saes = {"../secret.parquet": {"layer": 0, "hook": "../secret.parquet", "path": str(secret)}}
    (root / "manifest.json").write_text(json.dumps({"kind": "manifest", "version": 1, "stages": stages, "saes": saes}))
    config = json.loads((root / "config.json").read_text())
    (root / "config.json").write_text(json.dumps(config | {"dataset": str(secret), "output_dir": "../"}))
    command = [sys.executable, "-c", _WATCH, str(root), str(tmp_path.resolve())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    opened = {Path(line) for line in done.stdout.splitlines()}
    assert root.resolve() / "config.json" in opened
    assert all(path.is_relative_to(root.resolve()) for path in opened), opened
