"""The Parquet files of a run: columns, types, versions and meaning."""

from __future__ import annotations

from ingest.columns import Column, ColumnType, FileFormat

FEATURES = FileFormat(
    "features",
    1,
    "features.parquet",
    "One row per feature of the run: every source and every target that was measured, sorted by fid.",
    (
        Column("fid", "int64", "dense number of the feature within the run, from 0"),
        Column(
            "id",
            "string",
            'short id "L<layer>_F<index>", or "L<layer>.<site>_F<index>" where a layer has several sites; unique within the run',
        ),
        Column("uid", "string", '"<model>@<weights hash>/<release>/<SAE id really loaded>/<index>", the same in every run'),
        Column("layer", "int32", "layer as the configuration names it"),
        Column("index", "int32", "index in the dictionary"),
        Column("hook", "string", "hook that was really read", absent=""),
        Column("label", "string", "top activating tokens in context; empty if unknown", absent=""),
        Column("density", "float64", "share of counted tokens at which the feature is active; null if unknown", True),
        Column("mean_act", "float64", "mean activation where active, 0 if never; null if unknown", True),
        Column("max_act", "float64", "largest activation; null if unknown", True),
        Column(
            "decoder_norm",
            "float64",
            "norm of the decoder row as shipped; activations are in units of a row of norm 1; null if unknown",
            True,
        ),
        Column("dead", "bool", "never active on the run's text", absent=False),
        Column("dense", "bool", "active at more than a fifth of the tokens; null if unknown", True),
        Column("importance", "float64", "frequency × causal effect on the output; null if not measured", True),
        Column("neuronpedia_url", "string", "page of the feature; empty if there is none", absent=""),
    ),
)

CANDIDATES = FileFormat(
    "candidates",
    1,
    "candidates.parquet",
    "One row per pair that is to be measured, in descending order of PMI. Where layers have several dictionaries, two more columns name "
    "the sites with which ids begin: src_site and tgt_site.",
    (
        Column("src_layer", "int32", "layer of the source"),
        Column("src_index", "int32", "index of the source"),
        Column("tgt_layer", "int32", "layer of the target"),
        Column("tgt_index", "int32", "index of the target"),
        Column("pmi", "float64", "pointwise mutual information in nats on the select documents, 0 if the two were never seen together"),
        Column("coactivation_prob", "float64", "P(target active | source active) at the same position"),
        Column("joint_count", "int64", "tokens with both active, at the same or up to position_horizon later positions"),
        Column(
            "decoder_alignment",
            "float64",
            "signed mean alignment of the decoder direction with the target's encoder (through the blocks in between)",
        ),
        Column(
            "arm",
            "string",
            "why the pair was chosen: kept, rescue_jacobian or rescue_random; with candidates: responses, the effect it was chosen by: "
            "specific, computed or total, or seed: one of its ends is a seed of a behaviour",
        ),
        Column("blocks", "int32", "distance in blocks: tgt_layer − src_layer, 0 inside a block", derived_from=("tgt_layer", "src_layer")),
    ),
)

#: The same where layers have several sites.
CANDIDATES_BY_SITE = FileFormat(
    CANDIDATES.kind,
    CANDIDATES.version,
    CANDIDATES.name,
    CANDIDATES.meaning,
    (
        *CANDIDATES.columns,
        Column("src_site", "string", "name of the source's site, such as L5.tc", absent=""),
        Column("tgt_site", "string", "name of the target's site", absent=""),
    ),
)

_STRENGTH = "target units per source unit"
#: Methods that measure by intervening on many samples, with a test; an imported attribution graph has one prompt and no test.
INTERVENING = ("clamping", "jacobian")


def _tested(name: str, kind: ColumnType, meaning: str) -> Column:
    """A column that every intervening method gives, and others may not."""
    return Column(name, kind, meaning, True, INTERVENING)


