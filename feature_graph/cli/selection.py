"""Options of ``ingest`` that say what is loaded of a run, and what happens with rows that are wrong."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from feature_graph.cli import common
from feature_graph.cli.commands import ending

if TYPE_CHECKING:
    from ingest import Options


class BadRows(StrEnum):
    """What happens with rows of interactions.parquet that are wrong."""

    REFUSE = "refuse"
    SKIP = "skip"


LimitOption = Annotated[int | None, typer.Option("--limit", metavar="N", help="Load only the N strongest edges.")]
MinStrengthOption = Annotated[
    float | None, typer.Option("--min-strength", metavar="X", help="Load only edges with |strength| of X or more.")
]
TopOption = Annotated[
    int | None, typer.Option("--top-k-per-source", metavar="K", help="Load only the K strongest edges of each source and method.")
]
BadRowsOption = Annotated[
    BadRows, typer.Option("--bad-rows", help="Refuse a run that has invalid rows, or skip these rows and write them to a file.")
]
RejectedOption = Annotated[
    Path | None,
    typer.Option(
        "--rejected",
        metavar="FILE.parquet",
        callback=ending(".parquet"),
        help="File for skipped rows. Default: RUN-rejected.parquet in the current folder.",
    ),
]
WritersOption = Annotated[
    int | None,
    typer.Option("--writers", min=1, max=16, help="Number of concurrent transactions. Default: two for large runs, otherwise one."),
]


def options(
    run_dir: Path, limit: int | None, min_strength: float | None, top_k: int | None, bad_rows: BadRows, rejected: Path | None
) -> Options | None:
    """What was asked for; None if it is everything, with wrong rows refused."""
    if rejected is not None and bad_rows is BadRows.REFUSE:
        common.fail("--rejected says where skipped rows go; give --bad-rows skip with it", common.USAGE)
    if limit is min_strength is top_k is None and bad_rows is BadRows.REFUSE:
        return None
    from ingest import Options, Selection

    selection = Selection(min_strength, top_k, limit)
    if bad_rows is BadRows.REFUSE:
        return Options(selection)
    return Options(selection, "skip", rejected or Path(f"{run_dir.resolve().name}-rejected.parquet"))
