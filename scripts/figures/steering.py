"""The study of docs/steering.md: eight features drawn at random, turned down by half, with counter-steers of three kinds.

Drawn are features that the graph says change at least three others by a twentieth of their mean activation or more. The target is the
largest forecast effect (in units of the feature's mean activation), the named side effects the second and the third.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from feature_graph.artifacts import ActivationStore, RunPaths, feature_key, read_feature_id
from feature_graph.config import Config
from feature_graph.graph import load_graph
from feature_graph.loading import load_model_and_saes
from feature_graph.steering import NO_INTERVALS, CompensationOptions, compensate, predict_cascade, side_effects
from feature_graph.utils import derived_seed, sha256_file, write_json
from scripts.figures import texts

log = logging.getLogger(__name__)
_FEATURES, _DELTA, _ENOUGH, _TWENTIETH = 8, -0.5, 3, 0.05
#: Name of each way to choose counter-steers → its options.
_COMPENSATIONS = {
    "graph": CompensationOptions(),
    "themselves": CompensationOptions(themselves=True),
    "measured": CompensationOptions(aim="measured"),
}


@dataclass(frozen=True)
class Study:
    """What the study needs."""

    run: Path

    @cached_property
    def paths(self) -> RunPaths:
        """The run's files."""
        return RunPaths.of(self.run)

    @cached_property
    def graph(self) -> nx.DiGraph:
        """The run's graph."""
        return load_graph(self.paths.graph_json)

    @cached_property
    def store(self) -> ActivationStore:
        """The run's activations."""
        return ActivationStore.load(self.paths.activations)

    @cached_property
    def loaded(self) -> tuple[Any, Mapping[int, Any]]:
        """Model and dictionaries."""
        return load_model_and_saes(Config.load(self.paths.config))

    def unit(self, feature: str) -> float:
        """Mean activation where active."""
        layer, index = feature_key(feature, self.store.layers)
        return float(self.store.mean_activations[layer][index])

    def effects(self, feature: str) -> list[tuple[float, str]]:
        """Forecast effects of turning the feature down by half, in units of each target's mean activation, largest first."""
        found = predict_cascade(self.graph, feature, _DELTA * self.unit(feature), uncertainty=NO_INTERVALS, by="paths").effects
        return sorted(((abs(v) / u, n) for n, v in found.items() if (u := self.unit(n)) > 0), reverse=True)


def eligible(study: Study) -> list[str]:
    """Features with enough forecast effects, in the graph's order."""
    able = [n for n in study.graph if study.graph.out_degree(n) and study.unit(n) > 0]
    return sorted(n for n in able if sum(size >= _TWENTIETH for size, _ in study.effects(n)) >= _ENOUGH)


def measure(run: Path) -> dict[str, Any]:
    """The study's numbers, kept beside the run as ``figures/steering.json`` for as long as its graph is the same."""
    study, kept = Study(run), run / "figures" / "steering.json"
    key = sha256_file(study.paths.graph_json)
    if kept.is_file() and (old := json.loads(kept.read_text(encoding="utf-8")))["graph"] == key:
        return dict(old)
    among = eligible(study)
    rng = np.random.default_rng(derived_seed(Config.load(study.paths.config).seed, "figures"))
    chosen = sorted(rng.choice(among, size=min(_FEATURES, len(among)), replace=False).tolist(), key=read_feature_id)
    kept.parent.mkdir(exist_ok=True)
    found = {"graph": key, "eligible": len(among), "features": [_one(study, feature) for feature in chosen]}
    write_json(kept, found)
    return found


def _one(study: Study, feature: str) -> dict[str, Any]:
    (_, target), *rest = study.effects(feature)
    named = [name for _, name in rest[:2]]
    log.info("steering study: %s, target %s, side effects %s", feature, target, ", ".join(named))
    cfg, delta = Config.load(study.paths.config), _DELTA * study.unit(feature)
    model, saes = study.loaded
    seen = side_effects(model, saes, study.graph, study.store, feature, delta, cfg)
    compensations = {
        name: compensate(model, saes, study.graph, study.store, feature, delta, named, cfg, replace(options, target=target))
        for name, options in _COMPENSATIONS.items()
    }
    found = seen.agreement()
    return {
        "feature": feature,
        "label": seen.label,
        "target": target,
        "named": named,
        "moved": seen.n_moved,
        "later": len(seen.features),
        "reached": found.n,
        "spearman": found.to_dict()["spearman"],
        "slope": found.to_dict()["slope"],
        "sign": found.to_dict()["sign"],
        "kl": seen.kl,
        "placebo_kl": float(seen.output["placebo_kl"].iloc[0]),
        "arms": {name: _compensation(found) for name, found in compensations.items()},
    }


def _compensation(found: Any) -> dict[str, Any]:
    values = found.to_dict()
    here = values["output"]
    before, change, low = (float(found.output[k].iloc[0]) for k in ("kl_before", "kl_change", "kl_low"))
    assert here
    kept = {k: values[k] for k in ("remaining", "remaining_low", "remaining_high", "kept")}
    return kept | {"kl_change": change / before if before else None, "more": low > 0, "verdict": found.verdict, "helped": found.helped}


