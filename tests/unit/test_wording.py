"""Numbers in sentences and tables: the plural by the count, and no share that says all or none where it is not."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_graph.terminal import percent
from ingest import IngestReport, counted


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [
        (0.0, 0, "0%"), (1.0, 0, "100%"), (1.0, 1, "100.0%"), (0.25, 0, "25%"), (0.25, 1, "25.0%"), (0.998, 0, "99.8%"),
        (0.998, 1, "99.8%"),
        (0.9996, 0, "99.96%"), (0.9996, 1, "99.96%"), (0.99999, 0, ">99.99%"), (0.004, 0, "0.4%"), (0.0004, 1, "0.04%"),
        (1e-9, 0, "<0.01%"),
        (-0.3, 0, "-30%"), (1.7, 0, "170%"), (-0.002, 0, "-0.2%"), (-0.0, 0, "0%"), (-1.2, 0, "-120%"),
        (-1e-9, 0, ">-0.01%"), (-0.999999, 0, "<-99.99%"),
    ],
)  # fmt: skip
def test_a_share_in_words(share: float, digits: int, text: str) -> None:
    assert percent(share, digits) == text


@given(st.floats(0, 1), st.integers(0, 2))
def test_only_all_is_all_and_only_none_is_none(share: float, digits: int) -> None:
    text = percent(share, digits)
    number = float(text.strip("<>%"))
    assert (number == 100) == (share == 1)
    assert (number == 0) == (share == 0)
    assert math.isclose(number, 100 * share, abs_tol=0.51)


def test_the_plural_is_by_the_count() -> None:
    said = [counted(n, "edge") for n in (0, 1, 2, 1234)]
    assert said == ["0 edges", "1 edge", "2 edges", "1,234 edges"]
    assert [counted(n, "copy family", "copy families") for n in (1, 2)] == ["1 copy family", "2 copy families"]


def test_what_an_ingest_did_is_said_by_count() -> None:
    one = IngestReport("r", 1, False, nodes=1, edges=1, behaviors=1, resumed=1, digest="", seconds=2.0, decoders=1, rejected=1)
    assert one.summary() == (
        "run r: 1 feature, 1 edge, 1 behaviour, 1 decoder vector, 1 wrong row left out in 2.0 s, went on after 1 block"
    )
    two = IngestReport("r", 1, False, nodes=2, edges=2, behaviors=0, resumed=2, digest="", seconds=2.0, decoders=2, rejected=2)
    assert two.summary() == (
        "run r: 2 features, 2 edges, 0 behaviours, 2 decoder vectors, 2 wrong rows left out in 2.0 s, went on after 2 blocks"
    )
    there = IngestReport("r", 1, True, nodes=1, edges=2, behaviors=0, resumed=0, digest="", seconds=2.0, decoders=1, families=1)
    assert there.summary() == "run r is already there (1 feature, 2 edges); 1 decoder vector added, 1 copy family added"
