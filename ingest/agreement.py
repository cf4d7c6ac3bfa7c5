"""Columns of interactions.parquet that say the same thing must agree.

The truth is the strengths with their signs, the effects that passed, and the order of the sites; type, magnitude, what is computed, span
and significance follow from them. A row that contradicts itself is wrong, whichever column it is that is false.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from ingest.checks import CheckedRows, Rule
from ingest.sites import SiteOrder
from ingest.strength import leading_of

#: Relative rounding that is no contradiction: a number that went through float32 once or twice, or a sum of such numbers.
TOLERANCE = 1e-6
_TINY = 1e-12

_EFFECTS = {
    "total": ("mean_strength", "q_value", "floor"),
    "direct": ("direct_strength", "q_direct", "floor_direct"),
    "later": ("later_strength", "q_later", "floor_later"),
    "computed": ("computed_strength", "q_computed", "floor_computed"),
}

_SHOWN = (
    "mean_strength = {mean_strength}, direct_strength = {direct_strength}, later_strength = {later_strength}, "
    "significant_by = {significant_by}"
)


def agreements(sites: SiteOrder, level: float | None) -> list[Rule]:
    """Rules about columns that must agree.

    Args:
        sites: How the features' sites follow each other.
        level: Level below which an adjusted p is significant; what depends on it is not checked without.
    """
    return [*_strength_rules(), *_span_rules(sites), *_test_rules(level), *_sample_rules()]


def _differs(a: np.ndarray, b: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Whether two columns differ by more than rounding; where one has no value they do not."""
    return np.abs(a - b) > TOLERANCE * scale + _TINY


def _strength_rules() -> list[Rule]:
    def magnitude(r: CheckedRows) -> np.ndarray:
        size = np.abs(r["mean_strength"])
        return _differs(r["abs_strength"], size, size)

    def computed(r: CheckedRows) -> np.ndarray:
        mean, copy = r["mean_strength"], r["copy_strength"]
        return _differs(r["computed_strength"], mean - copy, np.abs(mean) + np.abs(copy))

    def said(kind: str, r: CheckedRows) -> np.ndarray:
        return r.each("interaction_type", lambda v: v == kind)

    return [
        Rule("abs_strength = {abs_strength}, mean_strength = {mean_strength}: expected its magnitude", magnitude),
        Rule(
            "computed_strength = {computed_strength}: expected mean_strength − copy_strength, {mean_strength} − {copy_strength}",
            computed,
        ),
        Rule(
            f"interaction_type = 'excitatory', {_SHOWN}: expected inhibitory", lambda r: said("excitatory", r) & (leading_of(r.batch) < 0)
        ),
        Rule(
            f"interaction_type = 'inhibitory', {_SHOWN}: expected excitatory", lambda r: said("inhibitory", r) & (leading_of(r.batch) > 0)
        ),
        Rule(
            "interaction_type = 'pass_through', mean_strength = {mean_strength}: what is passed through keeps its sign",
            lambda r: said("pass_through", r) & (r["mean_strength"] < 0),
        ),
        Rule(
            "replicated = True, mean_strength = {mean_strength}, confirm_strength = {confirm_strength}: they have opposite signs",
            lambda r: r["replicated"].astype(bool) & ~_by_computed(r) & (r["mean_strength"] * r["confirm_strength"] < 0),
        ),
        Rule(
            "replicated = True, computed_strength = {computed_strength}, confirm_computed = {confirm_computed}: they have opposite signs",
            lambda r: r["replicated"].astype(bool) & _by_computed(r) & (r["computed_strength"] * r["confirm_computed"] < 0),
        ),
    ]


def _span_rules(sites: SiteOrder) -> list[Rule]:
    def few(r: CheckedRows) -> np.ndarray:
        return r["span"] < sites.spans(r["src_fid"], r["tgt_fid"])[0]

    def many(r: CheckedRows) -> np.ndarray:
        return r["span"] > sites.spans(r["src_fid"], r["tgt_fid"])[1]

    def neither(r: CheckedRows) -> np.ndarray:
        return ~few(r) & ~many(r) & sites.neither(r["src_fid"], r["tgt_fid"], r["span"])

    got = "span = {span} from {src_id} to {tgt_id}"
    return [
        Rule(f"{got}: more layers of the run than that are crossed, the target's own counted", few),
        Rule(f"{got}: there are not so many sites between them, the target's own counted", many),
        Rule(f"{got}: neither the layers nor the sites that are crossed, the target's own counted", neither),
        Rule(
            "blocks = {blocks}: expected tgt_layer − src_layer, {tgt_layer} − {src_layer}",
            lambda r: r["blocks"] != r["tgt_layer"] - r["src_layer"],
        ),
    ]


def _test_rules(level: float | None) -> list[Rule]:
    def above(column: str, name: str, r: CheckedRows) -> np.ndarray:
        return _named(r, name) & (r[column] > (level or 0.0) * (1 + TOLERANCE))

    def below(strength: str, floor: str, name: str, r: CheckedRows) -> np.ndarray:
        return _named(r, name) & (np.abs(r[strength]) < r[floor] * (1 - TOLERANCE))

    def outside(r: CheckedRows) -> np.ndarray:
        mean, low, high = r["mean_strength"], r["ci_low"], r["ci_high"]
        slack = TOLERANCE * np.maximum(np.abs(low), np.abs(high)) + _TINY
        return (low <= high) & ((mean < low - slack) | (mean > high + slack))

    found = [Rule("mean_strength = {mean_strength} lies outside its interval, ci_low = {ci_low} to ci_high = {ci_high}", outside)]
    for name, (strength, q, floor) in _EFFECTS.items():
        by = f"significant_by = {{significant_by}}, yet the {name} effect is not"
        small = f"{by} above its floor: {strength} = {{{strength}}}, {floor} = {{{floor}}}"
        found.append(Rule(small, partial(below, strength, floor, name)))
        if level is not None:
            found.append(Rule(f"{by} below the level {level:g}: {q} = {{{q}}}", partial(above, q, name)))
    return found


def _by_computed(r: CheckedRows) -> np.ndarray:
    """Edges of which the computed effect is what was confirmed: the total one did not pass."""
    return _named(r, "computed") & ~_named(r, "total")


def _named(r: CheckedRows, name: str) -> np.ndarray:
    return r.each("significant_by", lambda v: name in v.split("+"))


def _sample_rules() -> list[Rule]:
    def more(part: str, whole: str) -> Callable[[CheckedRows], np.ndarray]:
        return lambda r: (r[part] > r[whole]) & (r[whole] >= 1)

    return [
        Rule("n_documents = {n_documents}; expected 0 or more", lambda r: r["n_documents"] < 0),
        Rule("n_documents = {n_documents} is more than n_samples = {n_samples}", more("n_documents", "n_samples")),
        Rule("n_later = {n_later} is more than n_samples = {n_samples}", more("n_later", "n_samples")),
        Rule(
            "later_strength = {later_strength} though n_later = 0: there is no later position",
            lambda r: (r["n_later"] == 0) & ~r.null("later_strength") & ~r.null("n_later") & (r["later_strength"] != 0),
        ),
        Rule("clamp_low = {clamp_low} is above clamp_high = {clamp_high}", lambda r: r["clamp_low"] > r["clamp_high"]),
    ]
