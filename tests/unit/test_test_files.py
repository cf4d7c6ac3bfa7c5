"""Where tests lie: no file of tests takes anything from another one, and no two have one name."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FILES = sorted(TESTS.rglob("*.py"))
NAMES = [path.relative_to(TESTS).as_posix() for path in FILES]


def imported(text: str) -> Iterator[str]:
    """Dotted names that a module imports, wherever in it; of ``from a import b`` also ``a.b``."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def of_tests(dotted: str) -> bool:
    """Whether a name is that of a module of tests, or of fixtures."""
    return dotted.startswith("tests.") and any(part.startswith("test_") or part == "conftest" for part in dotted.split(".")[1:])


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_no_file_of_tests_is_imported(path: Path) -> None:
    taken = [name for name in imported(path.read_text(encoding="utf-8")) if of_tests(name)]
    assert not taken, f"{path.name} takes {taken[0]}: what two test files need goes to tests/support"


def test_what_counts_as_such_an_import() -> None:
    inside = "def f():\n    from tests.unit.test_report import words\n"
    text = inside + "from tests.unit import test_graph\nfrom tests import tiny\nimport tests.graph.conftest"
    assert sorted(filter(of_tests, imported(text))) == [
        "tests.graph.conftest",
        "tests.unit.test_graph",
        "tests.unit.test_report",
        "tests.unit.test_report.words",
    ]


def test_names_are_unique() -> None:
    counts = Counter(path.name for path in FILES if path.name.startswith("test_"))
    assert [name for name, n in counts.items() if n > 1] == []


def test_what_is_shared_holds_no_tests() -> None:
    for path in (TESTS / "support").glob("*.py"):
        functions = [node.name for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.FunctionDef)]
        assert not [name for name in (path.name, *functions) if name.startswith("test_")], path.name
