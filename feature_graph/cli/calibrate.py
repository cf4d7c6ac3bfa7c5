"""``feature-graph calibrate``: the engine on models whose truth is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feature_graph.cli import common
from feature_graph.cli.common import FAILURE, cell, err, fail, out, table

if TYPE_CHECKING:
    from feature_graph.evaluation.calibration import Calibration

QUICK_SEEDS = 1
#: Programs in their own width that --quick runs.
QUICK_LIBRARY = ("hist", "frac_prevs", "shift_by")
Values = dict[str, Any]


def calibrate(
    seeds: int = typer.Option(20, "--seeds", min=1, help="Planted models per variant; null runs take half as many."),
    variants: str = typer.Option("", "--variants", help="Only these variants, separated by commas; see --list."),
    quick: bool = typer.Option(False, "--quick", help="One seed of everything, in about a minute."),
    nulls: bool = typer.Option(True, "--nulls/--no-nulls", help="Include null runs, in which there is nothing to find."),
    programs: bool = typer.Option(
        True, "--programs/--no-programs", help="Include programs compiled into transformers by Tracr, with the library."
    ),
    library: bool = typer.Option(
        True, "--library/--no-library", help="Include these programs and Tracr's own library, in their own width: the longest part."
    ),
    own_width: str = typer.Option(
        "", "--own-width", help="Instead, run these programs in their own width, separated by commas: names, or files NAME.json of yours."
    ),
    documents: int = typer.Option(
        1000, "--documents", help="Random inputs of each program in its own width; more are added where a direction is rare."
    ),
    output_dir: Annotated[
        Path, typer.Option("--output-dir", "-o", help="Folder for calibration.json; an interrupted run is resumed there.")
    ] = Path("outputs/calibration"),
    workers: int = typer.Option(0, "--workers", help="Number of single-threaded processes; 0 means two if there are two cores."),
    as_json: bool = typer.Option(False, "--json", help="Print only one JSON object with the figures."),
    strict: bool = typer.Option(False, "--strict", help="Exit with code 1 if an aim is missed."),
    listing: bool = typer.Option(False, "--list", help="List the variants."),
    score: Annotated[Path | None, typer.Option("--score", help="Instead, score this edge list (.parquet, .csv) against the truth.")] = None,
    export: Annotated[Path | None, typer.Option("--export", help="Instead, write the benchmark's models, SAEs and text here.")] = None,
    methods: bool = typer.Option(False, "--methods", help="Instead, score known ways to draw edges."),
    models: str = typer.Option("", "--models", help="Models of --export and --methods, separated by commas; the standard ones without it."),
) -> None:
    """Run the public stages on planted transformers, whose true effects are known, and report how much of the truth they recover.

    Aims: recall of at least 0.99; a realised false discovery rate, and a share of null runs with an edge, of at most the level; every sign
    right; effects within 1 %.
    """
    if score or export or methods:
        from feature_graph.cli.benchmark import answer

        answer(score, export, models, as_json=as_json)
        return
    if listing:
        _list()
        return
    from feature_graph.evaluation.calibration import calibrate as run

    names = [name.strip() for name in variants.split(",") if name.strip()] or None
    alone = [name.strip() for name in own_width.split(",") if name.strip()]
    files = [name for name in alone if name.endswith(".json")]
    asked = [name for name in alone if name not in files] if alone else QUICK_LIBRARY if quick else None
    done = run(
        QUICK_SEEDS if quick else seeds,
        () if alone else names,
        nulls=nulls and not alone,
        programs=programs and not alone,
        library=asked if alone or (library and programs) else (),
        own=files,
        documents=documents,
        folder=str(output_dir),
        workers=workers or None,
    )
    _end(done, output_dir, as_json=as_json, strict=strict)


def _list() -> None:
    from feature_graph.evaluation.calibration import known_variants

    out.print(table("Variants", ["name", "what is different"], known_variants().items()))


def _end(done: Calibration, folder: Path, *, as_json: bool, strict: bool) -> None:
    """Print what came out; with ``strict`` a missed aim is a failure."""
    if as_json:
        common.say(json.dumps(done.figures, allow_nan=False, ensure_ascii=False))
    else:
        _show(done, folder)
    if done.missed:
        message = f"missed: {', '.join(done.missed)}"
        if strict:
            fail(message, FAILURE)
        err.print(f"[bold yellow]{message}[/]")


def _show(done: Calibration, folder: Path) -> None:
    figures = done.figures
    if figures["variants"]:
        columns = ["variant", "recall", "FDR", "signs", "error total", "direct", "later", "decoys", "gates", "coverage"]
        rows = [[name, *_row(values)] for name, values in figures["variants"].items()]
        out.print(table(f"Planted truth, {figures['seeds']} seeds", columns, rows, right=columns[1:]))
    if crowds := {name: values for name, values in figures["variants"].items() if values["unresolved"]}:
        columns = ["variant", "specific", "unresolved", "room for"]
        rows = [
            [name, _share(v["specific_found"]), _share(v["unresolved"]), f"{v['room']:.0f} equal drivers"] for name, v in crowds.items()
        ]
        out.print(table("Drivers that must be specific, and drivers that cannot be", columns, rows, right=columns[1:]))
    if figures["nulls"]:
        rows = [[name, *_null_row(values)] for name, values in figures["nulls"].items()]
        out.print(table("Null runs", ["run", "tests", "found", "interval", "at or below the level"], rows, right=["tests", "found"]))
    if figures["programs"]:
        rows = [[name, v["text"], v["agreement"], v["max_error"], v["came_back"]] for name, v in figures["programs"].items()]
        out.print(table("Compiled programs", ["program", "what it does", "wiring", "largest error", "came back"], rows))
    if figures["own_width"]:
        columns = ["program and basis", "wiring", "recall", "95 %", "false", "95 % "]
        rows = [_own_width_row(name, v) for name, v in figures["own_width"].items()]
        out.print(table("Compiled programs in their own width", columns, rows, right=columns[1:]))
    rows = [[aim["name"], aim["aim"], aim["value"], "met" if aim["met"] else "MISSED"] for aim in figures["aims"]]
    out.print(table("Aims", ["what", "aim", "reached", ""], rows, right=["reached"]))
    out.print(f"{folder / 'calibration.json'} ({figures['seconds']:.0f} s)", highlight=False)


def _row(values: Values) -> list[str]:
    errors = [values["errors"][effect] for effect in ("total", "direct", "later")]
    shares = [values[name] for name in ("decoys_rejected", "gates_found", "interval_coverage") if name in values]
    shares += [None] * (3 - len(shares))
    return [
        *(_share(values[name]) for name in ("recall", "fdr", "signs")),
        *("" if error is None else f"{error['max']:.2g}" for error in errors),
        *(_share(share) for share in shares),
    ]


def _own_width_row(name: str, values: Values) -> list[str]:
    recall, false = values["recall"], values["fdr"]
    return [name, cell(recall["of"]) if recall else "0", _share(recall), _interval(recall), _share(false), _interval(false)]


def _interval(share: Values | None) -> str:
    return "" if share is None else f"{share['low']:.2f}–{share['high']:.2f}"


def _null_row(values: Values) -> list[str]:
    found = values["found"]
    judged = {True: "yes", False: "NO", None: "a comparison"}[values.get("at_or_below_level")]
    if found is None:
        return ["0", "", "", judged]
    return [cell(found["of"]), f"{found['value']:.4f}", f"{found['low']:.4f} to {found['high']:.4f}", judged]


def _share(share: Values | None) -> str:
    return "" if share is None else f"{share['value']:.4g}"
