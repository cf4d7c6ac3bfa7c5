"""Texts between pairs of comments in Markdown pages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "docs" / "figures.json"
_MARK = re.compile(r"(<!--= ([a-z0-9_.-]+) -->)(.*?)(<!--=-->)", re.DOTALL)
_ANY = re.compile(r"<!--=")


def pages() -> list[Path]:
    """The pages that may hold figures."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def found(text: str) -> list[tuple[str, str]]:
    """(name, text) of every pair of comments.

    Raises:
        ValueError: If a comment has no partner.
    """
    pairs = _MARK.findall(text)
    if len(_ANY.findall(text)) != 2 * len(pairs):
        raise ValueError("a mark `<!--= name -->` without its `<!--=-->`, or the other way round")
    return [(name, inside) for _, name, inside, _ in pairs]


def filled(text: str, values: Mapping[str, str]) -> str:
    """The page with its marked texts replaced.

    Raises:
        ValueError: If a mark's name is unknown.
    """
    unknown = sorted({name for name, _ in found(text)} - set(values))
    if unknown:
        raise ValueError(f"no such figures: {', '.join(unknown)}; there are {', '.join(sorted(values))}")
    return _MARK.sub(lambda m: m[1] + _shaped(values[m[2]]) + m[4], text)


def _shaped(value: str) -> str:
    """A block keeps its comments on lines of their own."""
    return f"\n\n{value}\n\n" if "\n" in value else value
