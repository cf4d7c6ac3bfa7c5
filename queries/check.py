"""Every template's example against the rows that it must give on the shipped run (``queries/example``)."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from queries.connection import Answer
from queries.library import names, template
from queries.runner import run

if TYPE_CHECKING:
    import neo4j

#: Columns that differ from one database to another, and are only required to be there.
VOLATILE = {"runs": {"finished", "created", "run"}}
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Checked:
    """One template: whether its example gave the expected rows, and if not, what was wrong."""

    name: str
    problem: str = ""

    @property
    def passed(self) -> bool:
        """Whether it did."""
        return not self.problem


def example_run() -> Path:
    """The shipped run that the examples are about."""
    return Path(str(files("queries") / "example"))


def answers(driver: neo4j.Driver, run_id: str, database: str | None = None) -> dict[str, Answer]:
    """Every template's example, asked of the shipped run."""
    return {name: _ask(driver, run_id, name, database) for name in names()}


def check(driver: neo4j.Driver, run_id: str, database: str | None = None) -> list[Checked]:
    """Ask every template its example and compare with what is shipped in ``queries/example/expected.json``.

    Args:
        driver: An open driver; the shipped run must be loaded.
        run_id: Its id there.
        database: Name of the database, if not the user's default.
    """
    expected = json.loads((example_run() / "expected.json").read_text(encoding="utf-8"))
    return [Checked(name, _difference(name, _ask(driver, run_id, name, database), expected.get(name))) for name in names()]


def _ask(driver: neo4j.Driver, run_id: str, name: str, database: str | None) -> Answer:
    found = template(name)
    this_run = {p.name: run_id for p in found.parameters if p.type in {"run", "other_run"}}
    return run(driver, name, database=database, **(found.example | this_run))


def as_json(name: str, answer: Answer) -> dict[str, Any]:
    """An answer as it is shipped."""
    hidden = VOLATILE.get(name, set())
    rows = [[None if c in hidden else v for c, v in zip(answer.columns, row, strict=True)] for row in answer.rows]
    plain: dict[str, Any] = json.loads(json.dumps({"columns": answer.columns, "rows": rows}, default=str))
    return plain


def _difference(name: str, answer: Answer, expected: dict[str, Any] | None) -> str:
    if expected is None:
        return "no rows are shipped for it (scripts/write_expected.py writes them)"
    got = as_json(name, answer)
    if got["columns"] != expected["columns"]:
        return f"columns {got['columns']}, expected {expected['columns']}"
    if len(got["rows"]) != len(expected["rows"]):
        return f"{len(got['rows'])} rows, expected {len(expected['rows'])}"
    for number, (row, other) in enumerate(zip(got["rows"], expected["rows"], strict=True), 1):
        for column, a, b in zip(got["columns"], row, other, strict=True):
            if not _same(a, b):
                return f"row {number}, {column}: {a!r}, expected {b!r}"
    return ""


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=_TOLERANCE, abs_tol=1e-9)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    return bool(a == b)
