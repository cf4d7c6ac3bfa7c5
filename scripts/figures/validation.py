"""Tables of docs/validation.md, from ``validation.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from feature_graph.artifacts import RunPaths
from scripts.figures import texts

_BEHAVIOR_HEADS = ["behaviour", "score", "right", "confirmed seeds", "features", "faithful", "95 %", "random", "complete", "95 %", "random"]
_HOP_HEADS = ["hop", "pairs", "sources", "Spearman", "95 %", "Pearson", "slope", "right sign", "90 % interval covers"]
_BASELINES = {"decoder cosine": "decoder_cosine", "co-activation": "coactivation", "Jacobian": "jacobian"}
_HOPS = ("hop1", "hop2", "hop3")


def figures(run: Path) -> dict[str, str]:
    """By name."""
    found = json.loads(RunPaths.of(run).validation.read_text(encoding="utf-8"))
    cascade, behaviors = found["cascade"], found["behaviors"]
    able = [b for b in behaviors.values() if b["able"]]
    steered = _at_main(cascade)
    return {
        "validation.behaviors": texts.table([*_BEHAVIOR_HEADS, "for 80 %", "of active"], [_behavior(n, b) for n, b in behaviors.items()]),
        "validation.steering": texts.table(
            [*_HOP_HEADS, *_BASELINES, "placebo", "with residual"], [_hop(n + 1, cascade[hop]) for n, hop in enumerate(_HOPS)]
        ),
        "validation.sizes": texts.table(["steer", *(f"hop {n}: Spearman, slope, sign" for n in (1, 2, 3))], _sizes(cascade["by_delta"])),
        "validation.replicated": texts.percent(found["replication_rate"]),
        "validation.unreached": texts.percent(cascade["unreached_share"]),
        "validation.sources": str(sum(cascade["sources"].values())),
        "validation.members": texts.span((b["size"] for b in able), "d"),
        "validation.active": texts.span((b["active"] for b in able if b["active"]), ",.0f"),
        "validation.faithful": texts.span(b["faithfulness"] for b in able if b["faithfulness"] is not None),
        "validation.complete": texts.span(b["completeness"] for b in able if b["completeness"] is not None),
        "validation.needed": texts.span((b["size_for_80"] for b in able if b["size_for_80"]), ",.0f"),
        "validation.to_output": _to_output(behaviors),
        "validation.shared": _shared(found["shared"], len(able)),
        "validation.overlap": _overlap(found["overlap"]),
        "validation.coverage": texts.span((p["coverage"] * 100 for p in steered if p["coverage"] is not None), ".0f") + " %",
        **{f"validation.{hop}": texts.number(cascade[hop]["spearman"]) for hop in _HOPS},
        **{f"validation.{hop}.cosine": texts.number(cascade[hop]["baselines"][_BASELINES["decoder cosine"]]) for hop in _HOPS},
        **{f"validation.{hop}.residual": texts.number(cascade[hop]["with_residual"]["spearman"]) for hop in _HOPS},
        "validation.computed": "; ".join(f"hop {n + 1}: {_computed(p['computed'])}" for n, p in enumerate(steered)),
        "validation.kinds": "; ".join(f"hop {n + 1}: {_kinds(p['by_kind'])}" for n, p in enumerate(steered) if n),
    }


def _at_main(cascade: dict[str, Any]) -> list[dict[str, Any]]:
    return [cascade[hop] for hop in _HOPS]


def _behavior(name: str, b: dict[str, Any]) -> list[str]:
    shares = []
    for key in ("faithfulness", "completeness"):
        shares += [texts.number(b[key]), texts.interval(b[f"{key}_ci"] or [None]), texts.number(b[f"random_{key}"])]
    counts = [texts.NONE if b[key] is None else f"{b[key]:,.0f}" for key in ("size_for_80", "active")]
    right = texts.percent(b["accuracy"])
    return [name, texts.number(b["score"]), right, f"{b['confirmed']} of {b['seeds']}", str(b["size"]), *shares, *counts]


def _hop(number: int, hop: dict[str, Any]) -> list[str]:
    baselines = [texts.number(hop["baselines"][key]) for key in _BASELINES.values()]
    signs = texts.NONE if hop["sign"] is None else f"{texts.percent(hop['sign'])} of {hop['signed']}"
    head = [str(number), str(hop["n"]), str(hop["sources"]), texts.number(hop["spearman"]), texts.interval(hop["ci"])]
    fit = [texts.number(hop["pearson"]), texts.number(hop["slope"]), signs, texts.percent(hop["coverage"])]
    return [*head, *fit, *baselines, texts.number(hop["placebo"]), texts.number(hop["with_residual"]["spearman"])]


def _sizes(by_delta: dict[str, Any]) -> list[list[str]]:
    rows = []
    for size, hops in sorted(by_delta.items(), key=lambda item: float(item[0])):
        cells = [f"{texts.number(h['spearman'])}, {texts.number(h['slope'])}, {texts.percent(h['sign'])}" for h in hops.values()]
        rows.append([size.replace("-", "−"), *cells])
    return rows


def _to_output(behaviors: dict[str, Any]) -> str:
    some = sorted(((b["to_output"], name) for name, b in behaviors.items() if b["to_output"]), reverse=True)
    return ", ".join(f"{name} ({count})" for count, name in some) or "none"


def _shared(shared: list[dict[str, Any]], n: int) -> str:
    if not shared:
        return "no feature"
    first = shared[0]
    return f"{first['feature']}, in {len(first['behaviors'])} of the {n}"


def _overlap(rows: list[dict[str, Any]]) -> str:
    clear = [row for row in rows if row["q"] < 0.05 and row["jaccard"] > row["expected"]]
    return f"{len(clear)} of {len(rows)}"


def _computed(found: dict[str, Any]) -> str:
    return f"{found['n']} pairs, Spearman {texts.number(found['spearman'])}"


def _kinds(found: dict[str, float | None]) -> str:
    return ", ".join(f"{kind} {texts.number(value)}" for kind, value in sorted(found.items()))
