"""`make test` runs every test in one group; it fails if a group fails, and if it found nothing to test."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.run_tests import GROUPS, failures

ROOT = Path(__file__).parents[2]
ONE, OTHER, *REST = GROUPS


@pytest.mark.parametrize(
    ("codes", "chosen", "expected"),
    [
        ((0, 0), False, []),
        ((0, 1), False, [OTHER]),
        ((2, 0), True, [ONE]),
        ((5, 0), False, [ONE]),  # a marker that matches nothing must not look like a pass
        ((5, 0), True, []),
        ((5, 1), True, [OTHER]),
        ((5, 5), True, [ONE, OTHER]),
        ((-9, 0), True, [ONE]),  # killed
    ],
)
def test_what_counts_as_a_failure(codes: tuple[int, int], chosen: bool, expected: list[str]) -> None:
    assert failures(dict(zip((ONE, OTHER), codes, strict=True)), chosen=chosen) == expected


def test_every_test_is_in_one_group() -> None:
    """Whatever marks it has; a test on the session's server or the demo's run is marked `graph`, too."""
    marks = ["graph", "shared_server", "demo", "causal", "unit"]
    for values in itertools.product([True, False], repeat=len(marks)):
        has = dict(zip(marks, values, strict=True))
        if has["graph"] or not (has["shared_server"] or has["demo"]):
            found = [group for group, expression in GROUPS.items() if eval(expression, {"__builtins__": {}}, has)]
            assert len(found) == 1, (has, found)


def test_no_test_at_all_is_a_failure() -> None:
    command = [sys.executable, "-m", "scripts.run_tests", "--", "tests/unit/test_readme.py", "-k", "no_test_of_this_name", "-q"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"failed: {', '.join(GROUPS)}" in done.stdout
