"""Scores as rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from feature_graph.evaluation.forecasts.forecasters import FORECASTERS


def score_rows(found: Mapping[str, Any], number: Callable[[float | None], str]) -> Iterator[list[str]]:
    """Forecasters against sites crossed, of one effect; pooled correlation, and within sources in brackets.

    Args:
        found: Sites crossed → scores, one effect of :func:`forecast_scores`.
        number: Writes a number; None is one that does not exist.

    Yields:
        A row per forecaster, the split half of the truth, the gain of the response over the best baseline with its interval and name, the
        gain over the measured edge, and how many pairs there are.
    """
    for name in (*FORECASTERS, "split half"):
        yield [name, *(f"{number(s['pooled'][name]['value'])} ({number(s['within'][name]['value'])})" for s in found.values())]
    for title, key in (("response − best baseline", "gain"), ("the same within sources", "gain_within"), ("response − edge", "over_edge")):
        yield [title, *(_gain(s[key], number) for s in found.values())]
    yield ["pairs", *(f"{s['pairs']:,}" for s in found.values())]


def _gain(gain: Mapping[str, Any], number: Callable[[float | None], str]) -> str:
    if gain["value"] is None:
        return number(None)
    low, high = (number(end) for end in gain["ci"])
    return f"{number(gain['value'])} [{low}, {high}] {gain['best']}"
