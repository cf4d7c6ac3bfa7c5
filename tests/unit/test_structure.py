"""The house rules that a parser can check, over the whole tree: packages meet at their faces, one class name is one class."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("feature_graph", "ingest", "queries")
EVERYWHERE = (*PACKAGES, "scripts", "benchmarks")


@cache
def parsed(packages: tuple[str, ...] = PACKAGES) -> dict[str, ast.Module]:
    """Module name → its syntax tree."""
    found = {}
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def package_of(module: str) -> str:
    """``feature_graph.loading`` for ``feature_graph.loading.text.draw``, ``ingest`` for ``ingest.load``."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "feature_graph" else parts[0]


def is_public(module: str) -> bool:
    """Whether the docstring of every package above names the module, in double backquotes."""
    first = package_of(module)
    parts = module[len(first) + 1 :].split(".")
    face = first
    for part in parts:
        if f"``{part}``" not in (ast.get_docstring(parsed()[face]) or ""):
            return False
        face = f"{face}.{part}"
    return True


def foreign_imports() -> Iterator[tuple[str, str]]:
    """(module, imported module) of every ``from … import`` that crosses from one package into another, wherever it stands."""
    for module, tree in parsed().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES:
                target = node.module
                if package_of(target) != package_of(module):
                    yield module, target


def test_packages_import_each_other_through_their_faces() -> None:
    seen = list(foreign_imports())
    assert len(seen) > 300  # the walk finds them
    deep = [f"{module} imports {target}" for module, target in seen if target != package_of(target) and not is_public(target)]
    assert not deep


@pytest.mark.parametrize("package", PACKAGES)
def test_public_modules_that_a_face_names_exist(package: str) -> None:
    for face, tree in parsed().items():
        if face.split(".")[0] != package or not any(name.startswith(f"{face}.") for name in parsed()):
            continue
        listed = [line.split("``")[1] for line in (ast.get_docstring(tree) or "").splitlines() if line.startswith("- ``")]
        assert not [name for name in listed if f"{face}.{name}" not in parsed()], face


def test_a_class_name_is_defined_once() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for module, tree in parsed(EVERYWHERE).items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(module)
    assert not {name: found for name, found in places.items() if len(found) > 1}


def test_no_function_outside_the_command_line_takes_more_than_ten_arguments() -> None:
    found = []
    for module, tree in parsed(EVERYWHERE).items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not module.startswith("feature_graph.cli."):
                a = node.args
                names = [argument.arg for argument in (*a.posonlyargs, *a.args, *a.kwonlyargs) if argument.arg not in ("self", "cls")]
                if len(names) > 10:
                    found.append(f"{module}.{node.name}: {len(names)}")
    assert not found
