"""Writing report.html."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import networkx as nx
from jinja2 import Environment, PackageLoader, StrictUndefined

from feature_graph import visualization as draw
from feature_graph.report import sections
from feature_graph.report.material import Material, gather
from feature_graph.report.strongest import OF_A_SOURCE
from feature_graph.terminal import percent, shown
from feature_graph.utils import whole_file
from ingest import counted

log = logging.getLogger(__name__)

_PICTURES = (
    draw.plot_strengths,
    draw.plot_copy_share,
    draw.plot_layer_distance_decay,
    draw.plot_interaction_type_breakdown,
    draw.plot_layer_matrix,
    draw.plot_degree_distribution,
)


def write_report(run_dir: str | Path, output: str | Path | None = None) -> Path:
    """Write the report of a run: one page that holds everything it shows.

    Made from the files that are there: configuration, manifest, candidates, features, interactions, graph, behaviours. What is missing or
    damaged is named in the report.

    Args:
        run_dir: Run directory.
        output: Where to. Default: ``report.html`` in the run directory.

    Returns:
        Path of the page.

    Raises:
        ArtifactError: If there is no such directory, or neither a graph nor interactions in it.
        GraphFileError: If its interactions make no graph.
    """
    material = gather(run_dir)
    path = Path(output) if output is not None else material.paths.report
    text = _environment().get_template("report.html.j2").render(**_context(material))
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")
    log.info("report: wrote %s", path)
    return path


def _context(material: Material) -> dict[str, Any]:
    found = sections.find(material)
    graph = material.graph
    assert graph is not None
    model = graph.graph.get("model") or (material.config or {}).get("model_name") or "the model"
    pictures = [figure for plot in _PICTURES if (figure := plot(graph)) is not None]
    scene = draw.network_scene(found.between, "The graph", seeds=[h["id"] for h in found.hubs[:1]], seed_name="most connected feature")
    return {
        "model": model,
        "found": found,
        "of_a_source": OF_A_SOURCE,
        "weight": "their direct effect" if found.effect == "strength" else f"their {found.effect} effect",
        "stats": found.stats,
        "summary": sections.summary(material, found),
        "evidence": sections.evidence(material),
        "quality": sections.sae_quality(material),
        "pruning": sections.pruning_losses(material),
        "validation": _validation(material),
        "stages": sections.stages(material),
        "files": sections.files(material),
        "made_at": sections.made_at(),
        "material": material,
        "root": material.paths.root.resolve(),
        "scene_notes": scene.notes,
        "graph_section": draw.graph_section(scene),
        "pictures": [draw.figure_section(figure) for figure in pictures],
        "css": draw.css(),
        "plotly": draw.plotly_script(),
        "script": draw.graph_script(),
    }


def _validation(material: Material) -> dict[str, Any] | None:
    """Tables and pictures of a validation."""
    found, graph = material.validation, material.graph
    if found is None or graph is None:
        return None
    figures = (draw.plot_forecast(found["pairs"]), draw.plot_overlap(found["overlap"]), draw.plot_faithfulness(found["behaviors"]))
    return {
        "behaviors": found["behaviors"],
        "hops": {name.removeprefix("hop"): hop for name, hop in found["cascade"].items() if name.startswith("hop")},
        "by_delta": found["cascade"]["by_delta"],
        "delta": found["cascade"]["delta"],
        "shared": [row for row in found["shared"] if row["feature"] in graph][:8],
        "pictures": [draw.figure_section(figure) for figure in figures if figure is not None],
        "subgraph": _best_subgraph(found["behaviors"], graph),
    }


def _best_subgraph(behaviors: dict[str, Any], graph: nx.DiGraph) -> dict[str, Any] | None:
    """The picture of the behaviour with the most confirmed seeds among those that have edges."""
    parts = {name: graph.subgraph(node for node in b["members"] if node in graph) for name, b in behaviors.items() if b["able"]}
    drawn = [name for name, part in parts.items() if part.size()]
    if not drawn:
        return None
    best = max(drawn, key=lambda name: (behaviors[name]["confirmed"], parts[name].size()))
    seeds = [node for node in behaviors[best]["seed_ids"] if node in parts[best]]
    scene = draw.network_scene(parts[best], f"Subgraph of {best.replace('_', ' ')}", seeds=seeds, seed_name="seed")
    return {"name": best, "section": draw.graph_section(scene, "behavior"), "notes": scene.notes}


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("feature_graph.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=shown,
    )
    environment.filters.update(num=_number, pct=_percent, whole=_whole, yes_no=_yes_no, counted=counted)
    return environment


def _number(value: object, digits: int = 3) -> str:
    if isinstance(value, (tuple, list)) and len(value) == 2:
        low, high = _number(value[0], digits), _number(value[1], digits)
        return low if low == high else f"{low} … {high}"
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return "–"
    return f"{value:.{digits}g}".replace("-", "−")


def _percent(value: object) -> str:
    return percent(value).replace("-", "−") if isinstance(value, (int, float)) and math.isfinite(value) else "–"


def _yes_no(value: object) -> str:
    return "–" if value is None else "yes" if value else "no"


def _whole(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "–"
