"""A folder in which the printed commands work as printed: a run, files of a reader's own, and a database of its own."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import networkx as nx
import pandas as pd

import ingest
from feature_graph.database import server, store
from ingest import Options, Selection
from tests.attribution_json import random_document

HEAP, PAGE_CACHE = "768m", "128m"
EDGES = pd.DataFrame({"source": ["L0_F17", "L0_F17", "L3_F240"], "target": ["L3_F240", "L7_F9", "L7_F9"], "strength": [0.82, -0.11, 0.4]})
#: Names under which the pages have a run of their reader.
RUNS = ("bundled", "bundled-residual", "gpt2-small", "mine", "exhaustive")


@dataclass(frozen=True)
class Place:
    """The folder, and the ids of the runs that its database holds.

    Attributes:
        folder: Where the commands run; the database's home is ``.feature-graph`` in it.
        run: Id of the small bundled run.
        part: Id of a part of it, the other run of the pages.
    """

    folder: Path
    run: str
    part: str

    @property
    def home(self) -> Path:
        return self.folder / ".feature-graph"


def furnish(folder: Path, run_dir: Path) -> Place:
    """Put everything there that the pages take for granted."""
    files = folder / "outputs" / RUNS[0]
    shutil.copytree(run_dir, files, ignore=shutil.ignore_patterns("*.parts", "activations.h5", "atlas.h5"))
    for name in RUNS[1:]:
        (folder / "outputs" / name).symlink_to(files, target_is_directory=True)
    (folder / "docker").mkdir()
    return Place(folder, *fill(folder))


def write_readers_files(folder: Path) -> None:
    """Edges as the pages show them, as CSV, Parquet, GraphML and a run; an attribution graph; a statement. What was there is replaced."""
    EDGES.to_csv(folder / "edges.csv", index=False)
    EDGES.to_parquet(folder / "edges.parquet", index=False)
    pd.DataFrame({"id": ["L0_F17", "L3_F240", "L7_F9"], "label": ["a", "b", "c"]}).to_parquet(folder / "nodes.parquet", index=False)
    nx.write_graphml(nx.from_pandas_edgelist(EDGES, edge_attr="strength", create_using=nx.DiGraph), folder / "graph.graphml")
    (folder / "graph.json").write_text(json.dumps(random_document()))
    for made in (*folder.glob("*-run"), folder / "folder", folder / "out"):
        shutil.rmtree(made, ignore_errors=True)
    ingest.from_frames(None, EDGES, model="gpt2", method="attribution", out=folder / "my-run")
    (folder / "own.cypher").write_text("MATCH (f:Feature) RETURN count(f) AS features")


def fill(folder: Path) -> tuple[str, str]:
    """Start the server if it does not run, load what is missing and drop what is not ours; the small bundled run stays the newest.

    Returns:
        Ids of the run and of a part of it.
    """
    write_readers_files(folder)
    bundled = folder / "outputs" / "bundled"
    at = server.start(folder / ".feature-graph", heap=HEAP, page_cache=PAGE_CACHE, quick=True).connection()
    with store.connect(at.uri, at.username, at.password) as db:
        wanted = [(folder / "my-run", None), (bundled, Options(Selection(limit=40))), (bundled, None)]
        edges, part, run = (db.ingest(files, options=options).run for files, options in wanted)
        held = store.list_runs(db)
        for other in set(held.loc[held["status"] != "dropped", "id"]) - {edges, part, run}:
            db.drop(other)
    return run, part
