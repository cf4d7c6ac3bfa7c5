"""The file formats of further measures of chosen edges: gates, dose curves, insertions, mediation (``feature-graph probe``).

A run MAY carry them; they are not loaded into the graph. docs/artifacts.md is made from this module too.
"""

from __future__ import annotations

from ingest.formats import Column, FileFormat

_STRENGTH = "target units per source unit"

_BETWEEN = (
    Column("src_id", "string", "short id of the source"),
    Column("tgt_id", "string", "short id of the target"),
    Column("src_layer", "int32", "layer of the source"),
    Column("tgt_layer", "int32", "layer of the target"),
)
_COUNTS = (
    Column("n_samples", "int32", "test samples (document, position) used"),
    Column("n_documents", "int32", "distinct test documents"),
)

GATES = FileFormat(
    "gates",
    1,
    "gates.parquet",
    "One row per (source A, source B, target) that was clamped 2 × 2: A high or low × B high or low.",
    (
        Column("a_id", "string", "short id of the first source, which lies no later than the second"),
        Column("b_id", "string", "short id of the second source"),
        Column("tgt_id", "string", "short id of the target"),
        Column("a_layer", "int32", "layer of the first source"),
        Column("b_layer", "int32", "layer of the second source"),
        Column("tgt_layer", "int32", "layer of the target"),
        Column("kind", "string", "super_additive (contrast above 0, as in an AND) or sub_additive"),
        Column("contrast", "float64", "interaction contrast f(hh) − f(hl) − f(lh) + f(ll) of the target, target units"),
        Column(
            "strength", "float64", "contrast / √((a_high − a_low)(b_high − b_low)), target units per source unit; the floor applies to this"
        ),
        Column("standardised", "float64", "contrast in the target's standard deviations over counted tokens", True),
        Column("se", "float64", "standard error of the contrast over documents"),
        Column("ci_low", "float64", "lower end of the 95 % interval of the contrast over documents"),
        Column("ci_high", "float64", "upper end"),
        Column("p_value", "float64", "uncorrected p of the contrast; null hypothesis: |strength| ≤ min_effect; 1 below the floor"),
        Column("q_value", "float64", "p_value corrected within the family of all triples of the run"),
        Column("significant", "bool", "q_value is below the level"),
        Column("floor", "float64", "smallest |strength| that counts: min_effect; the placebo quantile if that is larger"),
        Column("placebo_quantile", "float64", "share of placebos whose |strength| is below this one; null without placebos", True),
        Column("f_hh", "float64", "mean activation of the target, A high and B high"),
        Column("f_hl", "float64", "A high, B low"),
        Column("f_lh", "float64", "A low, B high"),
        Column("f_ll", "float64", "A low, B low"),
        Column("a_low", "float64", "low level of A, activation units"),
        Column("a_high", "float64", "high level of A"),
        Column("b_low", "float64", "low level of B"),
        Column("b_high", "float64", "high level of B"),
        *_COUNTS,
    ),
)

DOSES = FileFormat(
    "doses",
    1,
    "doses.parquet",
    "One row per (source, target, level): how the target responds when the source is clamped to that level.",
    (
        *_BETWEEN,
        Column("dose", "string", 'what the level is: "low", "q0.25" (quantile of the active values) or "2 x high"'),
        Column("level", "float64", "level of the source, activation units"),
        Column("response", "float64", "mean activation of the target at this level minus that at the low level, target units"),
        Column("se", "float64", "standard error over documents", True),
        Column("ci_low", "float64", "lower end of the 95 % interval over documents", True),
        Column("ci_high", "float64", "upper end", True),
        Column(
            "r_squared",
            "float64",
            "of the whole curve: share of its variance that the least-squares line explains; null if the curve is flat",
            True,
        ),
        Column("slope_low", "float64", f"of the whole curve: slope between its two lowest levels, {_STRENGTH}"),
        Column("slope_high", "float64", f"of the whole curve: slope between its two highest levels, {_STRENGTH}"),
        *_COUNTS,
    ),
)

INSERTIONS = FileFormat(
    "insertions",
    1,
    "insertions.parquet",
    "One row per (source, target): the effect of raising the source to its high level where it is off, and its effect where it is on.",
    (
        *_BETWEEN,
        Column("strength", "float64", f"total effect where the source is off, {_STRENGTH}"),
        Column("se", "float64", "standard error of strength over documents"),
        Column("ci_low", "float64", "lower end of the 95 % interval of strength over documents"),
        Column("ci_high", "float64", "upper end"),
        Column(
            "p_value",
            "float64",
            "uncorrected p of strength; null hypothesis: |strength| is at most the smallest that counts; 1 below the floor",
        ),
        Column("q_value", "float64", "p_value corrected for all pairs of the file"),
        Column("significant", "bool", "q_value is below the level"),
        Column(
            "floor",
            "float64",
            "smallest |strength| that counts, as in interactions.parquet; with placebos, at least theirs at the same samples",
        ),
        Column("active_strength", "float64", f"total effect where the source is on (what interactions.parquet holds), {_STRENGTH}"),
        Column("active_se", "float64", "its standard error over documents"),
        Column("difference", "float64", "strength − active_strength"),
        Column("p_difference", "float64", "uncorrected p of the difference, Welch's t over documents"),
        Column("p_on_change", "float64", "P(target active | inserted) − P(target active | not)"),
        Column("clamp_low", "float64", "low level of the source, activation units"),
        Column("clamp_high", "float64", "level inserted, activation units"),
        *_COUNTS,
        Column("n_active_documents", "int32", "distinct test documents that active_strength is a mean over"),
    ),
)

MEDIATION = FileFormat(
    "mediation",
    1,
    "mediation.parquet",
    "One row per (source, target, method, component): how much of the total effect reaches the target through each part of the blocks.",
    (
        *_BETWEEN,
        Column("method", "string", "jacobian (components add up to the total) or clamping (with a remainder)"),
        Column(
            "component",
            "string",
            "total, residual, attention (patterns frozen), pattern (their change), mlp, normalisation (change of scale) or remainder; "
            "with dictionaries on components total, direct, attention and mlp (those without a dictionary), features, skip and error",
        ),
        Column("strength", "float64", f"contribution, {_STRENGTH}"),
        Column("share", "float64", "strength / strength of the total; null where the total is below min_effect", True),
        Column("se", "float64", "standard error over documents"),
        Column("ci_low", "float64", "lower end of the 95 % interval over documents"),
        Column("ci_high", "float64", "upper end"),
        *_COUNTS,
    ),
)

MEASURES = {f.kind: f for f in (GATES, DOSES, INSERTIONS, MEDIATION)}
