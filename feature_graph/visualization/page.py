"""HTML around figures: pages that stand alone and sections for the report. Everything a page needs is inside it; nothing is fetched."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from feature_graph.terminal import shown
from feature_graph.utils import whole_file
from feature_graph.visualization.errors import VisualizationError
from feature_graph.visualization.network import CURVE_STEPS, edge_hover, network_figure
from feature_graph.visualization.scene import Scene
from feature_graph.visualization.style import SIGN_NAMES

PlotlyJs = Literal["inline", "directory"]
HINT = "Click a feature to see what it drives and what drives it; double-click the picture to go back. Drag to move."

#: Share of a picture's width that leaves the panel beside it; with less room the panel goes below.
_LEAST_BESIDE = 0.85

_environment = Environment(loader=PackageLoader("feature_graph.visualization"), autoescape=True, undefined=StrictUndefined, finalize=shown)


def write_graph_page(scene: Scene, path: str | Path, plotlyjs: PlotlyJs = "inline", figures: Sequence[go.Figure] = ()) -> Path:
    """Write the page of one scene, with figures below it.

    Args:
        scene: What to draw.
        path: Where to; folders are made.
        plotlyjs: ``inline`` puts the drawing library (4.8 MB) into the page, ``directory`` next to it, once for many pages in one folder.
        figures: Set below the picture.

    Raises:
        VisualizationError: If ``plotlyjs`` is neither.
    """
    below = "".join(f'<div class="fg-card fg-figure">{figure_section(figure)}</div>' for figure in figures)
    return write_page(
        "page.html.j2",
        path,
        plotlyjs,
        title=scene.title,
        notes=scene.notes,
        body=graph_section(scene) + Markup(below),
        script=graph_script(),
    )


def write_page(template: str, path: str | Path, plotlyjs: PlotlyJs = "inline", **values: Any) -> Path:
    """Write a page from one of the package's templates, which gets ``css`` and ``plotly`` in addition to ``values``.

    Raises:
        VisualizationError: If ``plotlyjs`` is neither ``inline`` nor ``directory``.
    """
    path = Path(path)
    if plotlyjs == "directory":
        with whole_file(path.parent / "plotly.min.js") as part:
            part.write_text(get_plotlyjs(), encoding="utf-8")
        plotly = Markup('<script src="plotly.min.js"></script>')
    elif plotlyjs == "inline":
        plotly = plotly_script()
    else:
        raise VisualizationError(f"plotlyjs: got {plotlyjs!r}, expected inline or directory")
    text = render_template(template, css=css(), plotly=plotly, **values)
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")
    return path


def graph_section(scene: Scene, name: str = "graph") -> Markup:
    """The scene as a section of a page that holds :func:`css`, :func:`plotly_script` and, at its end, :func:`graph_script`."""
    counts = {color: sum(e.color == color for e in scene.edges) for color in dict.fromkeys([*SIGN_NAMES, *(e.color for e in scene.edges)])}
    legend = [{"color": c, "name": SIGN_NAMES.get(c, "edge"), "count": n} for c, n in counts.items() if n]
    return Markup(
        _environment.get_template("graph.html.j2").render(
            name=name,
            nodes=bool(scene.nodes),
            legend=legend,
            dashed=any(e.dashed for e in scene.edges),
            seed_name=scene.seed_name if any(n.seed for n in scene.nodes) else "",
            steps=len(_steps(scene)),
            payload=script_json(_payload(scene)),
            room=round(_LEAST_BESIDE * scene.width),
        )
    )


def figure_section(figure: go.Figure) -> Markup:
    """A figure as a section of a page that holds :func:`plotly_script`."""
    return Markup(
        figure.to_html(include_plotlyjs=False, full_html=False, config={"displaylogo": False, "displayModeBar": False, "responsive": True})
    )


def plotly_script() -> Markup:
    """The drawing library."""
    return Markup(f"<script>{get_plotlyjs()}</script>")


def css() -> Markup:
    """Style of all pages."""
    return Markup(_source("style.css"))


def graph_script() -> Markup:
    """What makes graph sections interactive."""
    return Markup(_source("graph.js"))


def render_template(name: str, **values: Any) -> str:
    """A page from one of the package's templates; values are escaped unless they are Markup."""
    return _environment.get_template(name).render(**values)


def script_json(value: Any) -> Markup:
    """JSON that can stand inside a script element: no character of it can end the element."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _payload(scene: Scene) -> dict[str, Any]:
    nodes = [asdict(n) for n in scene.nodes]
    edges = [
        {"s": e.source, "t": e.target, "strength": e.strength, "color": e.color, "facts": e.facts, "hover": edge_hover(scene, e)}
        for e in scene.edges
    ]
    figure = json.loads(network_figure(scene).to_json())
    return {"figure": figure, "nodes": nodes, "edges": edges, "steps": _steps(scene), "curveSteps": CURVE_STEPS, "hint": HINT}


def _steps(scene: Scene) -> list[float]:
    """Thresholds of |strength| for the slider, so that each step drops an equal share of the edges."""
    if len(scene.edges) < 20:
        return [0.0]
    sizes = np.abs([e.strength for e in scene.edges])
    return [0.0, *np.quantile(sizes, np.linspace(0.04, 0.98, 24)).tolist()]


def _source(name: str) -> str:
    assert _environment.loader is not None
    return _environment.loader.get_source(_environment, name)[0]
