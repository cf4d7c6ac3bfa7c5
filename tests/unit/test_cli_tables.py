"""Tables at narrow widths, with the answers of every saved query: nothing is wider, no heading is broken inside a word."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

import queries
from feature_graph.cli import common
from feature_graph.cli.answers import _table
from feature_graph.terminal import SafeConsole
from feature_graph.utils import missing_as_none
from queries.check import example_run

ANSWERS = json.loads((example_run() / "expected.json").read_text(encoding="utf-8"))


def shown(table: Any, width: int) -> list[str]:
    console = SafeConsole(width=width, no_color=True)
    with console.capture() as captured:
        console.print(table)
    return captured.get().splitlines()


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", ANSWERS)
def test_answers_fit_and_headings_stay_whole(name: str, width: int) -> None:
    answer = queries.Answer(ANSWERS[name]["columns"], ANSWERS[name]["rows"])
    lines = shown(_table(answer, name), width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for column in answer.columns if answer.rows else []:
        empty = all(row[answer.columns.index(column)] in (None, "", []) for row in answer.rows)
        assert empty or column in text, text


def test_a_single_row_is_set_as_keys_and_values() -> None:
    lines = shown(common.table("one", ["id", "a label"], [("L1_F2", "the sea")]), 80)
    assert [line.rstrip() for line in lines] == ["one", "id       L1_F2", "a label  the sea"]


def test_ids_and_numbers_are_never_cut() -> None:
    rows = [("L15_F2184", "L19_F818", 0.12345, "a long label that is folded between its words where it has to be")] * 3
    text = "\n".join(shown(common.table("edges", ["source", "target", "strength", "label"], rows, right=["strength"]), 60))
    assert text.count("L15_F2184") == text.count("L19_F818") == text.count("0.1235") == 3


def test_markup_in_a_cell_stays_text() -> None:
    text = "\n".join(shown(common.table("[b]title[/b]", ["x", "y"], [("[red]a[/red]", "\x1b[31m"), ("b", "c")]), 60))
    assert "[b]title[/b]" in text
    assert "[red]a[/red]" in text
    assert r"\x1b[31m" in text


def test_missing_values_are_empty_cells_and_null_whatever_the_column() -> None:
    frame = pd.DataFrame(
        {"n": [1.5, float("nan")], "none": [float("nan")] * 2, "text": ["a", None], "whole": pd.array([1, None], dtype="Int64")}
    )
    rows = missing_as_none(frame).to_dict("records")
    assert rows == [{"n": 1.5, "none": None, "text": "a", "whole": 1}, {"n": None, "none": None, "text": None, "whole": None}]
