"""Write docs/schema.md and docs/artifacts.md from the code: ``python -m ingest.docs [FOLDER]``."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from ingest import schema
from ingest.formats import CANDIDATES, DECODERS, FEATURES, INTERACTIONS, Column, FileFormat
from ingest.measures import MEASURES
from ingest.migrations import migrations
from ingest.rundir import BEHAVIORS, BLOCK_ROWS, CONFIG, MANIFEST, OUTSIDE_IDENTITY

_MADE = "<!-- Made by `python -m ingest.docs`; do not edit. -->\n"


def schema_page() -> str:
    """docs/schema.md."""
    parts = [
        "# The graph schema",
        _MADE,
        f"Schema version {schema.VERSION}. Every property is listed; those marked *optional* may be absent. There are no constraints other "
        "than keys, because the Community edition has no others; `feature-graph query audit` checks a run instead.",
        "## Nodes",
        *[_node(node) for node in schema.NODES],
        "## Relationships",
        *[_relationship(relationship) for relationship in schema.RELATIONSHIPS],
        "## Keys and indexes",
        "```cypher\n" + ";\n".join(schema.constraint_statements() + schema.index_statements()) + ";\n```",
        "## Migrations",
        "Applied in order and recorded in `SchemaVersion` with the sha256 of their text. A database with a newer or an altered history is "
        "refused.",
        _table(("number", "file", "sha256"), ((str(m.n), f"`{m.name}`", f"`{m.checksum[:16]}…`") for m in migrations())),
        "## Rules that hold",
        _RULES,
    ]
    return "\n\n".join(parts).replace("-->\n\n\n", "-->\n\n") + "\n"


def artifacts_page() -> str:
    """docs/artifacts.md."""
    parts = [
        "# The files of a run",
        _MADE,
        "Another program's results can be loaded if they have this form. MUST and MAY have their usual meaning in specifications. "
        "`feature-graph ingest` checks everything before it writes anything; an error names the file, the row and the reason.",
        _DIRECTORY.format(
            config=CONFIG, manifest=MANIFEST, behaviors=BEHAVIORS, outside=", ".join(f"`{n}`" for n in sorted(OUTSIDE_IDENTITY))
        ),
        *[_format(fmt) for fmt in (FEATURES, INTERACTIONS, DECODERS, CANDIDATES, *MEASURES.values())],
        _RESPONSES,
        _REST.format(behaviors=BEHAVIORS, block=BLOCK_ROWS),
        _ATTRIBUTION,
    ]
    return "\n\n".join(parts).replace("-->\n\n\n", "-->\n\n") + "\n"


_RULES = """- `AFFECTS` goes from an earlier site to a later one. There is one per run, method and pair.
- Questions about hubs, communities, motifs and cascades use the *structural* graph: edges with `structural`: no
  analysed site lies in between (`span` is 0 or 1, and no features were held in between), or the direct effect is itself significant (`by`
  contains `direct`). A total effect over sites in between is partly the sum of the edges there.
- `span` counts layers, and a layer may have several sites: `span = 0` is an edge from one site of a block to a later one of it. Runs of
  other programs may count sites instead. The sites of a run are its `Site` nodes; in the order of the model, `a.writes < b.reads` holds of
  the sites of every edge, where they have these properties.
- `strength` is the total effect, except where the total effect did not pass the test but the direct or the later one did: it is the direct
  effect if `by` begins with `direct`, and the later one if `by` is `later`; `total` then holds the total effect. Where `by` begins with
  `computed`, or is `later+computed`, `strength` is still the total effect, which may be close to 0.
- `sign` is the sign of `strength`, and 0 where `type` is `erases_copy`. The types `excitatory` and `inhibitory` say the same in words;
  `pass_through`, `attenuates_copy` and `erases_copy` describe the total effect.
- `computed` is the total effect minus `copy`, and `specific` is `computed` minus what the blocks compute from any direction.
  `sign_computed` and `sign_specific` are their signs: 0 where the effect is smaller than the smallest that counts (`floor_computed`), and
  absent where it was not measured. The total, computed and specific effects of one edge may differ in sign.
- An edge of type `attenuates_copy` or `erases_copy` is not inhibition, whatever its signs: its computed effect is taken from a copy.
  Questions that filter or count by sign leave it out of the inhibitory edges, and count it as `from_copy`. By its strength or its total
  effect, a copy that is attenuated and still raises the target is excitatory.
- Runs that were loaded before schema version 7 have `computed`, but neither `q_computed` nor specificity, and `sign_computed` only where
  the computed effect passed the test; to have all of it, drop such a run and load it again. Loading it again without dropping it only adds
  its families.
