# %% [markdown]
# # Tutorial: from a language model to a causal graph in Neo4j
#
# A sparse autoencoder (SAE) writes a model's residual stream as a sum of *features*. This tutorial finds out which of these features
# **drive** which others, draws the result, asks questions about it, and puts it into a real Neo4j database, where you can go on with Cypher
# and the Graph Data Science library (GDS).
#
# It runs on the bundled model (SmolLM2-135M-Instruct, with SAEs that come with this library), so nothing is downloaded from a model hub.
# No step depends on this model: for another one, change only the configuration in step 1.
#
# | step | function | file |
# |---|---|---|
# | what the features do on text | `collect_activations` | `activations.h5` |
# | which are active together | `build_coactivation_atlas` | `atlas.h5` |
# | which pairs are worth an experiment | `identify_candidates` | `candidates.parquet` |
# | the experiments | `measure_interactions` | `interactions.parquet` |
# | the graph | `build_interaction_graph` | `graph.graphml`, `graph.json` |
# | questions, pictures, behaviours, steering | `analysis`, `visualization`, `subgraphs`, `steering` | `*.html` |
# | the database | `store`, `queries` | Neo4j |

# %% tags=["script"]
import sys

if "--help" in sys.argv or "-h" in sys.argv:  # only when this file is run as a script
    print("usage: python examples/worked_example.py\n\nFrom the model to Neo4j. The settings are in the cell under 'Configuration'.")
    sys.exit(0)

# %% [markdown]
# ## 1. Configuration
#
# The numbers below are for a first look; with them the whole tutorial takes a few minutes on two cores. For results to rely on, use
# `n_tokens` of 200,000 or more, `top_k_features` of 200 and `n_intervention_samples` of 100. For GPT-2-small add four fields:
# `model_name="gpt2-small"`, `sae_release="gpt2-small-res-jb"`, `sae_id_template="blocks.{layer}.hook_resid_post"` and
# `layers=list(range(12))`.
#
# The environment variables `EXAMPLE_OVERRIDES` (a JSON object of fields) and `EXAMPLE_HOME` (the folder of the database) change this cell
# from outside; the test suite uses them to run the tutorial at a small size.

# %%
import json
import os
from collections import Counter
from pathlib import Path

import torch

from feature_graph.config import Config
from feature_graph.utils import set_seed, setup_logging

setup_logging("INFO")
set_seed(42)

settings = {
    "device": "cuda" if torch.cuda.is_available() else "cpu",
    "n_tokens": 20_000,
    "context_length": 128,
    "batch_size": 8,
    "top_k_features": 40,
    "layer_window": 2,
    "interaction_method": "clamping",
    "n_intervention_samples": 20,
    "significance_level": 0.05,
    "correction_method": "fdr_bh",
    "output_dir": "outputs/example",
    "seed": 42,
}
cfg = Config(**(settings | json.loads(os.environ.get("EXAMPLE_OVERRIDES", "{}"))))
out = Path(cfg.output_dir)
database_home = Path(os.environ.get("EXAMPLE_HOME", ".feature-graph"))

cfg.save(out / "config.json")
print(f"layers {cfg.layers} of {cfg.model_name}, top {cfg.top_k_features} features each, results in {out}")

# %% [markdown]
# ## 2. Model and SAEs
#
# `saes` is a mapping from layer to SAE. Any TransformerLens model with SAELens SAEs on its residual stream can take their place.

# %%
from feature_graph.loading import get_sae_dict_size, load_model_and_saes

model, saes = load_model_and_saes(cfg)

print(f"{cfg.model_name}: {model.cfg.n_layers} blocks, d_model {model.cfg.d_model}")
for layer in sorted(saes):
    print(f"  layer {layer}: {get_sae_dict_size(saes[layer])} features, read at {saes[layer].cfg.metadata.hook_name}")

# %% [markdown]
# ## 3. Activations
#
# The text goes through the model once, and the activation of each feature at each token is kept on disk as sparse matrices. Documents are
# split into three parts by a seeded hash: 40 % to *choose* pairs, 40 % to *test* them, and 20 % to *confirm* what the test found.

# %%
from feature_graph.activations import collect_activations

activation_store = collect_activations(model, saes, cfg)

print(f"{activation_store.n_tokens} tokens, layers {activation_store.layers}")
for layer in activation_store.layers:
    active = activation_store.activations[layer]
    frequency = activation_store.feature_frequencies[layer]
    alive = frequency > 0
    print(f"  layer {layer}: {alive.sum()} of {active.shape[1]} features ever active, mean frequency {frequency[alive].mean():.4f}")

activation_store.save(out / "activations.h5")

# %% [markdown]
# ## 4. Co-activation
#
# How much more often than by chance is a downstream feature active where an upstream one is? The atlas keeps joint counts,
# from which pointwise mutual information (PMI) and conditional probabilities follow. This is correlation: it helps to choose the
# experiments and proves nothing.

# %%
from feature_graph.coactivation import build_coactivation_atlas

atlas = build_coactivation_atlas(activation_store, cfg)

