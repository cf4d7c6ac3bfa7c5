"""``analyze``: a run's graph described from its files, or scored by Graph Data Science in the database."""

from __future__ import annotations

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from feature_graph.cli import common
from feature_graph.cli.connection import DatabaseAddress, with_database
from feature_graph.cli.stored_graphs import named_effect
from feature_graph.utils import missing_as_none

if TYPE_CHECKING:
    import networkx as nx

    from feature_graph.database.store import Analysis, Projection, Store


class Sign(StrEnum):
    """Which edges."""

    ANY = "any"
    EXCITATORY = "excitatory"
    INHIBITORY = "inhibitory"


class EdgeChoice(StrEnum):
    """Which edges, and what they weigh."""

    DIRECT = "direct"
    ALL = "all"


class CollapseChoice(StrEnum):
    """What counts as one feature."""

    NOTHING = "nothing"
    FAMILIES = "families"


class Orientation(StrEnum):
    """Along the edges or against them."""

    NATURAL = "natural"
    REVERSED = "reversed"


@with_database
def analyze(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN", help="Run directory or graph file; with --algorithms also a run's id, the beginning of its id, or its name."
        ),
    ] = None,
    algorithms: Annotated[
        str | None,
        typer.Option("--algorithms", "-a", help="Compute these in the database with Graph Data Science: degree,pagerank,leiden … or all."),
    ] = None,
    sign: Annotated[Sign, typer.Option("--sign", help="Sign of the edges that are used.")] = Sign.ANY,
    edges: Annotated[
        EdgeChoice, typer.Option("--edges", help="direct: the edges of the structural graph; all: every edge.")
    ] = EdgeChoice.DIRECT,
    orientation: Annotated[Orientation, typer.Option("--orientation", help="Follow the edges, or go against them.")] = Orientation.NATURAL,
    method: Annotated[
        str | None, typer.Option("--method", help="With --algorithms: the method whose edges are used, clamping or jacobian.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**31 - 1, help="Random seed for Leiden.")] = 42,
    metric: Annotated[
        str,
        typer.Option(
            "--metric", "-m", help="Without --algorithms: the measure that ranks hubs, such as total_degree, pagerank or betweenness."
        ),
    ] = "total_degree",
    top_k: Annotated[int, typer.Option("--top", "-n", min=0, help="Number of hubs and communities to show.")] = 10,
    everything: Annotated[bool, typer.Option("--all", help="The same as --edges all.")] = False,
    effect: Annotated[
        str,
        typer.Option(
            "--effect",
            help="What an edge weighs: strength (its own), total, direct, later, computed, specific or copy. Default: specific where "
            "the run measured it, else strength.",
        ),
    ] = "",
    collapse: Annotated[
        CollapseChoice,
        typer.Option(
            "--collapse", help="families: each copy family counts as one feature for hubs and communities; nothing: each feature by itself."
        ),
    ] = CollapseChoice.FAMILIES,
    format_: Annotated[str, typer.Option("--format", "-f", help="table or json.")] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    *,
    address: DatabaseAddress,
) -> None:
    """Describe a run's graph from its files, or with --algorithms compute scores in the database and write them back."""
    _one_of("--format", format_, ["table", "json"])
    wide = everything or edges is EdgeChoice.ALL
    as_json = as_json or format_ == "json"
    if algorithms is None:
        if run is None:
            common.fail("give a run directory, or --algorithms for the newest run of the database", common.USAGE)
        _from_files(Path(run), (wide, sign, orientation, effect), collapse, metric, top_k, as_json)
        return
    names = _names(algorithms)
    with address.open() as store:
        part = _part(store, run, method, (wide, sign, orientation, effect), collapse)
        _in_database(store, part, names, seed, top_k, as_json)


def _names(text: str) -> list[str]:
    from feature_graph.database.store import ALGORITHMS

    names = list(ALGORITHMS) if text.strip() == "all" else [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in ALGORITHMS]
    if unknown or not names:
        got = ", ".join(unknown) or "none"
        common.fail(f"--algorithms: got {got}; expected some of {', '.join(ALGORITHMS)}, joined by commas, or all", common.USAGE)
    return list(dict.fromkeys(names))


def _part(
    store: Store, run: str | None, method: str | None, chosen: tuple[bool, Sign, Orientation, str], collapse: CollapseChoice
) -> Projection:
    """What to project; a run directory stands for the run that it was loaded as."""
    import queries
    from feature_graph.database.store import Projection
    from ingest import run_id

    wide, sign, orientation, effect = chosen
    _one_of("--effect", effect, ["", *queries.EFFECTS])
    found = store.find_run(run_id(run) if run is not None and Path(run).is_dir() else run)
    method = store.choose_method(found, method)
    weighed = queries.find_effect(store.driver, found, method, effect or None, database=store.database)
    edges = "all" if wide else "structural"
    return Projection(found, method, edges, sign.value, orientation.value, weighed, collapse is CollapseChoice.FAMILIES)  # type: ignore[arg-type]


def _in_database(store: Store, part: Projection, names: list[str], seed: int, top_k: int, as_json: bool) -> None:
    from feature_graph.database.store import analyze_all
    from feature_graph.utils import progress_bar

    with progress_bar() as bar:
        task = bar.add_task("projecting", total=len(names))

        def advance(name: str, done: int, _: int) -> None:
            bar.update(task, completed=done, description=name or "done")

        found = analyze_all(store, names, part, seed, advance)
    if as_json:
        common.say(json.dumps({"part": asdict(part), "seed": seed, "analyses": [_as_dict(one, top_k) for one in found]}, indent=2))
        return
    kin = "; each copy family counts as one feature" if part.families else ""
    common.out.print(f"Edges are weighed by {named_effect(part.effect or 'strength')}{kin}.", highlight=False, soft_wrap=True)
    for one in found:
        _show_analysis(one, top_k)


def _as_dict(one: Analysis, top_k: int) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "algorithm": one.algorithm,
        "written_to": one.written_to,
        "gds_version": one.gds_version,
        "params": one.params,
        "seconds": round(one.seconds, 4),
        "features": len(one.features),
        "modularity": one.modularity,
        "communities": missing_as_none(one.communities.head(top_k)).to_dict("records"),
        "n_communities": len(one.communities),
        "top": one.features.head(top_k).to_dict("records"),
    }


