"""``report``: the report page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from feature_graph.cli import common

RunArg = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Run directory, such as outputs/bundled.")]


def report(
    run_dir: RunArg,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to; default RUN_DIR/report.html.")] = None,
) -> None:
    """Write the report of a run: one HTML page that needs nothing beside it."""
    from feature_graph.report import write_report

    common.out.print(str(write_report(run_dir, output)), highlight=False, soft_wrap=True)