for source, target in atlas.layer_pairs:
    pmi = atlas.pmi[source, target]
    print(f"  {source} → {target}: {pmi.nnz:,} pairs seen together, of {pmi.shape[0] * pmi.shape[1]:,}")

atlas.save(out / "atlas.h5")

# %% [markdown]
# ## 5. Candidates
#
# A pair is worth an experiment if it passes four filters: both features are among the most important of their layers (by frequency ×
# measured effect on the output), they are active together often enough, the source's direction is aligned with the target through the
# blocks between them, and the target lies within the layer window. A few of the removed pairs are measured all the same, so that the
# pruning itself can be judged.

# %%
from feature_graph.candidates import identify_candidates

candidates = identify_candidates(atlas, saes, cfg, activation_store=activation_store, model=model)

print(f"{len(candidates)} pairs to measure")
for (source, target), n in sorted(Counter((c.src.layer, c.tgt.layer) for c in candidates).items()):
    print(f"  layer {source} → {target}: {n}")
for c in candidates[:5]:
    print(
        f"  {c.src_id} → {c.tgt_id}  PMI {c.pmi:+.2f}  P(target | source) {c.coactivation_prob:.3f}  alignment {c.decoder_alignment:+.3f}"
    )

candidates.save(out / "candidates.parquet")

# %% [markdown]
# ## 6. The experiments
#
# For each source, at tokens of the *test* documents where it is active, its activation is set once to a high level (the 90th percentile of
# its active values) and once to 0, at that one position. Everything else in the residual stream stays as it is, and the blocks downstream
# run again. The change of the target per unit of the source is the total effect of the pair, `mean_strength`: if it is positive, the
# source excites the target; if it is negative, it inhibits it, unless it only takes back some
# of what the residual stream carries of the source (types `attenuates_copy` and `erases_copy`).
#
# **`p_value` and `q_value`.** What is tested is not whether an effect differs from 0, but whether it is larger, in either direction, than
# the smallest effect that counts (`min_effect`). `r.p_value` is the p-value of this one test for the total effect, uncorrected. Among
# thousands of pairs without an effect, up to 5 % fall below 0.05 by chance, so counting `p_value < 0.05` overstates what was found.
# `r.q_value` is corrected for all tests of the run (`correction_method`): pairs are first chosen by all their effects together, then the
# effects of the chosen pairs are tested, and `q_value` is the smallest level at which the total effect passes. A pair becomes an edge of
# the graph if its total, computed, direct or later effect passes (`r.significant`).

# %%
from feature_graph.interactions import measure_interactions

interactions = measure_interactions(model, saes, candidates, cfg)

print(f"{len(interactions)} pairs measured:", dict(Counter(r.interaction_type for r in interactions)))
raw = [r for r in interactions if r.p_value < cfg.significance_level]
adjusted = [r for r in interactions if r.q_value < cfg.significance_level]
significant = [r for r in interactions if r.significant]
print(
    f"{len(raw)} have p < {cfg.significance_level}, {len(adjusted)} have q < {cfg.significance_level}; {len(significant)} enter the graph"
)
for r in sorted(significant, key=lambda r: r.abs_strength, reverse=True)[:10]:
    interval = f"[{r.ci_low:+.3f}, {r.ci_high:+.3f}]"
    print(f"  {r.src_id} → {r.tgt_id}  {r.interaction_type}  {r.mean_strength:+.4f} {interval}  p {r.p_value:.1e}  q {r.q_value:.1e}")

interactions.save(out / "interactions.parquet")

# %% [markdown]
# Much of what a feature does to a downstream one is simply that its direction is still in the residual stream. `copy_strength` is that
# part, and `computed_strength` is what the blocks in between add to it or take away from it. `direct_strength` is the part that does not
# pass through the features of the sites in between. Where the computed effect passes the test and opposes the copy, the type of the pair
# is `attenuates_copy` if part of the copy is left, and `erases_copy` if less than the smallest effect that counts is left.

# %%
copied = [r for r in significant if abs(r.copy_strength) > abs(r.computed_strength)]
print(f"{len(copied)} of {len(significant)} edges are mostly copied along the residual stream")
confirmed = [r for r in significant if r.replicated]
print(f"{len(confirmed)} replicate, with the same sign, on the documents kept for confirmation")

# %% [markdown]
# ## 7. The graph
#
# `write_features` labels each feature with the tokens at which it is most active.

# %%
import pandas as pd

from feature_graph.activations import write_features
from feature_graph.analysis import compute_graph_statistics, count_motifs, detect_communities, find_hubs
from feature_graph.graph import build_interaction_graph, save_graph

write_features(out / "features.parquet", candidates, model)
G = build_interaction_graph(interactions, cfg, features=pd.read_parquet(out / "features.parquet"))

save_graph(G, out / "graph.graphml", format="graphml")
save_graph(G, out / "graph.json", format="json")
print(compute_graph_statistics(G).summary())

# %%
hubs = find_hubs(G, top_k=10, metric="total_degree")
for hub in hubs:
    print(f"  {hub['id']}: degree {hub['total_degree_score']}, in {hub['in_degree']}, out {hub['out_degree']}  {hub['label']}")

