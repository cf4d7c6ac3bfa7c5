"""The comparisons of forecasts in docs/validation.md, from ``forecasts.json`` of two runs."""

from __future__ import annotations

import json
from pathlib import Path

from feature_graph.artifacts import RunPaths
from feature_graph.evaluation.forecasts import BOOTSTRAP, EFFECTS, score_rows
from scripts.figures import texts
from scripts.figures.commands import command


def measure(run: Path) -> None:
    """Compare the forecasts of a run, unless that was done after its graph was made, on its own text, and with today's bootstrap."""
    paths = RunPaths.of(run)
    newer = paths.forecasts.is_file() and paths.forecasts.stat().st_mtime >= paths.graph_json.stat().st_mtime
    found = json.loads(paths.forecasts.read_text(encoding="utf-8")) if newer else {}
    if found.get("bootstrap") != BOOTSTRAP or found.get("text") is not None:
        command("forecasts", run, quiet=False)


def figures(run: Path, name: str) -> dict[str, str]:
    """By name, which begins with ``name``."""
    found = json.loads(RunPaths.of(run).forecasts.read_text(encoding="utf-8"))
    often, rare = found["scores"]["often"], found["scores"]["rare"]
    tables = {f"{name}.{effect}": _table(often[effect]) for effect in EFFECTS}
    documents = often["total"]["all"]["documents"]
    pooled = {
        f"{name}.{effect}.{forecast.replace(' ', '_').lower()}": texts.number(often[effect]["all"]["pooled"][forecast]["value"])
        for effect in ("total", "computed")
        for forecast in ("response", "mean Jacobian", "virtual weight", "cosine")
    }
    facts = {"rare": _table(rare["total"]), "sources": str(len(found["sources"])), "documents": str(documents)}
    return tables | pooled | {f"{name}.{fact}": text for fact, text in facts.items()}


def _table(scores: dict[str, dict[str, object]]) -> str:
    return texts.table(["forecast", *(f"{name} crossed" if name != "all" else name for name in scores)], score_rows(scores, texts.number))
