"""``vectors``: the directions that a run's features write, into a file that `ingest` loads."""

from __future__ import annotations

from feature_graph.cli import common
from feature_graph.cli.commands import JsonOption, RunDirectory


def vectors(run_dir: RunDirectory, as_json: JsonOption = False) -> None:
    """Write decoders.parquet: the direction that every feature adds to the residual stream, for `feature-graph query similar`.

    Loads the run's dictionaries, and its model only where one of them is on z (hook_z), whose rows go through W_O. Run `ingest` on the
    directory afterwards: it puts the directions on the features and into the vector index; a run that is already there is not loaded
    twice.
    """
    from feature_graph.pipeline import write_decoders

    done = write_decoders(common.load_config(str(run_dir)), run_dir)
    without = f"; {done.without} features have none, since they add nothing to the residual stream" if done.without else ""
    data = {"file": str(done.path), "features": done.count, "width": done.width, "without": done.without}
    said = f"{done.path}: directions of {done.count} features, {done.width} numbers each{without}"
    common.answer(as_json, data, said, f"Put them on the graph: feature-graph ingest {run_dir}")
