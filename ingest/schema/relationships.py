"""The relationship types of the graph and their properties."""

from __future__ import annotations

from ingest.schema.parts import RUN, Property, Relationship

_STRENGTH = "target units per source unit"

RELATIONSHIPS = (
    Relationship(
        "AFFECTS",
        "Feature",
        "Feature",
        "Turning the source up turns the target up (or down). One per run, method and pair; always from an earlier site to a later one.",
        (
            RUN,
            Property("run_id", "STRING", "first 8 digits of that run's id"),
            Property("method", "STRING", "clamping or jacobian; another name, such as attribution, for edges that another program found"),
            Property(
                "span", "INTEGER", "distinct analysed layers crossed; 1 = the next one, 0 = from one site of a layer to a later one of it"
            ),
            Property("blocks", "INTEGER", "distance in blocks: the target's layer minus the source's, in this run"),
            Property("type", "STRING", "excitatory, inhibitory, pass_through, attenuates_copy or erases_copy"),
            Property("by", "STRING", "which of the effects total, direct, later and computed passed the test, joined by +"),
            Property(
                "structural",
                "BOOLEAN",
                "no analysed site in between (span is 0 or 1, nothing was held), or the direct effect passed the test (by contains direct)",
            ),
            Property(
                "strength",
                "FLOAT",
                f"total effect, {_STRENGTH}; where by begins with direct, the direct effect; where by is later, the later effect",
            ),
            Property(
                "sign",
                "INTEGER",
                "sign of strength: 1 or −1, and 0 where it is exactly 0 or the edge erases a copy; what inhibits is what type says",
            ),
            Property("total", "FLOAT", "total effect; only where strength is another effect", True),
            Property(
                "direct",
                "FLOAT",
                "effect with the features of the sites in between (with dictionaries on components: the MLPs in between) held at their "
                f"clean values, {_STRENGTH}",
            ),
            Property("later", "FLOAT", f"effect summed over the next positions, {_STRENGTH}", True),
            Property("copy", "FLOAT", f"part due to the identity path alone, {_STRENGTH}", True),
            Property("computed", "FLOAT", f"total effect without the copy: what the blocks compute, {_STRENGTH}", True),
            Property(
                "sign_computed",
                "INTEGER",
                "sign of computed: 1, −1, or 0 where it is smaller than what counts as an effect; in runs loaded by earlier versions only "
                "where the computed effect passed the test",
                True,
            ),
            Property(
                "floor_computed",
                "FLOAT",
                "smallest computed effect that counts: below it sign_computed and sign_specific are 0; absent in runs of earlier versions",
                True,
            ),
            Property(
                "specific",
                "FLOAT",
                f"computed without what the blocks compute from any direction there, {_STRENGTH}; absent where it was not measured",
                True,
            ),
            Property("sign_specific", "INTEGER", "sign of specific, as sign_computed", True),
            Property("se", "FLOAT", "standard error of the total effect over documents", True),
            Property("ci_low", "FLOAT", "lower end of the 95 % interval of the total effect", True),
            Property("ci_high", "FLOAT", "upper end", True),
            Property("p", "FLOAT", "uncorrected p of the total effect", True),
            Property("q", "FLOAT", "corrected p of the total effect: the smallest level at which it passes", True),
            Property("q_direct", "FLOAT", "the same for the direct effect", True),
            Property("q_later", "FLOAT", "the same for the later effect", True),
            Property("q_computed", "FLOAT", "the same for the computed effect; absent in runs loaded by earlier versions", True),
            Property("p_specific", "FLOAT", "uncorrected p of specificity: that a random direction has an effect as large", True),
            Property("q_specific", "FLOAT", "p_specific corrected within a family of its own", True),
            Property("n", "INTEGER", "test samples"),
            Property("placebo", "FLOAT", "share of placebo directions with a smaller effect", True),
            Property("replicated", "BOOLEAN", "replicates on the confirm documents", True),
            Property("jacobian", "FLOAT", f"gated derivative at the clean point, {_STRENGTH}, where both were measured", True),
            Property(
                "standardised",
                "FLOAT",
                "total effect of the source's whole clamp, in standard deviations of the target; absent in runs loaded by earlier versions",
                True,
            ),
        ),
    ),
    Relationship("OF", "Observation", "Feature", "The feature that was observed."),
    Relationship(
        "SEEDED_BY",
        "Behavior",
        "Feature",
        "A feature that carries the behaviour, by measured effect.",
        (
            Property("effect", "FLOAT", "effect of the feature on the behaviour's metric"),
            Property("rank", "INTEGER", "1 = largest effect"),
            Property("id", "STRING", "short id of the feature in the run"),
        ),
    ),
    Relationship(
        "HAS_MEMBER",
        "Behavior",
        "Feature",
        "A feature of the behaviour's subgraph: a seed, or one that is a few edges away from a seed.",
        (Property("id", "STRING", "short id of the feature in the run"),),
    ),
    Relationship(
        "WRITES_TO",
        "Feature",
        "Behavior",
        "The last hop: the feature writes into the answer itself, past all later blocks.",
        (
            Property("effect", "FLOAT", "direct effect on the behaviour's metric"),
            Property("q", "FLOAT", "p corrected for the behaviour's features", True),
            Property("id", "STRING", "short id of the feature in the run"),
        ),
    ),
    Relationship(
        "EXAMPLE",
        "Motif",
        "Feature",
        "A feature in one of the strongest instances of the motif.",
        (
            RUN,
            Property("example", "INTEGER", "number of the instance, 0 = the strongest"),
            Property("place", "INTEGER", "place of that letter in the pattern, 0 = first to appear"),
            Property("role", "STRING", "letter of the pattern that the feature stands for"),
            Property("id", "STRING", "short id of the feature in the run"),
            Property("weakest", "FLOAT", "magnitude of the weakest edge of the instance"),
        ),
    ),
    Relationship(
        "MEMBER_OF",
        "Feature",
        "Family",
        "Membership in a copy family.",
        (
            RUN,
            Property("place", "INTEGER", "place among the members by site, 0 = first"),
            Property("id", "STRING", "short id of the feature in the run"),
        ),
    ),
    Relationship("IN_COMMUNITY", "Feature", "Community", "Membership in a community.", (RUN,)),
    Relationship("OF_MODEL", "Run", "Model", "The model that was studied."),
    Relationship("USES_SAE", "Run", "SAE", "A dictionary that was used."),
    Relationship("ON", "Run", "Dataset", "The text that was read."),
    Relationship("COVERS", "Run", "Site", "A site that was analysed."),
)
