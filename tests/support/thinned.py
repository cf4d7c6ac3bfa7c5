"""Many cases on several runs: all of them on one run, and on the others a third in `make test` and the rest in `make test-long`."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import pytest

EVERY = 3
Case = TypeVar("Case")


def thinned(whole: str, others: Sequence[str], cases: Sequence[Case], same: Callable[[Case], Hashable]) -> list[tuple[str, Case, Any]]:
    """Run, case and mark: every case on ``whole``; on the others the first of those that are the ``same``, and each third."""
    found: list[tuple[str, Case, Any]] = [(whole, case, ()) for case in cases]
    for number, which in enumerate(others):
        seen: set[Hashable] = set()
        for place, case in enumerate(cases):
            kept = same(case) not in seen or (place + number) % EVERY == 0
            seen.add(same(case))
            found.append((which, case, () if kept else pytest.mark.long))
    return found
