"""The comparison of forecasts in docs/validation.md, from ``forecasts.json``."""

from __future__ import annotations

import json
from pathlib import Path

from feature_graph.artifacts import RunPaths
from feature_graph.evaluation.forecasts import EFFECTS, score_rows
from scripts.figures import texts


def figures(run: Path) -> dict[str, str]:
    """By name."""
    found = json.loads(RunPaths.of(run).forecasts.read_text(encoding="utf-8"))
    often, rare = found["scores"]["often"], found["scores"]["rare"]
    tables = {f"forecasts.{effect}": _table(often[effect]) for effect in EFFECTS}
    return tables | {"forecasts.rare": _table(rare["total"]), "forecasts.sources": str(len(found["sources"]))}


def _table(scores: dict[str, dict[str, object]]) -> str:
    return texts.table(["forecast", *(f"{name} crossed" if name != "all" else name for name in scores)], score_rows(scores, texts.number))
