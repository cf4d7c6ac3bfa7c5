"""From cells to figures: counts pooled over seeds, binomial intervals, and which aims are met."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from feature_graph.evaluation.calibration.aims import Aim
from feature_graph.evaluation.calibration.cells import Cell
from feature_graph.evaluation.calibration.own_width_report import own_width_aims, pool_own_width
from feature_graph.evaluation.calibration.shares import share
from feature_graph.evaluation.calibration.specific import SPECIFIC_COUNTS
from feature_graph.evaluation.calibration.variants import COUNTS
from feature_graph.evaluation.planted import COMPONENT_VARIANTS, VARIANTS, ComponentVariant, Variant
from feature_graph.evaluation.planted.score import EFFECTS

Values = dict[str, Any]
MIN_RECALL, MAX_ERROR = 0.99, 0.01


def known(name: str) -> Variant | ComponentVariant:
    """The variant of that name."""
    return COMPONENT_VARIANTS[name] if name in COMPONENT_VARIANTS else VARIANTS[name]


def pool_variant(name: str, cells: list[Values]) -> Values:
    """Figures of one variant over its seeds."""
    sums = {count: sum(int(cell.get(count, 0)) for cell in cells) for count in (*COUNTS, *SPECIFIC_COUNTS, *_GATES)}
    hits = sums["n_planted"] - sums["n_missed"]
    values: Values = {"text": known(name).text, "seeds": len(cells), "tests": sum(cell["n_tests"] for cell in cells)}
    values["counts"] = sums
    values["recall"] = share(hits, sums["n_planted"])
    values["precision"] = share(sums["n_found"] - sums["n_false"], sums["n_found"])
    values["fdr"] = share(sums["n_false"], sums["n_found"])
    values["fdr_by_effect"] = {effect: share(*_discoveries(cells, effect)) for effect in EFFECTS}
    values["signs"] = share(sums["n_signs"], hits)
    values["errors"] = {effect: _spread(error for cell in cells for error in cell["errors"][effect]) for effect in EFFECTS}
    values["zero_error"] = max((cell["zero_error"] for cell in cells), default=0.0)
    values["decoys_rejected"] = share(sums["n_decoys"] - sums["n_decoys_found"], sums["n_decoys"])
    values["faint_rejected"] = share(sums["n_faint"] - sums["n_faint_found"], sums["n_faint"])
    values["specific_found"] = share(sums["n_specific_found"], sums["n_specific"])
    values["unresolved"] = share(sums["n_unresolved_found"], sums["n_unresolved"])
    if rooms := [cell["room"] for cell in cells if "room" in cell]:
        values["room"] = float(np.median(rooms))
    values["gates_found"] = share(sums["n_gates_found"], sums["n_gates"])
    values["gates_false"] = share(sums["n_gates_false"], sums["n_gate_controls"])
    values["gate_fdr"] = share(sums["n_gates_false"], sums["n_gates_found"] + sums["n_gates_false"])
    values["true_effects_found"] = share(sums["n_true_found"], sums["n_true"])
    values["above_floor_found"] = share(sums["n_above_floor_found"], sums["n_above_floor"])
    values["floor"] = float(np.median([cell["floor"] for cell in cells]))
    if known(name).population:
        values["interval_coverage"] = share(sums["n_covered"], sums["n_intervals"])
    values["missed"] = _tally(cell["missed"] for cell in cells)
    values["false"] = _tally(cell["false"] for cell in cells)
    return values


_GATES = ("n_gates", "n_gates_found", "n_gate_controls", "n_gates_false")


def _discoveries(cells: list[Values], effect: str) -> tuple[int, int]:
    pairs = [cell["discoveries"][effect] for cell in cells]
    return sum(false for _, false in pairs), sum(found for found, _ in pairs)


def _spread(errors: Iterable[float]) -> Values | None:
    values = np.array(list(errors))
    return {"median": float(np.median(values)), "max": float(values.max()), "n": len(values)} if len(values) else None


def _tally(names: Iterable[list[str]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in (n for group in names for n in group):
        counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:20])


def pool_null(name: str, cells: list[Values], level: float) -> Values:
    """Figures of one null run (or of the comparison) over its seeds."""
    values: Values = {"seeds": len(cells), "found": _pooled(cells)}
    # Tests of one seed share their floors, so the interval over all of them is too narrow: the spread over seeds says more.
    values["found_by_seed"] = [cell["found"] / max(cell["tests"], 1) for cell in cells]
    if name == "scrambled":
        rounds = sum(cell["rounds"] for cell in cells)
        values["rounds_with_discovery"] = share(sum(cell["rounds_with_discovery"] for cell in cells), rounds)
        judged = [values["found"], values["rounds_with_discovery"]]
    elif name == "shuffled":
        values["copies"] = share(sum(cell["copies"] for cell in cells), sum(cell["found"] for cell in cells))
        before = [cell["unshuffled"] for cell in cells]
        values["unshuffled"] = {"found": _pooled(before), "copies": share(*(sum(c[k] for c in before) for k in ("copies", "found")))}
        return values
    else:
        values["by_effect"] = {e: share(sum(c["by_effect"][e] for c in cells), sum(c["tests"] for c in cells)) for e in EFFECTS}
        judged = [values["found"]]
        if name == "disjoint":
            values["without_min_effect"] = _pooled([cell["without_min_effect"] for cell in cells])
            judged.append(values["without_min_effect"])
            values["test_alone"] = _pooled([cell["test_alone"] for cell in cells])
    values["level"] = level
    values["at_or_below_level"] = all(found is None or found["low"] <= level for found in judged)
    return values


def _pooled(cells: list[Values]) -> Values | None:
    return share(sum(cell["found"] for cell in cells), sum(cell["tests"] for cell in cells))


def pool(results: Mapping[Cell, Values], level: float) -> Values:
    """All figures, and the aims."""
    by: dict[str, dict[str, list[Values]]] = {"variant": {}, "null": {}, "program": {}, "own_width": {}}
    for cell, values in results.items():
        by[cell.kind].setdefault(cell.name, []).append(values)
    variants = {name: pool_variant(name, cells) for name, cells in by["variant"].items()}
    nulls = {name: pool_null(name, cells, level) for name, cells in by["null"].items()}
    programs = {name: cells[0] for name, cells in by["program"].items()}
    own_width = pool_own_width({name: cells[0] for name, cells in by["own_width"].items()})
    aims = judge(variants, nulls, programs, level) + own_width_aims(own_width, level)
    return {"variants": variants, "nulls": nulls, "programs": programs, "own_width": own_width, "aims": [vars(aim) for aim in aims]}


def judge(variants: Mapping[str, Values], nulls: Mapping[str, Values], programs: Mapping[str, Values], level: float) -> list[Aim]:
    """The aims that the figures allow to judge: the worst variant counts, not the mean."""
    found = _planted_aims(variants, level) if variants else []
    found += [
        Aim(f"null run: {name}", f"at most {level:g} found, within the binomial interval", v["found"]["value"], v["at_or_below_level"])
        for name, v in nulls.items()
        if "at_or_below_level" in v and v["found"]
    ]
    found += [
        Aim(f"compiled: {name}", "the compiled wiring, all and nothing else", v["agreement"], v["came_back"])
        for name, v in programs.items()
    ]
    return found


#: Figure of a variant → what it must be: all of them.
_ALL = {
    "decoys_rejected": "every decoy",
    "faint_rejected": "every wire under min_effect",
    "specific_found": "every driver that stands out",
    "unresolved": "every one of too many drivers exists and is not specific",
    "gates_found": "every gate",
}


def _planted_aims(variants: Mapping[str, Values], level: float) -> list[Aim]:
    recall = min(_shares(variants, "recall"), default=1.0)
    fdr = max((_worst_fdr(v) for v in variants.values()), default=0.0)
    signs = min(_shares(variants, "signs"), default=1.0)
    exact = [v["errors"][e] for name, v in variants.items() if not known(name).population for e in EFFECTS]
    error = max((e["max"] for e in exact if e), default=0.0)
    found = [
        Aim("recall", f"at least {MIN_RECALL} in every variant", recall, recall >= MIN_RECALL),
        Aim("false discovery rate", f"at most {level:g} in every variant and family", fdr, fdr <= level),
        Aim("signs", "every one right", signs, signs == 1),
        Aim("effect error", f"below {MAX_ERROR:g} of the effect, the largest counts", error, error < MAX_ERROR),
    ]
    for name, aim in _ALL.items():
        shares = _shares(variants, name)
        found += [Aim(name.replace("_", " "), aim, min(shares), min(shares) == 1)] if shares else []
    return found


def _shares(variants: Mapping[str, Values], name: str) -> list[float]:
    return [v[name]["value"] for v in variants.values() if v[name]]


def _worst_fdr(variant: Values) -> float:
    return max((s["value"] for s in (variant["fdr"], variant["gate_fdr"], *variant["fdr_by_effect"].values()) if s), default=0.0)