def figures(run: Path) -> dict[str, str]:
    """By name."""
    found = measure(run)
    rows = found["features"]
    heads = ["steered", "moved", "reached", "Spearman", "slope", "sign", "KL (random)"]
    heads += ["left, kept, KL: from the graph", "left, kept, KL: themselves"]
    example = max(rows, key=lambda row: (row["reached"], row["kl"]))
    compensations = {name: [row["arms"][name] for row in rows] for name in _COMPENSATIONS}
    return {
        "steering.eligible": str(found["eligible"]),
        "steering.table": texts.table(heads, [_row(row) for row in rows]),
        "steering.moved": texts.span((row["moved"] for row in rows), "d"),
        "steering.later": texts.span((row["later"] for row in rows), "d"),
        "steering.kl": texts.span((row["kl"] for row in rows), ".2g"),
        "steering.random": texts.span((row["placebo_kl"] / row["kl"] for row in rows if row["kl"]), ".2g"),
        "steering.signs": _of(sum(row["sign"] == 1 for row in rows), rows),
        "steering.picture": f"{example['feature']} steered",
        **{f"steering.{name}.helped": _of(sum(a["helped"] for a in some), rows) for name, some in compensations.items()},
        **{f"steering.{name}.free": _of(sum(a["verdict"] == "helped" for a in some), rows) for name, some in compensations.items()},
        **{f"steering.{name}.more": _of(sum(a["more"] for a in some), rows) for name, some in compensations.items()},
        **{f"steering.{name}.left": _left(some) for name, some in compensations.items()},
        **_commands(example),
    }


def _of(count: int, rows: list[Any]) -> str:
    return f"{count} of {len(rows)}"


def _left(found: list[dict[str, Any]]) -> str:
    left = [100 * a["remaining"] for a in found if a["helped"]]
    return texts.span(left, ".0f") + " %" if left else "none"


def _row(row: dict[str, Any]) -> list[str]:
    head = [f"{row['feature']} ({row['label'].split(': ')[0]})", str(row["moved"]), str(row["reached"])]
    fit = [texts.number(row["spearman"]), texts.number(row["slope"]), texts.percent(row["sign"])]
    kl = f"{row['kl']:.2g} ({row['placebo_kl']:.2g})"
    return [*head, *fit, kl, *(_cell(row["arms"][name]) for name in ("graph", "themselves"))]


def _cell(found: dict[str, Any]) -> str:
    if found["remaining"] is None:
        return "no counter-steers"
    left = f"{found['remaining']:.0%} [{found['remaining_low']:.0%}, {found['remaining_high']:.0%}]"
    change = texts.NONE if found["kl_change"] is None else f"{found['kl_change']:+.0%}".replace("-", "−")
    return f"{left}, {texts.percent(found['kept'])}, {change}{'*' if found['more'] else ''}"


def _commands(example: dict[str, Any]) -> dict[str, str]:
    feature, named = example["feature"], ",".join(example["named"])
    place = read_feature_id(feature)
    site = f'"{place.site_name}"' if place.site else str(place.layer)
    steer = f"feature-graph steer outputs/bundled-residual --feature {feature}"
    return {
        "command.steer": f"`{steer} --compensate {example['named'][0]}`",
        "steering.commands": _block(
            "console",
            f"$ {steer} --delta -0.5",
            f"$ {steer} --delta -0.5 --output steer.html",
            f"$ feature-graph cascade outputs/bundled-residual --feature {feature} --delta -0.5     # the forecast alone: no model is run",
        ),
        "steering.compensate": _block("console", f"$ {steer} --delta -0.5 --compensate {named} --target {example['target']}"),
        "steering.python": _block(
            "python",
            "from feature_graph.steering import side_effects",
            "",
            f"unit = store.mean_activations[{site}][{place.index}]",
            f'effects = side_effects(model, saes, G, store, "{feature}", -0.5 * unit, cfg)',
            "print(effects.summary())",
            "effects.table(20)         # pandas: forecast and measured, intervals, share of documents on before and after",
            'effects.save("effects.json")',
        ),
        "steering.pictures": _block(
            "python",
            "from feature_graph.steering import predict_cascade",
            "from feature_graph.visualization import render_cascade_overlay, render_side_effects",
            "",
            f'cascade = predict_cascade(G, "{feature}", -0.5 * unit, n_hops=3)',
            'render_cascade_overlay(G, cascade, "cascade.html")                              # the forecast',
            'render_cascade_overlay(G, cascade, "cascade.html", measured=effects.measured)   # both',
            'render_side_effects(G, effects, "steer.html", cascade=cascade)                  # everything on one page',
        ),
    }


def _block(language: str, *lines: str) -> str:
    return "\n".join([f"```{language}", *lines, "```"])
