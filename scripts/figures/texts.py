"""Numbers as the pages write them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from feature_graph import terminal

NONE = "–"


def whole(value: int) -> str:
    """39595 → ``39,595``."""
    return f"{value:,}"


def number(value: float | None, form: str = ".2f") -> str:
    """A number with a true minus; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return NONE
    text = format(value, form)
    return (text.removeprefix("-") if not float(text.replace(",", "")) else text).replace("-", "−")


def percent(value: float | None) -> str:
    """0.975 → ``98 %``; never 100 % unless it is all."""
    return NONE if value is None or not math.isfinite(value) else terminal.percent(value).replace("%", " %").replace("-", "−")


def interval(pair: Sequence[float | None], form: str = ".2f") -> str:
    """``[−0.09, 0.01]``."""
    return NONE if None in pair else f"[{number(pair[0], form)}, {number(pair[1], form)}]"


def span(values: Iterable[float], form: str = ".2f") -> str:
    """Least to largest: ``0.2 to 0.4``."""
    low, high = min(kept := list(values)), max(kept)
    one, other = number(low, form), number(high, form)
    return one if one == other else f"{one} to {other}"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; a bar inside a cell is escaped."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", r"\|") for cell in line) + " |" for line in lines)
