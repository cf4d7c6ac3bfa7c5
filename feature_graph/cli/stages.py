"""``run``, one command per stage, and ``status``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from feature_graph.cli import common
from feature_graph.cli.commands import JsonOption, RunDirectory

if TYPE_CHECKING:
    from feature_graph.pipeline import RunResult, RunStatus, StageName

PANEL = "A run"
#: The stages in order, as ``pipeline.STAGE_NAMES``; repeated here so that --help need not import the pipeline (a test compares them).
STAGE_HELP: dict[StageName, str] = {
    "collect": "Record the activations of every SAE feature on the text.",
    "atlas": "Count which features are active together.",
    "responses": "Measure what one unit of each feature does downstream.",
    "seeds": "Choose the seed features of known behaviours.",
    "candidates": "Choose the pairs that are worth measuring.",
    "measure": "Measure causal effects by intervening in the model.",
    "graph": "Build the graph of significant edges.",
    "behaviors": "Find the features that known behaviours rest on.",
    "report": "Write report.html and its pictures.",
}

ConfigArg = Annotated[
    str, typer.Argument(metavar="CONFIG", help="A .yaml or .json file, a run directory, or the name of a shipped one, such as bundled.")
]
SetOpt = Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Override a field; may be repeated.")]
OutOpt = Annotated[Path | None, typer.Option("--output-dir", "-o", help="Run directory to use instead of the configuration's.")]
DeviceOpt = Annotated[str | None, typer.Option("--device", help="Device to use instead of the configuration's: cpu, cuda, mps or auto.")]


def run(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help=ConfigArg.__metadata__[0].help)] = "",
    set_: SetOpt = None,
    output_dir: OutOpt = None,
    device: DeviceOpt = None,
    only: Annotated[str | None, typer.Option("--only", metavar="STAGE", help="Run this stage only.")] = None,
    from_: Annotated[str | None, typer.Option("--from", metavar="STAGE", help="Run this stage and all later ones again.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the shipped configurations.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run all stages, or resume where the last run stopped.

    The stages are collect, atlas, responses and seeds (if candidates are chosen by responses), candidates, measure, graph, behaviors and
    report.
    """
    if list_:
        _print_shipped(as_json)
        return
    if not config:
        raise typer.BadParameter("a configuration is needed; --list names the shipped ones", param_hint="CONFIG")
    if only and from_:
        raise typer.BadParameter("give --only or --from, not both", param_hint="--only")
    go(config, set_, output_dir, device, only=_stage(only, "--only"), from_=_stage(from_, "--from"), as_json=as_json)


def go(
    config: str,
    set_: list[str] | None,
    output_dir: Path | None,
    device: str | None,
    only: StageName | None = None,
    from_: StageName | None = None,
    as_json: bool = False,
) -> None:
    """Load the configuration, run, and print what was done; Ctrl-C says what is kept."""
    overrides = [*(set_ or []), *([f"device={device}"] if device else [])]
    cfg = common.load_config(config, overrides, output_dir)
    from feature_graph import pipeline

    try:
        result = pipeline.run(cfg, only=only, from_=from_)
    except KeyboardInterrupt:
        common.fail(
            f"stopped. What is finished in {cfg.output_dir} is kept, the stage in hand block by block; "
            f"go on with: feature-graph run {cfg.output_dir}",
            common.INTERRUPTED,
        )
    print_result(result, as_json)


def print_result(result: RunResult, as_json: bool = False) -> None:
    """A table of the stages with their seconds and rows."""
    if as_json:
        stages = [{"stage": o.stage, "action": o.action, "seconds": o.seconds, "rows": o.rows, "reason": o.reason} for o in result.outcomes]
        common.answer(as_json, {"run_dir": str(result.run_dir), "stages": stages})
        return
    rows = [
        (o.stage, "done" if o.action == "done" else "up to date", f"{o.seconds:.1f}", f"{o.rows:,}", o.reason or "")
        for o in result.outcomes
    ]
    common.out.print(common.table(str(result.run_dir), ["stage", "", "seconds", "rows", "why"], rows, right=["seconds", "rows"]))


def status(
    run_dir: RunDirectory,
    as_json: JsonOption = False,
) -> None:
    """Show what a run directory contains and what the next run would do."""
    from feature_graph import pipeline

    found = pipeline.status(run_dir)
    if as_json:
        common.out.print_json(data=_plain(found))
        return
    rows = [
        (
            s.stage,
            s.state,
            f"{s.record.seconds:.1f}" if s.record else "",
            f"{s.record.rows:,}" if s.record else "",
            _why(s.reason, s.n_parts),
        )
        for s in found.stages
    ]
    common.out.print(common.table(str(found.run_dir), ["stage", "state", "seconds", "rows", "why"], rows, right=["seconds", "rows"]))
    if found.holder:
        common.out.print(f"in use by {found.holder}", highlight=False)
    elif not found.complete:
        common.out.print(f"go on with: feature-graph run {found.run_dir}", highlight=False)


def _why(reason: str, n_parts: int) -> str:
    kept = f"{n_parts} part files are kept" if n_parts else ""
    return "; ".join(words for words in (reason, kept) if words)


def _plain(found: RunStatus) -> dict[str, object]:
    stages = {
        s.stage: {
            "state": s.state,
            "reason": s.reason,
            "parts": s.n_parts,
            "seconds": s.record.seconds if s.record else None,
            "rows": s.record.rows if s.record else None,
            "error": s.record.error if s.record else "",
        }
        for s in found.stages
    }
    return {"run_dir": str(found.run_dir), "complete": found.complete, "holder": found.holder, "stages": stages}


def _print_shipped(as_json: bool) -> None:
    from feature_graph.config import Config

    rows = []
    for name, path in common.shipped_configs().items():
        cfg = Config.load(path)
        about = next((line.lstrip("# ") for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")), "")
        rows.append((name, len(cfg.layers), cfg.n_tokens, about))
    if as_json:
        common.answer(as_json, [{"name": row[0], "layers": row[1], "tokens": row[2], "about": row[3]} for row in rows])
        return
    common.out.print(common.table("shipped configurations", ["name", "layers", "tokens", "about"], rows, right=["layers", "tokens"]))


def _stage(name: str | None, option: str) -> StageName | None:
    if name is not None and name not in STAGE_HELP:
        raise typer.BadParameter(f"got {name!r}; the stages are {', '.join(STAGE_HELP)}", param_hint=option)
    return name


def _command_of(name: StageName) -> Callable[..., None]:
    def command(
        config: ConfigArg, set_: SetOpt = None, output_dir: OutOpt = None, device: DeviceOpt = None, as_json: JsonOption = False
    ) -> None:
        go(config, set_, output_dir, device, only=name, as_json=as_json)

    return command


def register(app: typer.Typer) -> None:
    """Add ``run``, ``status`` and one command per stage."""
    app.command(rich_help_panel=PANEL)(run)
    app.command(rich_help_panel=PANEL)(status)
    for name, text in STAGE_HELP.items():
        if name != "report":
            app.command(name, help=text, rich_help_panel="One stage")(_command_of(name))