def _show_analysis(one: Analysis, top_k: int) -> None:
    from ingest import counted

    where = f"{counted(len(one.features), 'feature')}, written to Observation.{one.written_to} in {one.seconds:.2f} s"
    if one.modularity is None:
        columns = list(one.features.columns)
        rows = one.features.head(top_k).to_numpy().tolist()
        common.out.print(f"{one.kind}: {where}", highlight=False, soft_wrap=True)
        common.out.print(common.table("", columns, rows, right=["layer", columns[-1]]))
        return
    columns = ["community", "size", "modularity", "conductance"]
    rows = missing_as_none(one.communities[columns].head(top_k)).to_numpy().tolist()
    quality = f"{counted(len(one.communities), 'community', 'communities')} of modularity {one.modularity:.4f}"
    common.out.print(f"{one.kind}: {quality}; {where}", highlight=False, soft_wrap=True)
    common.out.print(common.table("", columns, rows, right=columns))


def _from_files(
    source: Path, chosen: tuple[bool, Sign, Orientation, str], collapse: CollapseChoice, metric: str, top_k: int, as_json: bool
) -> None:
    from feature_graph.analysis import HUB_METRICS
    from feature_graph.graph import Effect

    _one_of("--metric", metric, list(HUB_METRICS))
    _one_of("--effect", chosen[-1], ["", *get_args(Effect)])
    whole = _load(source)
    found = _answers(whole, _chosen(whole, *chosen), collapse is CollapseChoice.FAMILIES, metric, top_k)
    if as_json:
        common.out.print_json(data=found, default=str)
        return
    _show(found, metric)


def _load(source: Path) -> nx.DiGraph:
    from feature_graph.graph import graph_of_run

    if not source.exists():
        common.fail(f"{source}: no such run directory or graph file; for a run in the database give --algorithms", common.USAGE)
    return graph_of_run(source)


