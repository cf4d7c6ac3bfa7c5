"""README's file tree: every path in it exists, and every package and folder of the repository is in it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TREE = README.split("## What is where\n\n")[1].split("\n\n")[0].splitlines()


def paths() -> list[str]:
    """Paths of the tree: what is indented lies in the folder above it, and so do names such as (text/) in what is said of a folder."""
    found, top = [], ""
    for line in TREE:
        indent, name, words = re.fullmatch(r"( +)(\S+) {2,}(.+)", line).groups()  # type: ignore[union-attr]
        if len(indent) == 4:
            top = name
        here = name if len(indent) == 4 else top + name
        found += [here, *(here + inner for inner in re.findall(r"\b(\w+/)", words))]
    return found


def test_every_path_of_the_tree_exists() -> None:
    assert len(paths()) > 30
    for path in paths():
        there = ROOT / path
        assert there.is_dir() if path.endswith("/") else there.is_file(), path


def test_every_package_and_folder_is_in_the_tree() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    top = {f"{path.split('/')[0]}/" for path in listed if "/" in path and not path.startswith(".")}
    inside = [path.split("/") for path in listed if path.startswith("feature_graph/") and not path.endswith("__init__.py")]
    library = {f"feature_graph/{parts[1]}{'/' if len(parts) > 2 else ''}" for parts in inside if (ROOT / "/".join(parts)).exists()}
    assert top | library <= set(paths())
