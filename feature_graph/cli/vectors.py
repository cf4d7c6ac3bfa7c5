"""``vectors``: the decoder directions of a run's features into a file that `ingest` loads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from feature_graph.cli import common


def vectors(run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Run directory, such as outputs/bundled.")]) -> None:
    """Write decoders.parquet: the direction of every feature's decoder row, for the question `similar` (`feature-graph query similar`).

    Loads the run's dictionaries, not its model. Then `ingest` the directory (again): that puts the directions on the features and into the
    vector index; a run that is there already is not loaded twice.
    """
    from feature_graph.pipeline import write_decoders

    done = write_decoders(common.load_config(str(run_dir)), run_dir)
    without = f"; {done.without} have a decoder row of zeros and none" if done.without else ""
    common.out.print(f"{done.path}: directions of {done.count} features, {done.width} wide{without}", highlight=False, soft_wrap=True)
    common.out.print(f"Put them on the graph: feature-graph ingest {run_dir}", highlight=False, soft_wrap=True)