- A `Family` is a chain of features of successive sites: each is mostly a copy of the one before (copy / total above 0.5, total effect above
  0.25), and each is the other's largest copy, to or from the nearest site that has one. A feature is in one family at most, per run and
  method.
- A `Feature` is shared between runs. What it shows of them (`label`, `density`, `importance`, scores) is a copy from the newest run that
  has it; `label_run` and `scores_run` say which. Loading a newer run overwrites the copy, and dropping that run brings back that of the
  next newest. What one run saw is its `Observation`, which nothing overwrites.
- The cost of an edge is −ln(|direct| / `Run.scale`), never negative.
- A run is immutable. Its number `n` identifies it on edges and observations and is never used twice; dropping it touches no other run."""

_DIRECTORY = """## The directory

| file | | |
|---|---|---|
| `{config}` | MUST | the configuration: a JSON object. `seed`, `sae_release`, `dataset`, `dataset_split`, `dataset_config`, `n_tokens`, \
`significance_level` and `correction_method` are read if present. |
| `features.parquet` | MUST | the features, see below |
| `interactions.parquet` | MUST | the measured pairs, see below |
| `{behaviors}` | MAY | behaviours and the features they rest on, see below |
| `{manifest}` | MAY | `versions` maps packages to versions, `saes` maps layers to facts about their sites, and in `stages` the \
`artifacts` of each stage map file names to `sha256`. A file whose hash differs from the recorded one is refused. |
| `decoders.parquet` | MAY | directions that features add to the residual stream, see below |
| `candidates.parquet` | MAY | the pairs that were to be measured; not loaded into the graph |
| `responses.h5` | MAY | response vectors, see below; not loaded into the graph |
| `seeds.json` | MAY | the seeds chosen for each of the run's behaviours, with their `id`; not loaded into the graph |
| `gates.parquet`, `doses.parquet`, `insertions.parquet`, `mediation.parquet` | MAY | further measures of chosen edges \
(`feature-graph probe`); not loaded into the graph |

A run's id is the first 16 hex digits of the sha256 over the configuration (without {outside}, which change only speed or location), the
model and the dictionaries, the seed, and the sha256 of `features.parquet` and `interactions.parquet`: the same result is the same run.

Every Parquet file has `kind` and `version` in its own key-value metadata (UTF-8), and MAY have `meta`, a JSON object. Columns may be in any
order; further columns are ignored. Numbers MUST be finite; a missing value is a null, and is allowed only where the table says so. Pages
SHOULD have checksums, which are verified; without them a few flipped bytes cannot always be detected.

A column MAY be absent where the table says so: it is then null in every row, has the value that is given, or is derived from other columns.
One that is derived MAY also be there with a null in every row.
A column MAY be of another type if nothing is lost: 32-bit or 64-bit numbers, large or dictionary-encoded text, 0 and 1 for truth values. A
value that would change is refused, with its column, its row and both types. `ingest.from_frames` writes a directory from plain tables
([your own edges](howto-own-edges.md)).

### What must agree

The strengths with their signs, the effects that passed and the order of the sites are taken as true, and a row that contradicts them is
refused. It is checked that `interaction_type` agrees with the sign (see its description); that `abs_strength` and `computed_strength`
follow from the other strengths; that `span` agrees with the sites in between; that `ci_low` and `ci_high` enclose `mean_strength`; that
`significant` agrees with `significant_by`; that each effect named there has a corrected p below the level (`level` in the metadata, else
`significance_level`) and is not below its floor; that `replicated` agrees with `confirm_strength`, or with `confirm_computed` where the
computed effect passed and the total one did not; and that there are no more documents than samples. Differences of one part in a million,
which float32 rounding leaves, are ignored. Of the features, `mean_act` must agree with `max_act`, and `dead` and `dense` with the density;
and each site must have one dictionary and one hook.

Edges go to a later layer, or within a layer to a later site of it, where ids name sites: `L5.attn_F12` to `L5.mlp_F3`. `meta` of
`features.parquet` then has `sites`, a list of `{{"layer": 5, "site": "attn", "order": 0}}`; `site` is empty for the residual stream, whose
ids name none, and `order` is the place within the layer. It MAY say more of a site: `kind` (residual, resid_mid, mlp_out, attn_out, hook_z,
mlp_in or transcoder), `point` (blocks run before it), `d_sae`, `d_in`, `sha256`. Without `order`, sites of a layer that are called `z`,
`attn`, `mid`, `mlpin`, `tc`, `mlp` or nothing follow each other in this order.

