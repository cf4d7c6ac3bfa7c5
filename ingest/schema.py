"""The graph: its nodes, relationships, properties, constraints and indexes. docs/schema.md is made from this module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Type = Literal["STRING", "INTEGER", "FLOAT", "BOOLEAN", "LIST<STRING>", "LIST<INTEGER>", "LIST<FLOAT>"]

VERSION = 5


@dataclass(frozen=True)
class Property:
    """One property: name, Cypher type, meaning; ``optional`` ones may be absent."""

    name: str
    type: Type
    meaning: str
    optional: bool = False


@dataclass(frozen=True)
class Node:
    """One label. ``key`` is unique."""

    label: str
    key: str
    meaning: str
    properties: tuple[Property, ...]


@dataclass(frozen=True)
class Relationship:
    """One relationship type between two labels."""

    type: str
    source: str
    target: str
    meaning: str
    properties: tuple[Property, ...] = ()


@dataclass(frozen=True)
class Index:
    """One index beside the unique keys. ``on`` is a label, or a relationship type."""

    name: str
    kind: Literal["RANGE", "FULLTEXT", "VECTOR"]
    on: str
    properties: tuple[str, ...]
    relationship: bool = False


_RUN = Property("run", "INTEGER", "Run.n of the run that this belongs to; it is deleted with that run")
_STRENGTH = "target units per source unit"

_SCORES = (
    *(
        Property(name, "FLOAT", f"score of the Analysis of kind {name}; other parts of the run carry marks: {name}_excitatory …", True)
        for name in (
            *("degree", "in_degree", "out_degree", "strength", "in_strength", "out_strength", "pagerank", "article_rank"),
            *("hits_hub", "hits_authority", "betweenness", "closeness", "harmonic"),
        )
    ),
    *(
        Property(name, "INTEGER", f"community of the Analysis of kind {kind}, 1 = largest", True)
        for name, kind in (
            ("community", "leiden"),
            ("louvain", "louvain"),
            ("label_propagation", "label_propagation"),
            ("component", "wcc"),
        )
    ),
    Property("core", "INTEGER", "core number of the Analysis of kind kcore", True),
)

#: Properties of Observation that analyses write.
SCORE_NAMES = frozenset(p.name for p in _SCORES)

NODES = (
    Node(
        "Feature",
        "uid",
        "One direction of one dictionary, the same in every run. Never deleted while anything refers to it. Carries "
        "a second label, Layer<layer>: Neo4j Browser colours by label.",
        (
            Property("uid", "STRING", "<model>@<weights hash>/<release>/<SAE id really loaded>/<index>"),
            Property("model", "STRING", "<model>@<weights hash>"),
            Property("release", "STRING", "SAE release"),
            Property("sae_id", "STRING", "SAE id that was really loaded"),
            Property("layer", "INTEGER", "layer as the run that first brought it named it; Observation.layer is a run's own"),
            Property("hook", "STRING", "hook that is read"),
            Property("index", "INTEGER", "index in the dictionary"),
            Property("decoder_norm", "FLOAT", "norm of the decoder row as shipped", True),
            Property("neuronpedia_url", "STRING", "page of the feature", True),
            Property("label", "STRING", "display label: that of the newest run that gives one", True),
            Property("label_run", "INTEGER", "Run.n that gave the display label", True),
            Property(
                "brought_by",
                "INTEGER",
                "Run.n of the run that made this node; absent where another program did: then no drop deletes it",
                True,
            ),
            Property(
                "filled",
                "LIST<STRING>",
                "of a node that another program made: properties that runs added, for as long as one refers to it",
                True,
            ),
            Property("decoder", "LIST<FLOAT>", "direction of the decoder row, norm 1, where a run brought decoders.parquet", True),
        ),
    ),
    Node(
        "Observation",
        "key",
        "What one run saw of one feature.",
        (
            Property("key", "STRING", "<Run.n>/<Feature.uid>"),
            _RUN,
            Property("id", "STRING", 'short id "L<layer>_F<index>", unique within the run'),
            Property("fid", "INTEGER", "dense number within the run"),
            Property("layer", "INTEGER", "layer as the configuration names it"),
            Property("label", "STRING", "top activating tokens in context, on this run's text"),
            Property("density", "FLOAT", "share of counted tokens at which the feature is active", True),
            Property("mean_act", "FLOAT", "mean activation where active", True),
            Property("max_act", "FLOAT", "largest activation", True),
            Property("dead", "BOOLEAN", "never active on the run's text"),
            Property("dense", "BOOLEAN", "active at more than a fifth of the tokens", True),
            Property("importance", "FLOAT", "frequency × causal effect on the output", True),
            *_SCORES,
        ),
    ),
    Node(
        "Site",
        "uid",
        "One residual stream with its dictionary: what a run covers.",
        (
            Property("uid", "STRING", "<SAE.uid>@<hook>"),
            Property("layer", "INTEGER", "layer as the run that first brought it named it"),
            Property("hook", "STRING", "hook that is read"),
            Property("point", "INTEGER", "transformer blocks run before this residual exists", True),
            Property("d_in", "INTEGER", "width of the residual stream", True),
        ),
    ),
    Node(
        "Model",
        "uid",
        "A language model with these weights.",
        (
            Property("uid", "STRING", "<name>@<weights hash>"),
            Property("name", "STRING", "name of the model"),
            Property("sha256", "STRING", "first 8 hex digits of the hash over its weights"),
        ),
    ),
    Node(
        "SAE",
        "uid",
        "A sparse autoencoder.",
        (
            Property("uid", "STRING", "<Model.uid>/<release>/<SAE id>"),
            Property("release", "STRING", "SAE release"),
            Property("sae_id", "STRING", "SAE id that was really loaded"),
            Property("d_sae", "INTEGER", "features in the dictionary", True),
            Property("architecture", "STRING", "standard, jumprelu, topk, batchtopk …", True),
            Property("sha256", "STRING", "hash of its weights", True),
        ),
    ),
    Node(
        "Dataset",
        "uid",
        "A text corpus.",
        (
            Property("uid", "STRING", "<name>/<split>"),
            Property("name", "STRING", "dataset as the configuration names it"),
            Property("n_tokens", "INTEGER", "tokens that the newest run asked for", True),
        ),
    ),
    Node(
        "Run",
        "id",
        "One finished computation. Immutable: a new result is a new run.",
        (
            Property("id", "STRING", "first 16 hex digits of the hash over configuration, model, SAEs, seed and result files"),
            Property("n", "INTEGER", "small number that stands for the run on edges and observations; never used twice"),
            Property("status", "STRING", "loading, ready, failed or dropped; queries answer from ready runs only"),
            Property("name", "STRING", "name of the run directory"),
            Property("config", "STRING", "the configuration, as JSON"),
            Property("seed", "INTEGER", "seed of every random choice", True),
            Property("versions", "STRING", "versions of the software that computed it, as JSON", True),
            Property("facts", "STRING", "what the measurement says of itself (family sizes, what was left out …), as JSON", True),
            Property("methods", "LIST<STRING>", "methods that its edges have"),
            Property("layers", "LIST<INTEGER>", "layers that it covers, ascending"),
            Property("alpha", "FLOAT", "level of the adjusted p-value", True),
            Property("correction", "STRING", "correction for many tests", True),
            Property("measured", "INTEGER", "measured (source, target, method) triples, significant or not"),
            Property("scale", "FLOAT", "largest |direct| of its edges; cost of an edge = −ln(|direct| / scale)"),
            Property("nodes", "INTEGER", "features observed"),
            Property("edges", "INTEGER", "edges"),
            Property("digest", "STRING", "sum of the hashes of all observations and edges, free of order"),
            Property("selection", "STRING", "which of its edges were loaded, as JSON, where not all", True),
            Property("whole", "STRING", "id that the run has with all its edges, where not all were loaded", True),
            Property("rejected", "INTEGER", "rows left out because they are wrong", True),
            Property("created", "INTEGER", "ms since 1970 when loading began"),
            Property("finished", "INTEGER", "ms since 1970 when it became ready", True),
            Property("lease_owner", "STRING", "process that is loading it", True),
            Property("lease_since", "INTEGER", "ms since 1970 when that process began", True),
            Property("lease_at", "INTEGER", "ms since 1970 of that process' last sign of life", True),
            Property("error", "STRING", "why loading failed", True),
            Property(
                "decoders", "INTEGER", "features whose decoder vector was loaded; absent if its directory had no decoders.parquet", True
            ),
        ),
    ),
    Node(
        "Behavior",
        "uid",
        "A behaviour of the model, as one run measured it.",
        (
            Property("uid", "STRING", "<Run.n>/<name>"),
            _RUN,
            Property("name", "STRING", "name of the behaviour"),
            Property("prompts", "LIST<STRING>", "prompts that show it"),
            Property("metric", "STRING", "what is measured"),
            Property("clean", "FLOAT", "the metric without intervention", True),
            Property("ablated", "FLOAT", "the metric with the seeds ablated", True),
            Property("corrupted", "FLOAT", "the metric on the corrupted prompts", True),
            Property("accuracy", "FLOAT", "share of prompts on which the right answer is preferred", True),
            Property("confirmed", "BOOLEAN", "the model shows the behaviour and the seeds carry it"),
        ),
    ),
    Node(
        "Analysis",
        "uid",
        "One algorithm over one run, whose scores lie on Observations.",
        (
            Property("uid", "STRING", "<Run.n>/<kind>"),
            _RUN,
            Property("kind", "STRING", "algorithm, and the part of the run where it is not the default: pagerank, leiden_excitatory …"),
            Property("algorithm", "STRING", "algorithm", True),
            Property("property", "STRING", "property of Observation that carries the score"),
            Property("params", "STRING", "parameters of the algorithm and of the projection, as JSON"),
            Property("seed", "INTEGER", "seed that was given", True),
            Property("gds_version", "STRING", "version of the Graph Data Science library"),
            Property("created", "INTEGER", "ms since 1970"),
        ),
    ),
    Node(
        "Community",
        "uid",
        "A community that an Analysis found.",
        (
            Property("uid", "STRING", "<Run.n>/<kind>/<community>"),
            _RUN,
            Property("kind", "STRING", "kind of the Analysis"),
            Property("community", "INTEGER", "its number, 1 = largest"),
            Property("size", "INTEGER", "features in it"),
            Property("modularity", "FLOAT", "its part of the modularity of the whole partition", True),
            Property("conductance", "FLOAT", "share of its edges' magnitude that leaves it", True),
        ),
    ),
    Node(
        "Motif",
        "uid",
        "A signed motif of a run, held against null graphs that keep layers, degrees and signs.",
        (
            Property("uid", "STRING", "<Run.n>/<name>"),
            _RUN,
            Property("name", "STRING", "name of the motif, such as ffl_i1"),
            Property("place", "INTEGER", "place in the table of motifs"),
            Property("pattern", "STRING", "the motif in its text form; several joined by | where it is a sum of them", True),
            Property("meaning", "STRING", "what it is, in words", True),
            Property("count", "INTEGER", "subgraphs of this kind, exactly"),
            Property("null_mean", "FLOAT", "mean number in the null graphs", True),
            Property("null_sd", "FLOAT", "standard deviation there", True),
            Property("z", "FLOAT", "(count − null_mean) / null_sd", True),
            Property("p", "FLOAT", "two-sided empirical p; absent where the degrees alone fix the number", True),
            Property("q", "FLOAT", "p adjusted over the motifs (Benjamini and Hochberg)", True),
        ),
    ),
    Node(
        "IngestBatch",
        "key",
        "Ledger: this block of this file is in the graph, exactly once.",
        (
            Property("key", "STRING", "<Run.n>/<sha256 of the file>/<block>"),
            _RUN,
            Property("rows", "INTEGER", "rows of the block"),
        ),
    ),
    Node(
        "SchemaVersion",
        "n",
        "One applied migration.",
        (
            Property("n", "INTEGER", "number of the migration"),
            Property("applied", "INTEGER", "ms since 1970"),
            Property("checksum", "STRING", "sha256 of its text"),
            Property("runs", "INTEGER", "numbers of runs given out so far (on the first one)", True),
        ),
    ),
)

RELATIONSHIPS = (
    Relationship(
        "AFFECTS",
        "Feature",
        "Feature",
        "Turning the source up turns the target up (or down). One a run, method and pair; always from an earlier site to a later one.",
        (
            _RUN,
            Property("method", "STRING", "clamping or jacobian; attribution and the like for edges that another program found"),
            Property("span", "INTEGER", "analysed sites crossed; 1 = the next one"),
            Property("type", "STRING", "excitatory, inhibitory or pass_through"),
            Property("by", "STRING", "which effects passed the test: total, direct, later, joined by +"),
            Property("strength", "FLOAT", f"total effect, {_STRENGTH}; where by is later, the later effect"),
            Property("total", "FLOAT", "total effect, only where strength is not it", True),
            Property("direct", "FLOAT", f"effect with the sites between put back to their clean features, {_STRENGTH}"),
            Property("later", "FLOAT", f"effect summed over the next positions, {_STRENGTH}", True),
            Property("copy", "FLOAT", f"part that the identity path alone gives, {_STRENGTH}", True),
            Property("se", "FLOAT", "standard error of the total effect over documents", True),
            Property("ci_low", "FLOAT", "lower end of the 95 % interval of the total effect", True),
            Property("ci_high", "FLOAT", "upper end", True),
            Property("p", "FLOAT", "raw p of the total effect", True),
            Property("q", "FLOAT", "p adjusted over all tests of the run", True),
            Property("q_direct", "FLOAT", "the same for the direct effect", True),
            Property("q_later", "FLOAT", "the same for the later effect", True),
            Property("n", "INTEGER", "test samples"),
            Property("placebo", "FLOAT", "share of placebo directions with a smaller effect", True),
            Property("replicated", "BOOLEAN", "found again on the confirmation documents", True),
            Property("jacobian", "FLOAT", f"gated derivative at the clean point, {_STRENGTH}, where both were measured", True),
            Property(
                "standardised",
                "FLOAT",
                "total effect of the source's whole clamp, in standard deviations of the target; absent in runs loaded before it was kept",
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
        "A feature of the behaviour's subgraph: a seed, or one that is few edges from a seed.",
        (Property("id", "STRING", "short id of the feature in the run"),),
    ),
    Relationship(
        "WRITES_TO",
        "Feature",
        "Behavior",
        "The last hop: the feature writes into the answer itself, past all later blocks.",
        (
            Property("effect", "FLOAT", "direct effect on the behaviour's metric"),
            Property("q", "FLOAT", "p adjusted over the behaviour's features", True),
            Property("id", "STRING", "short id of the feature in the run"),
        ),
    ),
    Relationship(
        "EXAMPLE",
        "Motif",
        "Feature",
        "A feature in one of the strongest instances of the motif.",
        (
            _RUN,
            Property("example", "INTEGER", "number of the instance, 0 = the strongest"),
            Property("place", "INTEGER", "place of that letter in the pattern, 0 = first to appear"),
            Property("role", "STRING", "letter of the pattern that the feature stands for"),
            Property("id", "STRING", "short id of the feature in the run"),
            Property("weakest", "FLOAT", "magnitude of the weakest edge of the instance"),
        ),
    ),
    Relationship("IN_COMMUNITY", "Feature", "Community", "Membership in a community.", (_RUN,)),
    Relationship("OF_MODEL", "Run", "Model", "The model that was studied."),
    Relationship("USES_SAE", "Run", "SAE", "A dictionary that was used."),
    Relationship("ON", "Run", "Dataset", "The text that was read."),
    Relationship("COVERS", "Run", "Site", "A site that was analysed."),
)

INDEXES = (
    Index("observation_run_layer", "RANGE", "Observation", ("run", "layer")),
    Index("observation_run_id", "RANGE", "Observation", ("run", "id")),
    Index("affects_run_method", "RANGE", "AFFECTS", ("run", "method"), relationship=True),
    Index("ingest_batch_run", "RANGE", "IngestBatch", ("run",)),
    Index("behavior_run_name", "RANGE", "Behavior", ("run", "name")),
    Index("motif_run_name", "RANGE", "Motif", ("run", "name")),
    Index("feature_labels", "FULLTEXT", "Feature", ("label",)),
    Index("feature_decoder", "VECTOR", "Feature", ("decoder",)),
)
#: (name of the constraint, label, property) of every unique key.
UNIQUE_KEYS = (*((f"{n.label.lower()}_{n.key}", n.label, n.key) for n in NODES), ("run_n", "Run", "n"))
_VECTOR_OPTIONS = "{indexConfig: {`vector.similarity_function`: 'cosine', `vector.quantization.enabled`: false}}"


def constraint_statements() -> list[str]:
    """Cypher that makes every key unique."""
    return [f"CREATE CONSTRAINT {name} IF NOT EXISTS FOR (x:{label}) REQUIRE x.{key} IS UNIQUE" for name, label, key in UNIQUE_KEYS]


def index_statements() -> list[str]:
    """Cypher that makes every index."""
    return [_index_statement(index) for index in INDEXES]


def _index_statement(index: Index) -> str:
    pattern = f"()-[x:{index.on}]-()" if index.relationship else f"(x:{index.on})"
    on = ", ".join(f"x.{name}" for name in index.properties)
    if index.kind == "FULLTEXT":
        return f"CREATE FULLTEXT INDEX {index.name} IF NOT EXISTS FOR {pattern} ON EACH [{on}]"
    if index.kind == "VECTOR":
        return f"CREATE VECTOR INDEX {index.name} IF NOT EXISTS FOR {pattern} ON ({on}) OPTIONS {_VECTOR_OPTIONS}"
    return f"CREATE INDEX {index.name} IF NOT EXISTS FOR {pattern} ON ({on})"
