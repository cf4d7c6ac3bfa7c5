"""The database home that a ``db`` command works on: its option, and which folder is meant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from feature_graph.cli import common

if TYPE_CHECKING:
    from feature_graph.database.server import Home

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home", help="Database home. Default: $FEATURE_GRAPH_HOME, else the nearest .feature-graph, else the user's data directory."
    ),
]


def resolve_home(given: Path | None) -> Home:
    """The home that is meant, said on standard error."""
    from feature_graph.database.server import find_home

    home = find_home(given)
    common.say(f"Database home: {home.root} ({home.origin})", err=True)
    return home
