"""Colours, sizes and words that all pictures share.

Layers are ordered, so they run through one scale (viridis, cut before its palest end); signs are blue and vermilion (Okabe and Ito), told
apart by people with any colour vision; what takes from a copy is purple, and what is only passed through is grey.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from feature_graph.terminal import visible

EXCITES, INHIBITS, OPPOSES, PASSES = "#0072b2", "#d55e00", "#aa5f8c", "#8a8f98"
INK, MUTED, FAINT, PAPER = "#1f2430", "#6b7280", "#e5e7eb", "#ffffff"
SEED = "#e6007a"
FONT = "Inter, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
SIGN_NAMES = {EXCITES: "excites", INHIBITS: "inhibits", OPPOSES: "takes from a copy", PASSES: "passes through"}

_VIRIDIS = ("#440154", "#482475", "#414487", "#355f8d", "#2a788e", "#21918c", "#22a884", "#44bf70", "#7ad151", "#bddf26")


def layer_colors(layers: Sequence[int]) -> dict[int, str]:
    """Layer → colour, evenly spaced over the scale in the order of the layers."""
    ordered = sorted(set(layers))
    steps = max(len(ordered) - 1, 1)
    return {layer: _between(i / steps) for i, layer in enumerate(ordered)}


def edge_color(data: Mapping[str, Any], strength: float) -> str:
    """Colour of an edge by what it does."""
    if data.get("type") in ("attenuates_copy", "erases_copy"):
        return OPPOSES
    if data.get("type") == "pass_through":
        return PASSES
    return INHIBITS if strength < 0 else EXCITES


def short_label(label: str, width: int = 30) -> str:
    """The telling part of a label (its top tokens, before the example in context), cut to ``width`` characters."""
    head, _, context = label.partition(": ")
    text = " ".join((head if context else label).split())
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def plain(text: str) -> str:
    """Text that plotly shows as it is: its own small HTML (<b>, <a>, entities) is not read from it, and control characters are seen."""
    return escape(visible(text), quote=False)


def number(value: object, digits: int = 3) -> str:
    """A number for people: up to ``digits`` significant digits, a true minus sign; a dash if it was not measured."""
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return "–"
    return f"{value:.{digits}g}".replace("-", "−")


def _between(share: float) -> str:
    place = share * (len(_VIRIDIS) - 1)
    low = min(int(place), len(_VIRIDIS) - 2)
    a, b = (tuple(int(c[i : i + 2], 16) for i in (1, 3, 5)) for c in _VIRIDIS[low : low + 2])
    return "#" + "".join(f"{round(x + (y - x) * (place - low)):02x}" for x, y in zip(a, b, strict=True))