def _chosen(graph: nx.DiGraph, wide: bool, sign: Sign, orientation: Orientation, effect: str) -> nx.DiGraph:
    from feature_graph.graph import acts, default_effect, restated, structural

    part = graph if wide else structural(graph)
    part = restated(part, effect or default_effect(graph))  # type: ignore[arg-type]
    if sign is not Sign.ANY:
        wanted = 1 if sign is Sign.EXCITATORY else -1
        part.remove_edges_from([(u, v) for u, v, d in part.edges(data=True) if acts(d) != wanted])
    return part.reverse() if orientation is Orientation.REVERSED else part


def _answers(whole: nx.DiGraph, graph: nx.DiGraph, by_family: bool, metric: str, top_k: int) -> dict[str, Any]:
    from feature_graph.analysis import compute_graph_statistics, copy_families, count_motifs, detect_communities, find_hubs
    from feature_graph.graph import collapsed, effect_of

    stats = compute_graph_statistics(whole)
    figures = {k: v if v == v else None for k, v in asdict(stats).items()}
    figures["edges_per_layer_pair"] = {f"{a} -> {b}": n for (a, b), n in stats.edges_per_layer_pair.items()}
    families = copy_families(whole)
    motifs = count_motifs(graph)
    if by_family:
        graph = collapsed(graph, families)
    groups = [g for g in detect_communities(graph, collapse=None) if len(g) > 1]
    return {
        "summary": stats.summary(),
        "statistics": figures,
        "effect": effect_of(graph),
        "collapse": "families" if by_family else "nothing",
        "counted_edges": graph.number_of_edges(),
        "hubs": find_hubs(graph, top_k, metric, collapse=None),
        "communities": [
            {"size": len(g), "features": sorted(g), "leading": sorted(g, key=lambda n: (-graph.degree(n), n))[:3]} for g in groups[:top_k]
        ],
        "labels": {n: d["label"] for n, d in graph.nodes(data=True)},
        "motifs": motifs,
        "families": [asdict(family) | {"lifetime": family.lifetime} for family in families[:top_k]],
        "n_families": len(families),
    }


def _what_counts(found: dict[str, Any]) -> str:
    """Of which edges hubs and communities are, and why there are none."""
    kin = "; each copy family counts as one feature" if found["collapse"] == "families" else ""
    text = f"Hubs and communities are of {found['counted_edges']:,} edges, by {named_effect(found['effect'])}{kin}."
    if found["counted_edges"] or found["effect"] == "strength":
        return text
    return f"{text} No edge asked for has one as large as the smallest that counts; --effect strength keeps them all."


def _show(found: dict[str, Any], metric: str) -> None:
    common.out.print(found["summary"], highlight=False)
    common.out.print(f"\n{_what_counts(found)}", highlight=False)
    rows = [(h["id"], h["layer"], h["in_degree"], h["out_degree"], h[f"{metric}_score"], h["label"]) for h in found["hubs"]]
    heads = ["feature", "layer", "in", "out", metric, "label"]
    common.out.print(common.table("Hubs", heads, rows, right=heads[1:5]))
    labels = found["labels"]
    groups = [(g["size"], "; ".join(f"{n} {labels[n]}".strip() for n in g["leading"])) for g in found["communities"]]
    common.out.print(common.table("Communities", ["features", "most connected"], groups, right=["features"]))
    kept = [(f["id"], len(f["members"]), f["first_layer"], f["last_layer"], f["copy_share"], labels[f["id"]]) for f in found["families"]]
    heads = ["first member", "features", "from layer", "to layer", "copy share", "label"]
    common.out.print(common.table(f"Copy families ({found['n_families']:,})", heads, kept, right=heads[1:5]))
    motifs = [(name.replace("_", " "), count) for name, count in found["motifs"].items()]
    common.out.print(common.table("Motifs", ["motif", "count"], motifs, right=["count"]))


def _one_of(name: str, value: str, allowed: list[str]) -> None:
    if value not in allowed:
        raise typer.BadParameter(f"got {value!r}; expected one of {', '.join(a for a in allowed if a)}", param_hint=name)