communities = sorted(detect_communities(G), key=len, reverse=True)
print(f"{len(communities)} communities")
for number, members in enumerate(communities[:3]):
    for feature in sorted(members)[:3]:
        print(f"  {number} ({len(members)} features)  {feature}, layer {G.nodes[feature]['layer']}: {G.nodes[feature]['label']}")

for motif, count in count_motifs(G).items():
    print(f"  {motif}: {count}")

# %% [markdown]
# ## 8. Pictures
#
# The pages work offline. A figure is `None` where there is nothing to draw.

# %%
from feature_graph.visualization import (
    plot_degree_distribution,
    plot_interaction_type_breakdown,
    plot_layer_distance_decay,
    render_interactive_graph,
    render_neighborhood,
)

render_interactive_graph(G, out / "full_graph.html")
if hubs:
    render_neighborhood(G, hubs[0]["id"], n_hops=1, output_path=out / "top_hub_neighborhood.html")

for plot in (plot_degree_distribution, plot_layer_distance_decay, plot_interaction_type_breakdown):
    figure = plot(G)
    if figure:
        figure.show()

# %% [markdown]
# ## 9. Behaviours
#
# Which features carry *factual recall* ("The capital of France is" → " Paris")? All features are ranked by an attribution score on half of
# the prompts, and the highest-ranking ones are ablated there. The seeds found in this way are tested by ablation on the other half, which
# has no country in common with the first. `effect_size` is the logit difference that is lost when the feature is ablated.

# %%
from feature_graph.subgraphs import PREDEFINED_BEHAVIORS, extract_behavior_subgraph, save_behaviors

for behavior in PREDEFINED_BEHAVIORS.values():
    print(f"  {behavior.name}: {len(behavior.pairs)} prompts. {behavior.description}")

recall = extract_behavior_subgraph(model, saes, G, behavior="factual_recall", cfg=cfg, n_hops=2, top_k_seeds=10)
print(recall.summary())
for seed in recall.seed_features[:3]:
    print(f"  {seed['feature_id']}: effect {seed['effect_size']:+.3f}, confirmed: {seed['confirmed']}")

save_behaviors(out / "behaviors.json", [recall])
if recall.subgraph.number_of_nodes() > 0:
    seeds = [seed["feature_id"] for seed in recall.seed_features]
    render_interactive_graph(recall.subgraph, out / "factual_recall_subgraph.html", title="Factual recall", seed_nodes=seeds)

# %% [markdown]
# ## 10. Steering
#
# What follows if a feature is turned up by two activation units at one position? Direct strengths are multiplied along every path and
# summed over all paths. This is a first-order forecast: the effects of large steers saturate, and a feature that is off stays at zero
# until it is raised above its threshold.

# %%
from feature_graph.steering import predict_cascade
from feature_graph.visualization import render_cascade_overlay

drivers = find_hubs(G, top_k=1, metric="out_degree")
if drivers:
    cascade = predict_cascade(G, drivers[0]["id"], steer_delta=2.0, n_hops=2)
    print(cascade.summary())
    render_cascade_overlay(G, cascade, out / "cascade.html")

# %% [markdown]
# ## 11. Neo4j
#
# `server.start` brings up an embedded Neo4j with GDS and Neo4j Browser (the command is `feature-graph db start`). It listens on this
# machine only, with a random password. To use your own server, set `NEO4J_URI`, `NEO4J_USERNAME` and `NEO4J_PASSWORD` and call
# `store.connect()` without arguments.

# %%
from feature_graph.database import server, store

server.start(database_home)
address = server.connection(database_home)
database = store.connect(address.uri, address.username, address.password)

report = database.ingest(out)  # the same run again changes nothing
print(report.summary())
print(database.cypher("MATCH (r:Run) RETURN r.id AS run, r.status AS status, r.nodes AS nodes, r.edges AS edges"))

# %% [markdown]
# Saved questions are files in `queries/`. `queries.names()` lists them, and `feature-graph query NAME` asks one on the command line.

# %%
import queries

pd.set_option("display.width", 140, "display.max_columns", 20, "display.max_colwidth", 32)
print(queries.names())
print(database.query("hubs", measure="degree", limit=5))
print(database.query("strongest", effect="computed", limit=5))
if drivers:
    print(database.query("cascade", feature=drivers[0]["id"], delta=2.0, limit=5))

# %% [markdown]
# Graph Data Science computes scores on the graph of structural edges (edges to the next site, or with a direct effect that is itself
# significant), and the scores are written back to the features of the run.

# %%
for algorithm in ("degree", "pagerank", "leiden"):
    print(store.analyze(database, algorithm).head(5))

database.close()
server.stop(database_home)

# %% [markdown]
# The database stays on disk: `feature-graph db start` starts it again, and `feature-graph db browser` opens it in Neo4j Browser.

# %%
print("files in", out)
for path in sorted(out.iterdir()):
    print(f"  {path.name}: {path.stat().st_size:,} bytes")
