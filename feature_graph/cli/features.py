"""Feature ids of the command line, checked against a run's files before anything heavy is loaded."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer

SteeredFeature = Annotated[str, typer.Option("--feature", help="The feature to steer, such as L7_F1024.")]
SteeringDelta = Annotated[
    float,
    typer.Option("--delta", "-d", help="How much, in units of the feature's mean activation where active: -0.5 turns it down by half."),
]


def check_features(run_dir: Path, option: str, names: Iterable[str]) -> None:
    """Refuse what is not a feature of the run's SAEs; a run whose files do not tell its sites is not checked.

    Raises:
        BadParameter: Naming the first wrong one, and described features near it.
    """
    from feature_graph.artifacts import RunPaths, read_feature_id
    from ingest.formats import FEATURES, read_meta

    path = RunPaths.of(run_dir).features
    widths = _widths(read_meta(path, FEATURES).get("sites", [])) if path.is_file() else {}
    for name in names:
        try:
            found = read_feature_id(name)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint=option) from error
        site = found.site_name.removeprefix("L")
        if widths and site not in widths:
            raise typer.BadParameter(f"got {name}; {run_dir} has the layers {', '.join(widths)}", param_hint=option)
        if widths and found.index >= widths[site]:
            raise typer.BadParameter(
                f"got {name}; the SAE of layer {site} has {widths[site]} features{_near(path, name)}", param_hint=option
            )


def _widths(sites: Iterable[dict[str, Any]]) -> dict[str, int]:
    """``5`` or ``5.mlp`` → features of the site's dictionary, layers ascending; none if a site does not say it."""
    from ingest.feature_ids import site_name

    facts = list(sites)
    if any("layer" not in one or "d_sae" not in one for one in facts):
        return {}
    ordered = sorted(facts, key=lambda one: (one["layer"], one.get("order", 0)))
    return {site_name(one["layer"], one.get("site") or "").removeprefix("L"): one["d_sae"] for one in ordered}


def check_nodes(run_dir: Path, names: Iterable[str]) -> None:
    """Refuse what is not a node of the run's graph.

    Raises:
        BadParameter: Naming the first wrong one, and nodes near it.
    """
    from feature_graph.artifacts import RunPaths
    from feature_graph.graph import load_graph

    graph_json = RunPaths.of(run_dir).graph_json
    nodes = [str(node) for node in load_graph(graph_json)] if graph_json.is_file() else []
    for name in names:
        if nodes and name not in nodes:
            near = ", ".join(get_close_matches(name, nodes, n=3)) or "none"
            raise typer.BadParameter(f"{name!r} is not among the {len(nodes)} features of the graph; near: {near}")


def _near(features: Path, name: str) -> str:
    from ingest.formats import FEATURES, read_table

    near = get_close_matches(name, read_table(features, FEATURES).column("id").to_pylist(), n=3)
    return f"; near: {', '.join(near)}" if near else ""
