"""Labels with control characters, from features.parquet through Neo4j to files that every reader opens and answers that act on nothing."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_graph.database.store import Store
from ingest.formats import FEATURES, write_table
from ingest.graphml import restored
from tests.rundirs import random_run
from tests.support.commands import Run
from tests.support.control_characters import acts

pytestmark = pytest.mark.graph

LABELS = [chr(code) + "x" for code in (*range(0x20), *range(0x7F, 0xA0), 0x202E, 0x2066, 0x2028, 0xFFFE, 0xFFFF)] + [
    "a\\u0041\\",
    "\x1b[31m",
]


@pytest.fixture
def run(database: Store, tmp_path: Path) -> tuple[str, dict[str, str]]:
    root = random_run(tmp_path / "\x1b[31mrun", n_layers=4, n_features=24, n_edges=400)
    features = pd.read_parquet(root / FEATURES.name)
    features["label"] = [LABELS[i % len(LABELS)] for i in range(len(features))]
    write_table(root / FEATURES.name, FEATURES, pa.Table.from_pandas(features, preserve_index=False))
    return database.ingest(root).run, dict(zip(features["id"], features["label"], strict=True))


def test_exports_hold_the_labels_and_answers_show_them(command: Run, run: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    name, labels = run
    assert set(LABELS) <= set(labels.values())
    command("runs", "export", name, str(tmp_path), "-f", "graphml")
    command("runs", "export", name, str(tmp_path), "-f", "parquet")
    command("runs", "export", name, str(tmp_path), "-f", "csv")
    graph = nx.read_graphml(tmp_path / "graph.graphml")
    assert {node: restored(label) for node, label in graph.nodes(data="label")} == labels
    nodes = pq.read_table(tmp_path / "nodes.parquet").to_pandas()
    assert dict(zip(nodes["id"], nodes["label"], strict=True)) == labels
    csv = pd.read_csv(tmp_path / "nodes.csv", keep_default_na=False, lineterminator="\n")
    assert len(csv) == len(labels)
    strange = next(i for i, label in labels.items() if label == "\x1b[31m")
    shown = command("query", "feature", "-p", f"feature={strange}")
    assert r"\x1b[31m" in shown.stdout
    outputs = [
        shown,
        command("query", "feature", "-p", f"feature={strange}", "--json"),
        command("runs", "list"),
        command("runs", "show", name),
    ]
    assert not any(acts(one.stdout + one.stderr) for one in outputs)
