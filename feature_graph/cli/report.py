"""``report``: the report page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from feature_graph.cli import common
from feature_graph.cli.commands import JsonOption, RunDirectory, ending


def report(
    run_dir: RunDirectory,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE.html", callback=ending(".html", ".htm"), help="Page to write. Default: RUN_DIR/report.html."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the report of a run as one self-contained HTML page."""
    from feature_graph.report import write_report

    page = write_report(run_dir, output)
    common.answer(as_json, {"page": str(page)}, str(page))
