"""``report`` and ``analyze``: the report page of a run, and its graph described in the terminal."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feature_graph.cli import common

if TYPE_CHECKING:
    import networkx as nx

RunArg = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Run directory, such as outputs/bundled.")]
GraphArg = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Run directory, or a graph file (.json, .graphml).")]


def report(
    run_dir: RunArg,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to; default RUN_DIR/report.html.")] = None,
) -> None:
    """Write the report of a run: one HTML page that needs nothing beside it."""
    from feature_graph.report import write_report

    common.out.print(str(write_report(run_dir, output)), highlight=False, soft_wrap=True)


def analyze(
    run_dir: GraphArg,
    metric: Annotated[str, typer.Option("--metric", "-m", help="Measure of the hubs, such as total_degree, pagerank, betweenness.")] = (
        "total_degree"
    ),
    top_k: Annotated[int, typer.Option("--top", "-k", min=0, help="How many hubs and communities.")] = 10,
    everything: Annotated[bool, typer.Option("--all", help="Count all total effects, not only structural edges.")] = False,
    effect: Annotated[str, typer.Option("--effect", help="What a strength stands for: total, direct, later or computed.")] = "",
    format_: Annotated[str, typer.Option("--format", help="table or json.")] = "table",
) -> None:
    """Describe the graph of a run: figures, hubs, communities, motifs."""
    from feature_graph.analysis import HUB_METRICS

    _one_of("--metric", metric, list(HUB_METRICS))
    _one_of("--effect", effect, ["", "total", "direct", "later", "computed"])
    _one_of("--format", format_, ["table", "json"])
    whole = _load(run_dir)
    found = _answers(whole, _chosen(whole, everything, effect), metric, top_k)
    if format_ == "json":
        common.out.print_json(data=found, default=str)
        return
    _show(found, metric)


def _load(run_dir: Path) -> nx.DiGraph:
    from feature_graph.artifacts import RunPaths
    from feature_graph.graph import load_graph

    return load_graph(RunPaths.of(run_dir).graph_json if run_dir.is_dir() else run_dir)


def _chosen(graph: nx.DiGraph, everything: bool, effect: str) -> nx.DiGraph:
    from feature_graph.graph import restated, structural

    part = graph if everything else structural(graph)
    return restated(part, effect) if effect else part  # type: ignore[arg-type]


def _answers(whole: nx.DiGraph, graph: nx.DiGraph, metric: str, top_k: int) -> dict[str, Any]:
    from feature_graph.analysis import compute_graph_statistics, count_motifs, detect_communities, find_hubs

    stats = compute_graph_statistics(whole)
    figures = {k: v if v == v else None for k, v in asdict(stats).items()}
    figures["edges_per_layer_pair"] = {f"{a} -> {b}": n for (a, b), n in stats.edges_per_layer_pair.items()}
    groups = [g for g in detect_communities(graph) if len(g) > 1]
    return {
        "summary": stats.summary(),
        "statistics": figures,
        "counted_edges": graph.number_of_edges(),
        "hubs": find_hubs(graph, top_k, metric),
        "communities": [
            {"size": len(g), "features": sorted(g), "leading": sorted(g, key=lambda n: (-graph.degree(n), n))[:3]} for g in groups[:top_k]
        ],
        "labels": {n: d["label"] for n, d in graph.nodes(data=True)},
        "motifs": count_motifs(graph),
    }


def _show(found: dict[str, Any], metric: str) -> None:
    common.out.print(found["summary"], highlight=False)
    common.out.print(f"\nHubs, communities and motifs are of {found['counted_edges']:,} edges.", highlight=False)
    rows = [(h["id"], h["layer"], h["in_degree"], h["out_degree"], h[f"{metric}_score"], h["label"]) for h in found["hubs"]]
    heads = ["feature", "layer", "in", "out", metric, "label"]
    common.out.print(common.table("Hubs", heads, rows, right=heads[1:5]))
    labels = found["labels"]
    groups = [(g["size"], "; ".join(f"{n} {labels[n]}".strip() for n in g["leading"])) for g in found["communities"]]
    common.out.print(common.table("Communities", ["features", "most connected"], groups, right=["features"]))
    motifs = [(name.replace("_", " "), count) for name, count in found["motifs"].items()]
    common.out.print(common.table("Motifs", ["motif", "count"], motifs, right=["count"]))


def _one_of(name: str, value: str, allowed: list[str]) -> None:
    if value not in allowed:
        raise typer.BadParameter(f"got {value!r}; expected one of {', '.join(a for a in allowed if a)}", param_hint=name)
