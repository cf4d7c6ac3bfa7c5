"""A home of its own for tests of the offline life of a database: empty first, then filled in bulk, for the length of the session."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import ingest
import queries
from feature_graph.database import offline, server, store
from ingest.formats import FEATURES, read_meta, write_table

NASTY = [
    "",
    'a "quoted", comma',
    "two\nlines\r\nthree",
    "back\\slash; semi",
    "  spaces  ",
    "ünïcödé ↵ 😀",
    "'",
    "null",
    "NaN",
    "\ttab",
    '"',
    "nul \x00 escape \x1b[31m form\x0cfeed",
    "\x7f \x9b2J \u202egnirts \u2028 line",
]
_TIMES = {"created", "finished", "applied", "lease_at", "lease_since"}

_KILLED = """
import os, signal, sys
from feature_graph.database.offline import bulk_ingest

def kill(what, done, total):
    if what == "import (%)" and done > 20:
        os.kill(os.getpid(), signal.SIGKILL)

bulk_ingest(sys.argv[1], sys.argv[2], kill)
"""


@dataclass(frozen=True)
class Filled:
    """A home, the run that was written into it in bulk, and what that did."""

    home: Path
    root: Path
    report: offline.BulkReport


def nasty_run(root: Path) -> Path:
    """The example run, with labels that are hard on a CSV file."""
    shutil.copytree(queries.example_run(), root)
    features = pd.read_parquet(root / FEATURES.name)
    features["label"] = [NASTY[i % len(NASTY)] for i in range(len(features))]
    meta = read_meta(root / FEATURES.name, FEATURES)
    write_table(root / FEATURES.name, FEATURES, pa.Table.from_pandas(features, preserve_index=False), meta)
    return root


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running server without a graph."""
    home = tmp_path_factory.mktemp("bulk") / "a home"
    try:
        server.start(home, heap="512m", page_cache="64m", quick=True)
        yield home
    finally:
        server.stop(home)


@pytest.fixture(scope="session")
def filled(empty_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """The example run in bulk, at the second try: the first is killed in the middle of the import."""
    root = nasty_run(tmp_path_factory.mktemp("nasty") / "run")
    environment = os.environ | {"PYTHONPATH": str(Path(ingest.__file__).parents[1])}
    command = [sys.executable, "-c", _KILLED, str(empty_home), str(root)]
    killed = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert server.status(empty_home).state == "stopped"
    assert (empty_home / "staging").is_dir()
    return Filled(empty_home, root, offline.bulk_ingest(empty_home, root))


def opened(home: Path) -> store.Store:
    """A running home's database."""
    where = server.connection(home)
    return store.connect(where.uri, where.username, where.password)


def everything(database: store.Store) -> tuple[Counter[str], Counter[str]]:
    """Every node and every relationship with labels, types and all properties, but for times and the number of the run."""
    number = str(database.cypher("MATCH (r:Run {status: 'ready'}) RETURN r.n AS n")["n"].iloc[0])
    nodes = database.cypher("MATCH (x) WHERE NOT x:SchemaVersion RETURN elementId(x) AS id, labels(x) AS labels, properties(x) AS p")
    versions = database.cypher("MATCH (x:SchemaVersion) RETURN x.n AS n, x.checksum AS checksum ORDER BY n")
    edges = database.cypher("MATCH (a)-[r]->(b) RETURN elementId(a) AS a, type(r) AS type, elementId(b) AS b, properties(r) AS p")
    named = {row.id: _text(sorted(row.labels), row.p, number) for row in nodes.itertuples()}
    found = Counter(named.values())
    found.update(f"{row.n} {row.checksum}" for row in versions.itertuples())
    return found, Counter(f"{named[row.a]} -{_text([row.type], row.p, number)}-> {named[row.b]}" for row in edges.itertuples())


def _text(names: list[str], properties: dict[str, Any], number: str) -> str:
    kept = {name: _without(name, value, number) for name, value in properties.items() if name not in _TIMES}
    return f"{names} {json.dumps(kept, sort_keys=True)}"


def _without(name: str, value: Any, number: str) -> Any:
    if name in {"run", "label_run", "scores_run", "brought_by"} or (name == "n" and str(value) == number):
        return "the run"
    if name in {"key", "uid"} and value.startswith(f"{number}/"):
        return "the run" + value.removeprefix(number)
    return value
