"""`make test` in two lanes: it fails if a lane fails, and if it found nothing to test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.run_tests import LANES, failures

ROOT = Path(__file__).parents[2]
ONE, OTHER = LANES


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
    assert failures(dict(zip(LANES, codes, strict=True)), chosen=chosen) == expected


def test_no_test_at_all_is_a_failure() -> None:
    command = [sys.executable, "-m", "scripts.run_tests", "--", "tests/unit/test_readme.py", "-k", "no_test_of_this_name", "-q"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"failed: {ONE}, {OTHER}" in done.stdout
