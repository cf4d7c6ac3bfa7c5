"""The labels of the graph and their properties."""

from __future__ import annotations

from dataclasses import replace

from ingest.schema.parts import RUN, Node, Property

_SCORES = (
    *(
        Property(
            name,
            "FLOAT",
            f"score of the Analysis of kind {name}; for other parts of the run with a suffix: {name}_excitatory …",
            True,
        )
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

#: What a run observed of a feature; a Feature shows it, too.
_DISPLAYED = (
    Property("density", "FLOAT", "share of counted tokens at which the feature is active", True),
    Property("mean_act", "FLOAT", "mean activation where active", True),
    Property("max_act", "FLOAT", "largest activation", True),
    Property("dead", "BOOLEAN", "never active on the run's text", True),
    Property("dense", "BOOLEAN", "active at more than a fifth of the tokens", True),
    Property("importance", "FLOAT", "frequency × causal effect on the output", True),
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
            Property(
                "id",
                "STRING",
                'short id "L<layer>_F<index>", as named by the run that first loaded it; another dictionary may have the same, so name '
                "the model or the run, too; Observation.id is a run's own",
            ),
            Property("model", "STRING", "<model>@<weights hash>"),
            Property("release", "STRING", "SAE release"),
            Property("sae_id", "STRING", "SAE id that was really loaded"),
            Property("layer", "INTEGER", "layer as named by the run that first loaded it; Observation.layer is a run's own"),
            Property("hook", "STRING", "hook that is read"),
            Property("index", "INTEGER", "index in the dictionary"),
            Property("decoder_norm", "FLOAT", "norm of the decoder row as shipped", True),
            Property("neuronpedia_url", "STRING", "page of the feature", True),
            Property("label", "STRING", "display label: that of the newest run that gives one", True),
            Property("label_run", "INTEGER", "Run.n that gave the display label", True),
            *_DISPLAYED,
            Property(
                "scores_run",
                "INTEGER",
                "Run.n of the newest run that observed it; the properties from density to core are taken from that run",
                True,
            ),
            Property("scores", "LIST<STRING>", "which properties of this node come from that run's Analyses; absent if none do", True),
            *_SCORES,
            Property(
                "brought_by",
                "INTEGER",
                "Run.n of the run that made this node; absent if another program made it: then dropping a run never deletes it",
                True,
            ),
            Property(
                "filled",
                "LIST<STRING>",
                "on a node that another program made: properties that runs added, which stay as long as a run refers to it",
                True,
            ),
            Property("decoder", "LIST<FLOAT>", "what it adds to the residual stream, norm 1; absent if no run had decoders.parquet", True),
        ),
    ),
    Node(
        "Observation",
        "key",
        "What one run found about one feature.",
        (
            Property("key", "STRING", "<Run.n>/<Feature.uid>"),
            RUN,
            Property("id", "STRING", 'short id "L<layer>_F<index>", unique within the run'),
            Property("fid", "INTEGER", "dense number within the run"),
            Property("layer", "INTEGER", "layer as the configuration names it"),
            Property("label", "STRING", "top activating tokens in context, on this run's text"),
            *(replace(p, optional=p.name != "dead") for p in _DISPLAYED),
            *_SCORES,
        ),
    ),
    Node(
        "Site",
        "uid",
        "A dictionary with its place in the model: what a run covers. A layer may have several.",
        (
            Property("uid", "STRING", "<SAE.uid>@<hook>"),
            Property("name", "STRING", "what ids of its features begin with: L5, L5.mlp; as named by the run that first loaded it", True),
            Property("layer", "INTEGER", "number of its block, as named by the run that first loaded it"),
            Property(
                "kind",
                "STRING",
                "residual, resid_mid, mlp_out, attn_out, hook_z, mlp_in or transcoder; absent if the run did not say",
                True,
            ),
            Property(
                "reads",
                "INTEGER",
                "place of the tensor that it reads in the order of the model, six per block: stream, z, attention output, stream between, "
                "MLP input, MLP output; an effect goes from a site to one that reads later than it writes. Absent where kind is",
                True,
            ),
            Property("writes", "INTEGER", "place of the tensor that it writes, in the same order; another one for transcoders only", True),
            Property("hook", "STRING", "hook that is read"),
            Property("point", "INTEGER", "transformer blocks run before this residual exists; on a component, before its own block", True),
            Property("d_in", "INTEGER", "width of the tensor that is read", True),
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
            Property("facts", "STRING", "what the measurement reports about itself (family sizes, what was left out …), as JSON", True),
            Property("methods", "LIST<STRING>", "methods that its edges have"),
            Property("layers", "LIST<INTEGER>", "layers that it covers, ascending"),
            Property("alpha", "FLOAT", "level of the corrected p-value", True),
            Property("correction", "STRING", "correction for multiple tests", True),
            Property("measured", "INTEGER", "measured (source, target, method) triples, significant or not"),
            Property("scale", "FLOAT", "largest |direct| of its edges; cost of an edge = −ln(|direct| / scale)"),
            Property("nodes", "INTEGER", "features observed"),
            Property("edges", "INTEGER", "edges"),
            Property("digest", "STRING", "sum of the hashes of all observations and edges, in any order, as they were loaded"),
            Property(
                "digest_version",
                "INTEGER",
                "how the digest was made; 1 by programs before schema version 6, 2 before version 7, 3 before version 8",
            ),
            Property("selection", "STRING", "which of its edges were loaded, as JSON; only if not all were", True),
            Property("whole", "STRING", "id that the run has with all its edges; only if not all were loaded", True),
            Property("rejected", "INTEGER", "rows left out because they are wrong", True),
            Property("created", "INTEGER", "ms since 1970 when loading began"),
            Property("finished", "INTEGER", "ms since 1970 when it became ready", True),
            Property("lease_owner", "STRING", "process that is loading it", True),
            Property("lease_since", "INTEGER", "ms since 1970 when that process began", True),
            Property("lease_at", "INTEGER", "ms since 1970 of that process's last sign of life", True),
            Property("error", "STRING", "why loading failed", True),
            Property("families", "INTEGER", "copy families that were stored; absent if an earlier version loaded it", True),
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
            RUN,
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
        "One algorithm over one run; its scores are on Observations.",
        (
            Property("uid", "STRING", "<Run.n>/<kind>"),
            RUN,
            Property("kind", "STRING", "algorithm, and the part of the run where it is not the default: pagerank, leiden_excitatory …"),
            Property("algorithm", "STRING", "name of the algorithm", True),
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
            RUN,
            Property("kind", "STRING", "kind of the Analysis"),
            Property("community", "INTEGER", "its number, 1 = largest"),
            Property("size", "INTEGER", "features in it"),
            Property("modularity", "FLOAT", "its part of the modularity of the whole partition", True),
            Property("conductance", "FLOAT", "share of its edges' magnitude that leaves it", True),
        ),
    ),
    Node(
        "Family",
        "uid",
        "A copy family of a run: features of successive sites, each mostly a copy of the one before. They are written last; if an earlier "
        "version loaded the run, loading it again adds them.",
        (
            Property("uid", "STRING", "<Run.n>/<method>/<short id of the first member>"),
            RUN,
            Property("run_id", "STRING", "first 8 digits of that run's id"),
            Property("id", "STRING", "short id of the first member, which stands for all"),
            Property("method", "STRING", "method of the edges between the members"),
            Property("first_layer", "INTEGER", "layer of the first member"),
            Property("last_layer", "INTEGER", "layer of the last member"),
            Property("lifetime", "INTEGER", "last_layer − first_layer"),
            Property("size", "INTEGER", "members, one per site"),
            Property("copy_share", "FLOAT", "mean of copy / total over the edges from one member to the next"),
        ),
    ),
    Node(
        "Motif",
        "uid",
        "A signed motif of a run, compared with null graphs that keep layers, degrees and signs.",
        (
            Property("uid", "STRING", "<Run.n>/<name>"),
            RUN,
            Property("name", "STRING", "name of the motif, such as ffl_i1"),
            Property("place", "INTEGER", "place in the table of motifs"),
            Property("pattern", "STRING", "the motif in its text form; several joined by | where it is a sum of them", True),
            Property("meaning", "STRING", "what it is, in words", True),
            Property("count", "INTEGER", "exact number of subgraphs of this kind"),
            Property("null_mean", "FLOAT", "mean number in the null graphs", True),
            Property("null_sd", "FLOAT", "standard deviation there", True),
            Property("z", "FLOAT", "(count − null_mean) / null_sd", True),
            Property("p", "FLOAT", "two-sided empirical p; absent where the degrees alone fix the number", True),
            Property("q", "FLOAT", "p corrected for the motifs (Benjamini and Hochberg)", True),
        ),
    ),
    Node(
        "IngestBatch",
        "key",
        "Ledger: this block of this file is in the graph, exactly once.",
        (
            Property("key", "STRING", "<Run.n>/<sha256 of the file>/<block>"),
            RUN,
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
