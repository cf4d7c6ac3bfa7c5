"""Markdown tables of what :mod:`scripts.band.measuring` wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_HEAD = (
    "block",
    "L0",
    "explained variance",
    "of typical tokens",
    "dead",
    "recovered (zero)",
    "recovered (mean)",
    "response EV, decoders",
    "decoders that trained nothing",
    "arrivals",
    "random",
    "skip",
    "error",
)


def tables(path: Path) -> str:
    """A table for each text of a ``metrics.json``."""
    found = json.loads(path.read_text())
    parts = [f"{text} ({_tokens(sites)} tokens):\n\n{_table(sites)}" for text, sites in found["texts"].items()]
    parts += [
        f"{text}, shares of the computed part by dictionary of the source and blocks crossed:\n\n{_shares(shares)}"
        for text, shares in found.get("shares", {}).items()
        if shares
    ]
    return "\n\n".join(parts)


def _shares(by_source: Mapping[str, Mapping[str, Any]]) -> str:
    names = list(next(iter(next(iter(by_source.values())).values())))
    lines = [f"| source | blocks | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    lines += [
        f"| {source} | {distance} | {' | '.join(_interval(parts[name]) for name in names)} |"
        for source, by_distance in by_source.items()
        for distance, parts in by_distance.items()
    ]
    return "\n".join(lines)


def _interval(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return ""
    value, low, high = (figure[name] for name in ("value", "ci_low", "ci_high"))
    return _plain(value) if low is None else f"{_plain(value)} [{_plain(low)}, {_plain(high)}]"


def _tokens(sites: Mapping[str, Any]) -> int:
    return max(int(one["explained_variance"]["n"]) for one in sites.values())


def _table(sites: Mapping[str, Any]) -> str:
    lines = [f"| {' | '.join(_HEAD)} |", "|---" * len(_HEAD) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(_row(name, one))} |" for name, one in sites.items())])


def _row(name: str, one: Mapping[str, Any]) -> list[str]:
    values = [one[key] for key in ("explained_variance", "explained_variance_typical")]
    recovered = [one[key] for key in ("ce_recovered_zero", "ce_recovered_mean")]
    shares = [one[key] for key in ("skip_share", "error_share")]
    response, held_out = one["response_ev"], one["response_ev_held_out"]["decoders"]
    cells = [name.removeprefix("L").removesuffix(".tc"), f"{one['l0']['value']:.1f}", *map(_number, values), f"{one['dead']['value']:.1%}"]
    cells += [*map(_number, recovered), _number(response["decoders"]), _plain(held_out)]
    return [*cells, _number(response["arrivals"]), _number(response["random"]), *map(_number, shares)]


def _number(figure: Mapping[str, Any] | None) -> str:
    return _plain(None if figure is None else figure["value"])


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}".replace("-", "−")