INTERACTIONS = FileFormat(
    "interactions",
    1,
    "interactions.parquet",
    "One row per measured (source, target, method), sorted by source fid, target fid and method.",
    (
        Column("src_fid", "int64", "fid of the source in features.parquet"),
        Column("tgt_fid", "int64", "fid of the target in features.parquet"),
        Column("src_id", "string", "short id of the source"),
        Column("tgt_id", "string", "short id of the target"),
        Column("src_layer", "int32", "layer of the source"),
        Column("tgt_layer", "int32", "layer of the target"),
        Column("method", "string", "clamping or jacobian; another lower-case name for edges of another program, such as attribution"),
        Column(
            "interaction_type",
            "string",
            "excitatory, inhibitory, pass_through (the decoder's own direction, carried on), attenuates_copy (the computed effect passed, "
            "and the total one has the copy's sign and is smaller) or erases_copy (the computed effect passed, and the copy is above the "
            "floor, but the total effect is below it). Excitatory and inhibitory give the sign of mean_strength; where significant_by "
            "begins with direct, that of direct_strength; where significant_by is later, that of later_strength",
            derived_from=("mean_strength", "direct_strength", "later_strength", "significant_by"),
        ),
        Column("span", "int32", "distinct analysed layers crossed; 1 = the next one, 0 = from one site of a layer to a later one of it"),
        Column("blocks", "int32", "distance in blocks: tgt_layer − src_layer", derived_from=("tgt_layer", "src_layer")),
        Column("mean_strength", "float64", f"total effect at the same position, {_STRENGTH}"),
        Column("abs_strength", "float64", "magnitude of mean_strength", derived_from=("mean_strength",)),
        Column(
            "direct_strength",
            "float64",
            f"effect with the features of the analysed sites in between held at their clean values (with dictionaries on components: the "
            f"outputs of the MLPs in between), {_STRENGTH}; in files without held_rank, as direct_sum",
            derived_from=("mean_strength",),
        ),
        Column(
            "direct_sum",
            "float64",
            f"for comparison: direct_strength, if each feature in between lost its own change, as if none overlapped with another, "
            f"{_STRENGTH}; null without a site in between, and where it was not measured",
            True,
        ),
        Column(
            "held_features",
            "float64",
            "features held in between, mean over documents (of several sites in between, the largest number); null where direct_sum is, "
            "except in exhaustive runs, which measure it",
            True,
        ),
        Column(
            "held_rank",
            "float64",
            "how many dimensions of the residual stream they carry, mean over documents; if that is its width, direct_strength is 0 by "
            "arithmetic",
            True,
        ),
        Column(
            "later_strength",
            "float64",
            f"change summed over the next position_horizon positions, {_STRENGTH}; null without later positions",
            True,
        ),
        _tested(
            "copy_strength",
            "float64",
            f"part due to the identity path alone, through the norm before the MLP where the target reads the MLP's input, and 0 where it "
            f"reads a component's output, {_STRENGTH}",
        ),
        Column(
            "computed_strength",
            "float64",
            "mean_strength − copy_strength",
            True,
            INTERVENING,
            derived_from=("mean_strength", "copy_strength"),
        ),
        Column(
            "specific_strength",
            "float64",
            "computed effect by derivatives, minus what would have been computed there from any direction (if the run has responses), "
            f"at up to specificity_samples test tokens, {_STRENGTH}; null if not measured",
            True,
        ),
        Column(
            "preactivation_strength",
            "float64",
            f"total effect before the target's non-linearity, {_STRENGTH}",
            derived_from=("mean_strength",),
        ),
        _tested("p_on_change", "float64", "P(target active | high) − P(target active | low)"),
        Column("standardised_effect", "float64", "mean change of the target in its standard deviations over counted tokens", True),
        Column("strength_jacobian", "float64", f"mean gated derivative at the clean point, {_STRENGTH}; null unless method is both", True),
        Column(
            "direct_jacobian",
            "float64",
            f"the same with the active features of the analysed sites in between held, {_STRENGTH}; null unless method is both",
            True,
        ),
        _tested("se", "float64", "standard error of mean_strength over documents"),
        Column("se_computed", "float64", "standard error of computed_strength over documents; null in older files", True),
        _tested("ci_low", "float64", "lower end of the 95 % interval of mean_strength over documents"),
        _tested("ci_high", "float64", "upper end"),
        _tested(
            "p_value",
            "float64",
            "uncorrected p of the total effect. Null hypothesis: its mean over documents is, in either direction, no larger than the "
            "smallest effect that counts; in files without p_computed, the mean is 0. In those files, and with placebos, p is 1 below the "
            "floor",
        ),
        _tested(
            "q_value",
            "float64",
            "corrected p of the total effect: the smallest level at which it passes, where pairs are chosen by the p of all their effects "
            "and then the effects of the chosen pairs are tested; 1 in an exhaustive run if it does not pass",
        ),
        _tested(
            "p_direct",
            "float64",
            "uncorrected p of the direct effect, as p_value",
        ),
        _tested("q_direct", "float64", "corrected p of the direct effect, as q_value"),
        _tested("p_later", "float64", "uncorrected p of the later effect, as p_value; 1 without later positions"),
        _tested("q_later", "float64", "corrected p of the later effect, as q_value"),
        Column("p_computed", "float64", "uncorrected p of the computed effect, as p_value; null in older files", True),
        Column("q_computed", "float64", "corrected p of the computed effect, as q_value; null in older files", True),
        Column(
            "p_specific",
            "float64",
            "uncorrected p of the specific effect. Null hypothesis: the source's direction was drawn at random, like those that were "
            "carried at the same tokens; null if not measured",
            True,
        ),
        Column("q_specific", "float64", "p_specific corrected over all pairs, a family of its own; null if not measured", True),
        Column(
            "significant",
            "bool",
            "q_value, q_direct, q_later or q_computed is below the level; of a method without a test: the edge belongs to its graph",
            derived_from=("significant_by",),
        ),
        Column("significant_by", "string", "which of the effects total, direct, later and computed passed, joined by +; empty if none did"),
        _tested(
            "floor",
            "float64",
            "smallest |total strength| that counts: min_effect, or what min_effect_sd is for this pair; the placebo quantile if that is "
            "larger",
        ),
        _tested("floor_direct", "float64", "the same for the direct effect"),
        _tested("floor_later", "float64", "the same for the later effect"),
        Column("floor_computed", "float64", "the same for the computed effect; null in older files", True),
        Column(
            "placebo_quantile", "float64", "share of placebo directions whose |strength| is below this edge's; null without placebos", True
        ),
        Column("n_samples", "int32", "test samples (document, position) used", absent=1),
        Column("n_documents", "int32", "distinct test documents", absent=1),
        Column("n_later", "int32", "samples that have a later position", absent=0),
        Column("confirm_strength", "float64", f"total effect on the confirm documents, {_STRENGTH}; null if too few", True),
        Column("confirm_computed", "float64", f"computed effect on the confirm documents, {_STRENGTH}; null if too few", True),
        Column("n_confirm", "int32", "confirm documents", absent=0),
        Column(
            "replicated",
            "bool",
            "whether the total effect, or the computed one if that passed and the total one did not, has the same sign on the confirm "
            "documents and is above half the floor there; null if not measured",
            True,
        ),
        _tested("clamp_low", "float64", "low level of the source, activation units"),
        _tested("clamp_high", "float64", "high level of the source, activation units"),
        _tested(
            "achieved",
            "float64",
            "(re-encoded high − re-encoded low) / (clamp_high − clamp_low), mean over samples; 1 = the clamp was reached",
        ),
        _tested("spill", "float64", "norm of the change of the other features of the source's site, per source unit (analytic, d · W_enc)"),
        Column("pmi", "float64", "PMI of the pair, from candidates.parquet", True),
        Column("coactivation_prob", "float64", "from candidates.parquet", True),
        Column("decoder_alignment", "float64", "from candidates.parquet", True),
        Column(
            "arm",
            "string",
            "from candidates.parquet; exhaustive where every pair was measured and only significant rows are kept; empty if unknown",
            absent="",
        ),
    ),
)

DECODERS = FileFormat(
    "decoders",
    1,
    "decoders.parquet",
    "One row per feature whose decoder direction is to be in the graph, sorted by fid. `feature-graph vectors` writes it on request; "
    "`feature-graph ingest` loads it if it is there, even onto a run that is already in the graph. It is not part of the run's id.",
    (
        Column("fid", "int64", "fid of the feature in features.parquet"),
        Column("uid", "string", "its uid there"),
        Column(
            "decoder",
            "list<float32>",
            "what the feature adds to the residual stream, divided by its norm: its decoder row; of a dictionary on z, that row through "
            "W_O. Its length is the width of the residual stream, the same in all rows",
        ),
    ),
)

FORMATS = {f.kind: f for f in (FEATURES, CANDIDATES, INTERACTIONS, DECODERS)}
