"""A run directory from data frames."""

from __future__ import annotations

import json
import logging
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ingest.casting import FormatError
from ingest.errors import InvalidRun
from ingest.formats import FEATURES, INTERACTIONS, write_table
from ingest.frames.columns import EDGE_NAMES, FEATURE_NAMES, UserTable
from ingest.frames.edges import Effect, UserEdges, edges_of, ends_of
from ingest.frames.nodes import Nodes, nodes_of
from ingest.rundir import CONFIG, MANIFEST, open_run, sha256_file
from ingest.validate import validate

logger = logging.getLogger(__name__)

_ROW = re.compile(r"(features|interactions)\.parquet, row (\d+)")


def from_frames(
    features: Any | None,
    edges: Any,
    *,
    model: str = "",
    method: str = "",
    out: str | Path,
    release: str = "",
    effect: Effect = "direct",
    level: float = 0.05,
    site_order: Sequence[str] = (),
    texts: bool = False,
) -> Path:
    """Write features and edges of your own as a run directory, which ``feature-graph ingest`` and :func:`ingest.ingest_run` load.

    ``edges`` needs three columns: ``source``, ``target`` (ids such as ``L5_F12``, or any names) and ``strength``; other names for them, and
    further columns that are kept, are in docs/howto-own-edges.md. The layer comes from the ids, from a column ``layer`` of ``features``, or
    from ``source_layer`` and ``target_layer``. Columns of other types are converted where nothing is lost.

    Args:
        features: One row per feature: ``id``, and whatever columns of features.parquet are known; None: the features that edges name.
        edges: One row per edge.
        model: Name of the model, or ``name@<first 8 hex digits of the hash of its weights>``. Default: what uids say, else "unknown".
        method: How the strengths were measured, a lower-case name. Default: the column ``method``, else "imported".
        out: The run directory: new, empty, or one that holds just this.
        release: Name of the set of dictionaries. Runs of one model share features by it; by default each set of features has its own.
        effect: What the strengths are, where no column says it: ``direct``, each edge by itself; ``total``, the sum over all paths.
        level: Level of significance, where there are p-values. Without any, every edge counts.
        site_order: Sites of a layer in their order, such as ``("attn", "mlp")``, for edges within a layer between ids such as
            ``L5.attn_F12`` and ``L5.mlp_F3``; or give the columns ``site`` and ``site_order`` of ``features``.
        texts: Whether all values are texts, as from CSV.

    Returns:
        ``out``.

    Raises:
        FormatError: If a column is missing or cannot be converted, a feature has no layer, or ``out`` holds something else.
        InvalidRun: If what is given contradicts itself; rows are those of the tables given.
    """
    if effect not in ("direct", "total"):
        raise FormatError(f"effect: got {effect!r}; expected direct or total")
    if not 0 < level < 1:
        raise FormatError(f"level: got {level}; expected a number between 0 and 1")
    table = UserTable("edges", edges, EDGE_NAMES, texts)
    if not len(table):
        raise FormatError("edges: there are none; expected one row or more")
    known = None if features is None else UserTable("features", features, FEATURE_NAMES, texts)
    nodes = nodes_of(known, ends_of(table), model, release, site_order)
    found = edges_of(table, nodes, method, effect, level)
    table.ignored(INTERACTIONS.names)
    if known is not None:
        known.ignored([*FEATURES.names, "site", "site_order", "order"])
    return _placed(Path(out), nodes, found, effect)


def _placed(out: Path, nodes: Nodes, edges: UserEdges, effect: Effect) -> Path:
    """Write under another name, check, and put in place: a run directory that is wrong, or half written, is never there."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        part = Path(folder) / out.name
        part.mkdir()
        try:
            _write(part, nodes, edges, effect)
            validate(open_run(part))
        except FormatError as error:
            raise FormatError(str(error).replace(f"{part}/", "")) from error
        except InvalidRun as error:
            raise InvalidRun(str(out), [_in_their_rows(p, nodes, edges) for p in error.problems if "--bad-rows" not in p]) from None
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            if _same(part, out):
                return out
            raise FormatError(f"{out} exists and holds something else; nothing was written. Choose a new folder")
        if out.exists():
            out.rmdir()
        shutil.move(part, out)
    logger.info("%s: %d features, %d edges; tests: %s", out, len(nodes.frame), edges.table.num_rows, edges.tests)
    return out


def _write(root: Path, nodes: Nodes, edges: UserEdges, effect: Effect) -> None:
    write_table(root / FEATURES.name, FEATURES, _features(nodes), {"sites": nodes.sites})
    meta = {"source": "own edges", "tests": edges.tests, "effect": effect} | ({"level": edges.level} if edges.level else {})
    write_table(root / INTERACTIONS.name, INTERACTIONS, edges.table, meta)
    config = {"model_name": nodes.model.rpartition("@")[0] or nodes.model, "sae_release": nodes.release, "methods": edges.methods}
    _json(root / CONFIG, config)
    marks = {name: {"sha256": sha256_file(root / name)} for name in (FEATURES.name, INTERACTIONS.name)}
    _json(root / MANIFEST, {"versions": {}, "stages": {"import": {"artifacts": marks}}})


def _features(nodes: Nodes) -> pa.Table:
    columns = [c for c in FEATURES.columns if c.name in nodes.frame]
    return pa.table({c.name: pa.array(nodes.frame[c.name].tolist(), c.arrow, from_pandas=True) for c in columns})


def _json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _same(one: Path, other: Path) -> bool:
    return all((other / path.name).is_file() and sha256_file(path) == sha256_file(other / path.name) for path in one.iterdir())


def _in_their_rows(problem: str, nodes: Nodes, edges: UserEdges) -> str:
    """A problem of the files, told of the rows that were given."""

    def given(match: re.Match[str]) -> str:
        table, rows = ("features", nodes.rows) if match[1] == "features" else ("edges", edges.rows)
        row = int(np.asarray(rows)[int(match[2])])
        return f"{table}, row {row}" if row >= 0 else f"{table} that edges name"

    return _ROW.sub(given, problem)