Where `sites` (or `layers` of the configuration) say which sites were analysed, `span` MUST be exact: the number of layers that are crossed,
the target's own counted, which is 0 within a layer, or the number of sites. Otherwise it lies between the number of layers that have
features and the number of layers or sites that there can be. `blocks` MUST be the difference of the layers."""

_RESPONSES = """## responses.h5

What one unit of a feature does to what is read at every later site, averaged over tokens of the select documents at which it is active. In
a run with dictionaries on components, `<layer>` is the name of a site, such as `L5.tc`. Not loaded into the graph.
An HDF5 file, `kind` = `responses`, `version` = `1` (attributes of the file), all numbers little-endian:

| path | | type | meaning |
|---|---|---|---|
| attribute `meta` | MUST | text | a JSON object; `dictionaries`: for each layer, the sha256 of its dictionary's weights; `text`: sha256 \
of the tokens; `config`: the fields of the configuration that the samples depend on; \
`left_out`: for each layer, how many features were left out for which reason |
| `sites/<layer>`, attribute `site` | MUST | text | a JSON object: the site with its hook, model and dictionary, as in `manifest.json` |
| `sources/<layer>/index` | MUST | int32 [n] | features that were measured, ascending |
| `sources/<layer>/n_tokens` | MUST | int32 [n] | tokens averaged over |
| `sources/<layer>/n_documents` | MUST | int32 [n, 2] | documents in each half |
| `responses/<source layer>-<later layer>/values` | MUST | float16 [n, 2, d_model] | half-means, divided by their scale: entries lie in \
−1 to 1 |
| `responses/<source layer>-<later layer>/scale` | MUST | float32 [n, 2] | largest absolute entry of each half-mean; 0 for a half without \
documents |
| `carried/<source layer>-<later layer>/values`, `scale` | MAY | as of `responses` | the part of the response that nothing computed (the \
copy), where it is not the source's own direction: with dictionaries on components |
| `generic/<source layer>-<later layer>/values`, `scale` | MAY | float16 [n, d_model], float32 [n] | what would have been computed there \
from any direction, fitted to other sources; divided by its scale |

A response is the derivative of the residual stream (or of the tensor that is read) at the later site along the source's decoder row,
scaled to length 1: units of length there per unit of activation, which is a unit of length, too. The direction itself (the copy) is part
of it. All documents count alike, as do all tokens of a document. Documents are divided into halves at random. The rounding to float16 is
at most 2⁻¹² of a half-mean's largest entry.

A loader without this library:

```python
import h5py
import numpy as np


def load_responses(path, source_layer, later_layer):
    # features [n] and their mean responses [n, d_model]
    with h5py.File(path) as file:
        pair, sources = file[f"responses/{source_layer}-{later_layer}"], file[f"sources/{source_layer}"]
        halves = pair["values"][:].astype(np.float32) * pair["scale"][:][..., None]
        documents = sources["n_documents"][:].astype(np.float32)
        weights = documents / documents.sum(axis=1, keepdims=True)
        return sources["index"][:], (halves * weights[..., None]).sum(axis=1)
```"""

_REST = """## {behaviors}

```json
{{"kind": "behaviors", "version": 1, "behaviors": [
  {{"name": "capital_of", "prompts": ["The capital of France is"], "metric": "logit difference",
   "clean": 2.5, "ablated": 0.5, "confirmed": true,
   "seeds": [{{"id": "L5_F190", "effect": 0.25, "rank": 1}}],
   "members": ["L5_F190", "L8_F206"],
   "outputs": [{{"feature_id": "L8_F206", "effect": 0.4, "q_value": 0.01, "significant": true}}]}}
]}}
```

`clean` and `ablated` MAY be null; `corrupted` (the metric on the corrupted prompts) and `accuracy` MAY be given. `members` are the
features of the behaviour's subgraph, seeds included; `outputs` are the effects that features write into the metric itself, past all later
blocks. Both MAY be left out; an output with `significant` false does not become a relationship. Any of these features MAY be missing from
`features.parquet`; its site MUST be one of the run's.

## What the files become

Every row of `features.parquet` becomes a `Feature` (shared between runs, by `uid`) and an `Observation` (of this run). Every row of
`interactions.parquet` with `significant` true becomes an `AFFECTS` edge, in blocks of {block:,} rows in file order. A block and its entry
in the ledger are in the graph together or not at all, so loading can be killed at any moment and repeated. See [the
schema](schema.md)."""


_ATTRIBUTION = """## Attribution graphs of circuit-tracer and Neuronpedia

```bash
feature-graph import attribution GRAPH.json… --output-dir RUN_DIR      # --release, --model, --model-hash, --unit contribution
feature-graph ingest RUN_DIR
feature-graph query strongest --param method=attribution
```

