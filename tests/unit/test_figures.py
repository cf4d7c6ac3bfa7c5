"""README and docs show the figures that `make figures` wrote, and nothing else between its marks."""

from __future__ import annotations

import json

import pytest

from scripts.figures import marks, texts

PAGES = marks.pages()
NAMES = [page.relative_to(marks.ROOT).as_posix() for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_a_page_shows_what_was_recorded(page) -> None:
    text = page.read_text(encoding="utf-8")
    assert marks.filled(text, json.loads(marks.RECORD.read_text(encoding="utf-8"))) == text, "written by hand? run `make figures`"


def test_every_recorded_figure_is_shown() -> None:
    shown = {name for page in PAGES for name, _ in marks.found(page.read_text(encoding="utf-8"))}
    assert shown == set(json.loads(marks.RECORD.read_text(encoding="utf-8")))


def test_marked_texts_are_replaced_and_the_rest_is_left() -> None:
    page = "keeps <!--= run.edges -->7<!--=--> edges\n\n<!--= a.table -->\n\n| a |\n\n<!--=-->\n"
    values = {"run.edges": "1,234", "a.table": "| a |\n| b |"}
    once = marks.filled(page, values)
    assert once == "keeps <!--= run.edges -->1,234<!--=--> edges\n\n<!--= a.table -->\n\n| a |\n| b |\n\n<!--=-->\n"
    assert marks.filled(once, values) == once


@pytest.mark.parametrize("text", ["<!--= a -->7", "7<!--=-->", "<!--= a --><!--= b -->7<!--=-->", "<!--= A -->7<!--=-->"])
def test_a_mark_without_its_partner_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="without its"):
        marks.filled(text, {"a": "1", "b": "2"})


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no such figures: run\.eges; there are run\.edges"):
        marks.filled("<!--= run.eges -->7<!--=-->", {"run.edges": "7"})


def test_numbers_as_the_pages_write_them() -> None:
    assert texts.whole(39595) == "39,595"
    assert [texts.number(v) for v in (-0.094, 0.6, -0.001, None, float("nan"))] == ["−0.09", "0.60", "0.00", "–", "–"]
    assert texts.percent(0.976) == "98 %"
    assert texts.interval([-0.5, 0.25]) == "[−0.50, 0.25]"
    assert texts.interval([None, 0.25]) == "–"
    assert texts.span([3, 1, 2], "d") == "1 to 3"
    assert texts.span([2.0], ".1f") == "2.0"
    assert texts.table(["a", "b"], [["x|y", 1]]) == "| a | b |\n| --- | --- |\n| x\\|y | 1 |"
