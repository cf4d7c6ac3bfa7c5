"""``motifs``: signed motifs counted, compared with null graphs, or asked for in the small text form."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feature_graph.cli import common
from feature_graph.cli.commands import ending
from feature_graph.cli.connection import DatabaseAddress, with_database
from feature_graph.cli.stored_graphs import effect_there, fetched_graph, named_effect, say_edges
from feature_graph.terminal import percent

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd

    from feature_graph.database.store import FoundMotif, Store
    from feature_graph.motifs import NullTest, SignedGraph

_EXAMPLES = 5
Instances = dict[str, list[tuple[tuple[str, ...], float]]]


@dataclass(frozen=True)
class _Wanted:
    """What was asked for; see :func:`motifs`."""

    pattern: str | None
    null: int
    by_span: bool
    everything: bool
    method: str | None
    limit: int
    seed: int
    swaps: float
    effect: str
    workers: int | None
    output: Path | None
    keep: bool
    as_json: bool
    timeout: float

    @property
    def edges(self) -> str:
        """Which edges, in the words of the templates."""
        return "all" if self.everything else "structural"


@with_database
def motifs(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN", help="Run directory, graph file, or a run in the database: its id, the beginning of its id, or its name."
        ),
    ] = None,
    graph: Annotated[Path | None, typer.Option("--graph", help="Graph file (.json, .graphml) instead of RUN.")] = None,
    pattern: Annotated[
        str | None, typer.Option("--pattern", help="Find your own motif, such as 'A -> B; B -| C; A -> C'. See docs/motifs.md.")
    ] = None,
    null: Annotated[int, typer.Option("--null", min=0, help="Compare the counts with this many null graphs.")] = 0,
    by_span: Annotated[
        bool, typer.Option("--by-span", help="Count chains and loops separately by how many layers their edges span.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="Use every edge, not only the structural ones.")] = False,
    effect: Annotated[
        str,
        typer.Option(
            "--effect",
            help="What an edge is: strength (its own), total, direct, later, computed, specific or copy. Default: specific where the run "
            "measured it, else strength.",
        ),
    ] = "",
    method: Annotated[
        str | None, typer.Option("--method", help="In the database: the method whose edges are used, clamping or jacobian.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, max=10_000, help="Maximum number of matches to show for a pattern.")] = 20,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed for the null graphs.")] = 42,
    swaps: Annotated[float, typer.Option("--swaps", min=0.01, help="Proposed swaps per edge, for each null graph.")] = 20.0,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Number of threads; the result does not depend on it.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE.html", callback=ending(".html", ".htm"), help="With --null: write a page with pictures."
        ),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="With --null and a run in the database: keep the motifs there.")] = False,
    show: Annotated[bool, typer.Option("--show", help="With --pattern: print its Cypher instead of running it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Time limit for the database, in seconds.")] = 60.0,
    *,
    address: DatabaseAddress,
) -> None:
    """Count signed motifs, test them against null graphs, or search for your own motif."""
    if show and pattern is not None:
        _show(pattern)
        return
    _check(run, graph, pattern, null, output, keep, by_span)
    wanted = _Wanted(pattern, null, by_span, everything, method, limit, seed, swaps, effect, workers, output, keep, as_json, timeout)
    place = graph if graph is not None else Path(run or "")
    if graph is None and not place.exists():
        with address.open() as store:
            _of_run(store, run or "", wanted)
        return
    if keep:
        common.fail("--keep writes into a run of the database: give its id, not a file (`feature-graph runs list`)", common.USAGE)
    _of_file(place, wanted)


def _check(run: str | None, graph: Path | None, pattern: str | None, null: int, output: Path | None, keep: bool, by_span: bool) -> None:
    if (run is None) == (graph is None):
        common.fail("give a run directory, a graph file or the id of a run (or --graph FILE); one of them", common.USAGE)
    if pattern is not None and (null or by_span):
        common.fail("--pattern asks for one motif; --null and --by-span are about all of them", common.USAGE)
    if (output is not None or keep) and not null:
        common.fail("--output and --keep are about null graphs: give --null 200", common.USAGE)


def _show(pattern: str) -> None:
    from feature_graph.motifs import compile_cypher

    made = compile_cypher(pattern)
    common.say(f"// parameters: {json.dumps(made.parameters)}\n{made.match}", nl=False)


def _load(place: Path, wanted: _Wanted) -> nx.DiGraph:
    from feature_graph.graph import default_effect, effect_of, graph_of_run, none_left, restated, structural

    found = graph_of_run(place)
    part = found if wanted.everything else structural(found)
    stated = restated(part, wanted.effect or default_effect(found))  # type: ignore[arg-type]
    say_edges(stated.size(), effect_of(stated), none_left(part, stated))
    return stated


def _of_file(place: Path, wanted: _Wanted) -> None:
    graph = _load(place, wanted)
    if wanted.pattern is not None:
        _print_pattern(*_match(graph, wanted.pattern, wanted.limit), wanted.as_json)
    elif wanted.null:
        _print_nulls(*_tested(graph, wanted, str(place)), wanted.as_json)
    else:
        _print_counts(_counts(graph, wanted.by_span), wanted.as_json)


def _of_run(store: Store, run: str, wanted: _Wanted) -> None:
    """The same, of a run in the database; a pattern is matched by Cypher."""
    found = store.find_run(run)
    wanted = replace(wanted, effect=effect_there(store, found, wanted.method, wanted.effect))
    if wanted.pattern is not None:
        _print_pattern(*_match_there(store, found, wanted.pattern, wanted), wanted.as_json)
        return
    graph = fetched_graph(store, found, wanted.method, wanted.edges, wanted.effect)
    if not wanted.null:
        _print_counts(_counts(graph, wanted.by_span), wanted.as_json)
        return
    result, examples = _tested(graph, wanted, f"run {found}")
    if wanted.keep:
        _keep(store, found, result, examples, wanted)
    _print_nulls(result, examples, wanted.as_json)


def _match_there(store: Store, run: str, text: str, wanted: _Wanted) -> tuple[str, int, pd.DataFrame]:
    from feature_graph.database.store import count_pattern, match_pattern
    from feature_graph.motifs import compile_cypher

    made = compile_cypher(text)
    method, edges, effect, timeout = wanted.method, wanted.edges, wanted.effect, wanted.timeout
    count = count_pattern(store, made, run, method=method, edges=edges, effect=effect, timeout=timeout)
    frame = match_pattern(store, made, run, method=method, edges=edges, effect=effect, limit=wanted.limit, timeout=timeout)
    common.err.print(f"edges by {named_effect(wanted.effect)}", highlight=False)
    return text, count, frame


def _keep(store: Store, run: str, result: NullTest, examples: Instances, wanted: _Wanted) -> None:
    from feature_graph.database.store import save_motifs

    params = {"n_nulls": result.n_nulls, "seed": wanted.seed, "edges": wanted.edges, "method": wanted.method or store.main_method(run)}
    save_motifs(store, run, _kept(result, examples), params | {"effect": wanted.effect, "mixing": _plain(asdict(result.mixing))})


def _match(graph: nx.DiGraph, text: str, limit: int) -> tuple[str, int, pd.DataFrame]:
    import pandas as pd

    from feature_graph.motifs import SignedGraph, count_pattern, find_pattern, parse_pattern

    pattern, arrays = parse_pattern(text), SignedGraph.of(graph)
    rows = [[*m.features, list(m.strengths), m.weakest] for m in find_pattern(arrays, pattern, limit)]
    frame = pd.DataFrame(rows, columns=[*(n.name for n in pattern.nodes), "strengths", "weakest"])
    return text, count_pattern(arrays, pattern), frame


def _counts(graph: nx.DiGraph, by_span: bool) -> pd.DataFrame:
    import pandas as pd

    from feature_graph.motifs import TYPES, SignedGraph, census

    found = census(_said(SignedGraph.of(graph)))
    if by_span:
        return found.by_span()
    rows = [(t.name, found.counts[t.name], " | ".join(t.patterns), t.meaning) for t in TYPES]
    return pd.DataFrame(rows, columns=["motif", "count", "pattern", "meaning"])


def _said(arrays: SignedGraph) -> SignedGraph:
    """The edges that excite or inhibit, and a line about the others."""
    from ingest import counted

    if taking := int(arrays.from_copy.sum()):
        text = f"{counted(taking, 'edge')} not counted: what takes from a copy neither excites nor inhibits; --pattern with ~> finds it"
        common.err.print(text, highlight=False)
    return arrays.decided


def _tested(graph: nx.DiGraph, wanted: _Wanted, title: str) -> tuple[NullTest, Instances]:
    from feature_graph.motifs import TYPES, SignedGraph, find_pattern, null_test

    arrays = _said(SignedGraph.of(graph))
    result = null_test(arrays, wanted.null, wanted.seed, swaps_per_edge=wanted.swaps, workers=wanted.workers)
    examples: Instances = {}
    for kind in TYPES:
        matches = [m for text in kind.patterns for m in find_pattern(arrays, text, _EXAMPLES)]
        matches.sort(key=lambda m: -m.weakest)
        examples[kind.name] = [(tuple(map(str, m.features)), m.weakest) for m in matches[:_EXAMPLES]]
    if wanted.output is not None:
        from feature_graph.visualization import render_motif_page

        named = {name: [ids for ids, _ in found] for name, found in examples.items()}
        render_motif_page(result, wanted.output, f"Motifs of {title}", named)
        common.err.print(str(wanted.output), highlight=False, soft_wrap=True)
    return result, examples


def _kept(result: NullTest, examples: Instances) -> list[FoundMotif]:
    from feature_graph.database.store import Example, FoundMotif
    from feature_graph.motifs import TOTALS, motif_type, parse_pattern

    found = []
    for row in result.table.to_dict("records"):
        name = str(row.pop("motif"))
        properties = {str(k): v.item() if hasattr(v, "item") else v for k, v in row.items()}
        if name in TOTALS:
            found.append(FoundMotif(name, properties))
            continue
        patterns = motif_type(name).patterns
        letters = [n.name for n in parse_pattern(patterns[0]).nodes]
        kept = [Example(dict(zip(letters, ids, strict=True)), weakest) for ids, weakest in examples[name]]
        found.append(FoundMotif(name, properties | {"pattern": " | ".join(patterns)}, kept))
    return found


def _print_pattern(text: str, count: int, frame: pd.DataFrame, as_json: bool) -> None:
    if as_json:
        common.say(json.dumps({"pattern": text, "count": count, "matches": frame.to_dict("records")}, indent=2, ensure_ascii=False))
        return
    common.out.print(f"{count:,} matches of {common.escaped(text)}", highlight=False)
    rows = [[", ".join(f"{x:+.4g}" for x in v) if isinstance(v, list) else v for v in row] for row in frame.itertuples(index=False)]
    if rows:
        common.out.print(
            common.table(f"the {len(rows)} strongest, by their weakest edge", [str(c) for c in frame], rows, right=["weakest"])
        )


def _print_counts(frame: pd.DataFrame, as_json: bool) -> None:
    if as_json:
        common.say(frame.to_json(orient="records", indent=2, force_ascii=False))
        return
    columns = [str(c) for c in frame if c != "pattern"]
    rows = [[_value(v) for v in row] for row in frame[columns].itertuples(index=False)]
    common.out.print(common.table("Motifs", columns, rows, right=["count", "first_span", "second_span"]))


def _print_nulls(result: NullTest, examples: Instances, as_json: bool) -> None:
    mixing = _plain(asdict(result.mixing)) | {"mixed": result.mixing.mixed}
    if as_json:
        found = {name: [list(ids) for ids, _ in instances] for name, instances in examples.items()}
        rows = [_plain(row) | {"examples": found.get(str(row["motif"]), [])} for row in result.table.to_dict("records")]
        whole = {"n_nulls": result.n_nulls, "seed": result.seed, "mixing": mixing, "motifs": rows}
        common.say(json.dumps(whole, indent=2, ensure_ascii=False))
        return
    columns = ["motif", "count", "null_mean", "null_sd", "z", "p", "q"]
    tested = result.table[result.table["p"].notna()]
    lines = [[_value(v) for v in row] for row in tested[columns].itertuples(index=False)]
    common.out.print(common.table(f"Motifs against {result.n_nulls:,} null graphs", columns, lines, right=columns[1:]))
    common.out.print(
        f"{mixing['accepted_per_edge']:.1f} swaps per edge were accepted; a null graph shares "
        f"{percent(mixing['overlap_with_observed'], 1)} of its edges with this graph, {percent(mixing['overlap_between_nulls'], 1)} with "
        "another null graph. Chains and fans follow from the degrees alone.",
        highlight=False,
    )
    if not mixing["mixed"]:
        common.err.print("The swaps have not forgotten their start: p is valid, but raise --swaps for power.", highlight=False)


def _value(value: Any) -> Any:
    plain = value.item() if hasattr(value, "item") else value
    return None if plain != plain else plain


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    return {str(k): _value(v) for k, v in row.items()}