The command reads the JSON that circuit-tracer writes and Neuronpedia offers for download, one file per prompt, and writes a run of its own,
with method `attribution`. `python -m ingest.attribution_graphs GRAPH.json RUN_DIR` does the same for one file.

| in the JSON | becomes |
| --- | --- |
| node of a transcoder (`cross layer transcoder`), id `<layer>_<index>_<position>` or `<layer>_cro_<index>_<position>` | the feature \
`L<layer>_F<index>`; nodes at several positions, and in several prompts, are one feature. For an id of another form, `feature` is read, \
which pairs layer and index (schema version 1) |
| node of an attention dictionary (`lorsa`, `<layer>_lor_<index>_<position>`) | if there are transcoders as well, a site of its own before \
the MLP of its layer: `L<layer>.attn_F<index>` and `L<layer>.mlp_F<index>`, of the dictionaries that `neuronpedia_lorsa_source_set` names |
| link between two of them, `weight` | `direct_strength`: weight / activation of the source, summed over the target's positions, mean \
over the source's nodes in all files. It is what a unit of the source at one position adds to the target. The total effect was not \
measured; the direct effect is given in its place |
| the part of it on later positions | `later_strength` |
| target logit and its links | a behaviour with the graph's name, not confirmed, with the features that are linked to it; the pinned ones \
(`pinnedIds`) are its members |
| `qParams.clerps`, `clerp`, name of a supernode, in this order | the label; if there are several, that of the first file, and the command \
says how many features have others |
| `activation` | mean and largest activation |
| p, q, standard error, interval, copy, floors | null, because there is no test |
| tokens, reconstruction errors, biases, other logits, ids that stand for two nodes, and the links of all these; influences; supernodes \
and pins of other nodes | left out, and counted: in the command's answer, in the run's facts and in manifest.json |

**Whose features they are.** The dictionaries' name is read from `metadata.feature_details` or `metadata.info` (`neuronpedia_source_set`),
from a page of neuronpedia.org in `info.source_urls`, else from `transcoder_set`, `transcoder_list`, a repository of the Hugging Face hub
in `source_urls`, `feature_json_base_url` or a `scan` that is a repository. If these contradict each other, the file is refused. All files
of one command must be of one model and the same dictionaries. If a file names no dictionaries, they get a name made from its own hash,
`unnamed-…`; its features are then shared with no other file, and it is not imported together with others unless `--release` names the
dictionaries. If Neuronpedia has the dictionaries, `neuronpedia_url` is the page of each feature.

The file does not say which weights the model has, so the hash in the uids is `00000000`, and the features are shared with no other run. To
share them, give `--model-hash` with the hash of your other runs and `--release` with the name that they use."""


def _node(node: schema.Node) -> str:
    return f"### {node.label}\n\n{node.meaning} Key: `{node.key}`.\n\n" + _properties(node.properties)


def _relationship(relationship: schema.Relationship) -> str:
    head = f"### ({relationship.source})-[:{relationship.type}]->({relationship.target})\n\n{relationship.meaning}"
    return head + ("\n\n" + _properties(relationship.properties) if relationship.properties else "")


def _properties(properties: Iterable[schema.Property]) -> str:
    rows = ((f"`{p.name}`", p.type, _cell(p.meaning) + (" *(optional)*" if p.optional else "")) for p in properties)
    return _table(("property", "type", "meaning"), rows)


def _format(fmt: FileFormat) -> str:
    rows = ((f"`{c.name}`", c.type, _null(c), _absent(c), _cell(c.meaning)) for c in fmt.columns)
    head = f"## {fmt.name}\n\n{fmt.meaning} `kind` = `{fmt.kind}`, `version` = `{fmt.version}`."
    return head + "\n\n" + _table(("column", "type", "null", "if absent", "meaning"), rows)


def _null(column: Column) -> str:
    return f"may be, unless method is {' or '.join(column.required_of)}" if column.required_of else "may be" if column.nullable else ""


def _absent(column: Column) -> str:
    if column.derived_from:
        return "from " + ", ".join(f"`{name}`" for name in column.derived_from)
    return f"`{column.absent!r}`" if column.absent is not None else "null" if column.nullable else "MUST be there"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(arguments: list[str] | None = None) -> None:
    """Write both pages into the folder that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m ingest.docs", description="Write schema.md and artifacts.md from schema and formats.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("docs"), help="where to; made if absent (default: docs)")
    folder: Path = parser.parse_args(arguments).folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "schema.md").write_text(schema_page(), encoding="utf-8")
    (folder / "artifacts.md").write_text(artifacts_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
