"""Figures of compiled programs in their own width: for each program and basis, and pooled over all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from feature_graph.evaluation.calibration.aims import Aim
from feature_graph.evaluation.calibration.shares import share

Values = dict[str, Any]
MIN_RECALL = 0.95
#: Name of the figures over all programs and bases.
POOLED = "all"


def pool_own_width(cells: Mapping[str, Values]) -> dict[str, Values]:
    """Figures by program and basis, then pooled under :data:`POOLED`; empty without cells."""
    figures = {name: cell | _shares([cell]) for name, cell in cells.items()}
    return figures | {POOLED: _shares(cells.values())} if cells else {}


def _shares(cells: Iterable[Values]) -> Values:
    cells = list(cells)
    sums = {name: sum(cell[name] for cell in cells) for name in ("wiring", "wiring_found", "copies", "copies_found", "found", "false")}
    effects = list(cells[0]["discoveries"])
    by_effect = {name: [sum(cell["discoveries"][name][k] for cell in cells) for k in (0, 1)] for name in effects}
    return {
        "recall": share(sums["wiring_found"], sums["wiring"]),
        "copies_recall": share(sums["copies_found"], sums["copies"]),
        "fdr": share(sums["false"], sums["found"]),
        "fdr_by_effect": {name: share(false, found) for name, (found, false) in by_effect.items()},
    }


def own_width_aims(figures: Mapping[str, Values], level: float) -> list[Aim]:
    """Recall and realised rate of false discoveries: in the worst program and basis, and pooled."""
    if not figures:
        return []
    alone = [values for name, values in figures.items() if name != POOLED]
    signs = sum(values["wrong_signs"] for values in alone)
    found = [Aim("own width: signs", "every one right", 1.0 if signs == 0 else 0.0, signs == 0)]
    for where, group in (("the worst program", alone), ("all programs", [figures[POOLED]])):
        recalls, rate = [values["recall"]["value"] for values in group if values["recall"]], _worst_rate(group)
        if recalls:
            found.append(Aim(f"own width: recall, {where}", f"at least {MIN_RECALL}", min(recalls), min(recalls) >= MIN_RECALL))
        found.append(Aim(f"own width: false discoveries, {where}", f"at most {level:g}, edges and each effect", rate, rate <= level))
    return found


def _worst_rate(group: Iterable[Values]) -> float:
    rates = [s for values in group for s in (values["fdr"], *values["fdr_by_effect"].values()) if s]
    return max((s["value"] for s in rates), default=0.0)
