"""A style sheet for Neo4j Browser, in its own language (GraSS).

Browser matches labels and relationship types, and can write a property as a caption; it cannot choose a colour by a property. So a layer
has its colour by the label ``Layer<n>`` that every Feature carries, and the type of an edge is written on it: ``{type}`` is excitatory,
inhibitory, pass_through, attenuates_copy or erases_copy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_OTHERS = {"Observation": "#d4d4d8", "Run": "#57534e", "Behavior": "#e6007a", "Community": "#f59e0b", "Motif": "#b45309"} | {
    "Family": "#0f766e",
    "Site": "#a8a29e",
}
_CAPTIONS = {"Observation": "id", "Run": "name", "Behavior": "name", "Community": "community", "Motif": "kind"} | {
    "Family": "id",
    "Site": "hook",
}
_PLAIN = "#6b7280"


@dataclass(frozen=True)
class Style:
    """Colours of a style sheet.

    Attributes:
        layers: Layer → colour as ``#rrggbb``.
        edge: Colour of edges.
    """

    layers: Mapping[int, str]
    edge: str = "#9ca3af"


def style_sheet(style: Style) -> str:
    """The text of a ``.grass`` file."""
    rules = [
        _rule("node", {"diameter": "50px", **_colors(_PLAIN), "border-width": "2px", "font-size": "10px"}),
        _rule(
            "relationship",
            {
                "color": style.edge,
                "shaft-width": "1px",
                "font-size": "8px",
                "padding": "3px",
                "text-color-external": "#374151",
                "text-color-internal": "#ffffff",
                "caption": "<type>",
            },
        ),
        _rule("node.Feature", {**_colors(_PLAIN), "caption": "{label}", "diameter": "65px"}),
        *[_rule(f"node.Layer{layer}", _colors(color)) for layer, color in sorted(style.layers.items())],
        *[_rule(f"node.{label}", {**_colors(color), "caption": f"{{{_CAPTIONS[label]}}}"}) for label, color in _OTHERS.items()],
        _rule(
            "relationship.AFFECTS", {"color": style.edge, "shaft-width": "2px", "font-size": "8px", "padding": "3px", "caption": "{type}"}
        ),
    ]
    return "\n".join(rules)


def _rule(selector: str, properties: Mapping[str, str]) -> str:
    lines = [f"  {name}: {_quoted(value) if name == 'caption' else value};" for name, value in properties.items()]
    return "\n".join([f"{selector} {{", *lines, "}", ""])


def _quoted(caption: str) -> str:
    return f"'{caption}'"


def _colors(color: str) -> dict[str, str]:
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    border = "#" + "".join(f"{round(0.75 * c):02x}" for c in (red, green, blue))
    bright = 0.299 * red + 0.587 * green + 0.114 * blue > 140
    return {"color": color, "border-color": border, "text-color-internal": "#111827" if bright else "#ffffff"}
