"""From nodes and links to the features and edges of a run.

A node is a feature at one position of one prompt; a Feature of the graph schema is the feature. So:

1. Nodes of one feature are merged, over the positions and over the prompts of all files. With n of them, and w(s → t) the weight of a
   link, the edge from A to B is (1/n) Σ_a Σ_b w(a → b) / activation(a): what a unit of A at one position adds to B at this and all later
   positions. ``later_strength`` is the part of it that falls on later positions.
2. A weight is the source's contribution to the target before its non-linearity, by paths that pass no other feature (attention and
   normalisation frozen at the prompt). Divided by the source's activation it is a derivative, in target units per source unit: the
   direct effect. The total effect was not measured; the direct one stands in its place. There was no test: p, q, se are null.
3. Links of embeddings, reconstruction errors and logits are left out, since they are features of no dictionary. How much that is stands
   in the run's facts. Links into the target logit become the seeds of a behaviour, one per prompt; pinned features are its members.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ingest.attribution_graphs.edges import PLACE, Unit, edge_table, inner_links
from ingest.attribution_graphs.labels import labels_of
from ingest.attribution_graphs.names import Names, Naming
from ingest.attribution_graphs.read import AttributionGraph, GraphError
from ingest.attribution_graphs.tell import Imported, facts_of
from ingest.attribution_graphs.together import names_together
from ingest.feature_ids import feature_id
from ingest.formats import FEATURES, INTERACTIONS, write_table
from ingest.rundir import BEHAVIORS, CONFIG, MANIFEST, sha256_file

#: Kind of dictionary → name of the site and its place in the layer, in graphs that have both; and the hook.
_SITES = {"attention": ("attn", 0), "mlp": ("mlp", 1)}
_HOOKS = {"attention": ".attn", "mlp": ".mlp"}


def import_graph(graph: AttributionGraph, out_dir: str | Path, naming: Naming | None = None, unit: Unit = "source") -> Imported:
    """Write the run directory of one attribution graph. Arguments and errors as for :func:`import_graphs`."""
    return import_graphs([graph], out_dir, naming, unit)


def import_graphs(graphs: Sequence[AttributionGraph], out_dir: str | Path, naming: Naming | None = None, unit: Unit = "source") -> Imported:
    """Write the run directory of the attribution graphs of one or several prompts.

    Args:
        graphs: What :func:`ingest.attribution_graphs.read_graph` gave; of one model and the same dictionaries.
        out_dir: A new or empty folder.
        naming: Names that the files do not have.
        unit: ``source`` divides each weight by the activation of its source; ``contribution`` keeps the weights as they are.

    Raises:
        GraphError: If the graphs are of different models or dictionaries, or these cannot be told apart; if the folder is not empty,
            nothing is left to write, or a source has no activation to divide by.
    """
    root = Path(out_dir)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise GraphError(f"{root} exists and is not an empty folder; nothing was written. Choose a new one")
    names = names_together(graphs, naming or Naming())
    nodes = _nodes(graphs)
    features, differing = _feature_table(nodes, graphs, names)
    inner = inner_links(graphs, nodes, unit)
    edges = edge_table(inner, nodes, features)
    if edges.empty:
        raise GraphError(f"{', '.join(str(g.path) for g in graphs)}: no links between features; there is nothing to import")
    behaviors = _behaviors(graphs, nodes)
    facts = facts_of(graphs, nodes, inner, edges, behaviors) | {
        "unit": "target units per source unit" if unit == "source" else "contribution to the target",
        "labels_that_differ": differing,
        "tests": "none",
    }
    _write(root, _config(graphs, names, unit), features, edges, facts, behaviors)
    return Imported(root, len(features), len(edges), facts)


def _nodes(graphs: Sequence[AttributionGraph]) -> pd.DataFrame:
    """All feature nodes with the number of their ``graph``, their ``site`` ("" where all are of one kind), its ``order``, and ``id``."""
    nodes = pd.concat([g.features.assign(graph=i) for i, g in enumerate(graphs)], ignore_index=True)
    several = nodes["kind"].nunique() > 1
    nodes["site"] = nodes["kind"].map({kind: site for kind, (site, _) in _SITES.items()}) if several else ""
    nodes["order"] = nodes["kind"].map({kind: order for kind, (_, order) in _SITES.items()}).astype(int) if several else 0
    places = zip(nodes["layer"], nodes["index"], nodes["site"], strict=True)
    return nodes.assign(id=[feature_id(*place) for place in places])


def _sites(features: pd.DataFrame) -> list[dict[str, Any]]:
    """Facts of the sites of a graph that has two in a layer: attention and MLP of every layer up to the last."""
    if not features["site"].any():
        return []
    layers = range(int(features["layer"].max()) + 1)
    return [{"layer": layer, "site": site, "order": order} for layer in layers for site, order in _SITES.values()]


def _write(
    root: Path, config: dict[str, Any], features: pd.DataFrame, edges: pd.DataFrame, facts: dict[str, Any], behaviors: list[dict[str, Any]]
) -> None:
    root.mkdir(parents=True, exist_ok=True)
    _write_json(root / CONFIG, config)
    sites = _sites(features)
    table = pa.Table.from_pandas(features[FEATURES.names], preserve_index=False)
    write_table(root / FEATURES.name, FEATURES, table, {"sites": sites} if sites else None)
    write_table(root / INTERACTIONS.name, INTERACTIONS, pa.Table.from_pandas(edges, preserve_index=False), facts)
    if behaviors:
        _write_json(root / BEHAVIORS, {"kind": "behaviors", "version": 1, "behaviors": behaviors})
    marks = {name: {"sha256": sha256_file(root / name)} for name in (FEATURES.name, INTERACTIONS.name)}
    _write_json(root / MANIFEST, {"versions": {}, "stages": {"import": {"artifacts": marks, "left_out": facts["left_out"]}}})


def _feature_table(nodes: pd.DataFrame, graphs: Sequence[AttributionGraph], names: Names) -> tuple[pd.DataFrame, int]:
    """Columns of features.parquet and the place, one row per feature, by place; and how many have labels that differ."""
    places = nodes.assign(place=nodes["graph"].astype(str) + "/" + nodes["position"].astype(str))
    frame = (
        places.groupby(PLACE, sort=True)
        .agg(
            id=("id", "first"),
            kind=("kind", "first"),
            site=("site", "first"),
            mean_act=("activation", "mean"),
            max_act=("activation", "max"),
            places=("place", "nunique"),
        )
        .reset_index()
    )
    labels, differing = labels_of(nodes, graphs)
    layer, index, kind = frame["layer"].astype(str), frame["index"].astype(str), frame["kind"]
    table = frame.assign(
        fid=np.arange(len(frame)),
        uid=f"{names.model}/" + kind.map(names.releases) + "/layer." + layer + "/" + index,
        hook="blocks." + layer + kind.map(_HOOKS),
        label=labels.reindex(frame["id"]).to_numpy(),
        density=frame["places"] / sum(len(g.metadata["prompt_tokens"]) for g in graphs),
        decoder_norm=np.nan,
        dead=False,
        dense=pd.array([None] * len(frame), "boolean"),
        importance=np.nan,
        neuronpedia_url=[_page(names, *place) for place in zip(kind, layer, index, strict=True)],
    )
    return table, differing


def _page(names: Names, kind: str, layer: str, index: str) -> str:
    before, after = names.pages.get(kind, ("", ""))
    return f"{before}{layer}{after}{index}" if before else ""


def _config(graphs: Sequence[AttributionGraph], names: Names, unit: Unit) -> dict[str, Any]:
    prompts = "\n".join(str(g.metadata["prompt"]) for g in graphs)
    text = {"dataset": "prompt", "dataset_split": hashlib.sha256(prompts.encode("utf-8", "replace")).hexdigest()[:8]}
    size = {"n_tokens": sum(len(g.metadata["prompt_tokens"]) for g in graphs)}
    sources = [_source(g) for g in graphs]
    graph = {"attribution_graph": sources[0]} if len(sources) == 1 else {"attribution_graphs": sources}
    return {"model_name": names.model_name, "sae_release": next(iter(names.releases.values())), "unit": unit} | graph | text | size


def _source(graph: AttributionGraph) -> dict[str, Any]:
    """What a file says of itself."""
    metadata = graph.metadata
    kept = {k: metadata[k] for k in ("slug", "scan", "prompt", "node_threshold", "transcoder_list", "schema_version") if k in metadata}
    parts = ("feature_details", "generation_settings", "pruning_settings", "info")
    return kept | {k: metadata[k] for k in parts if isinstance(metadata.get(k), dict)} | {"sha256": graph.sha256}


def _behaviors(graphs: Sequence[AttributionGraph], nodes: pd.DataFrame) -> list[dict[str, Any]]:
    """One per prompt, named after it; a second graph of one name gets a number."""
    found: list[dict[str, Any]] = []
    for number, graph in enumerate(graphs):
        behavior = _behavior(graph, nodes[nodes["graph"] == number])
        if behavior:
            same = sum(b["name"] == behavior["name"] or b["name"].startswith(f"{behavior['name']} (") for b in found)
            found.append(behavior | {"name": f"{behavior['name']} ({same + 1})"} if same else behavior)
    return found


def _behavior(graph: AttributionGraph, nodes: pd.DataFrame) -> dict[str, Any] | None:
    """The target logit with the features that are linked to it, by size of their contribution; None without."""
    if graph.logits.empty:
        return None
    target = graph.logits.sort_values(["target", "token_prob"], ascending=False).iloc[0]
    into = graph.links[graph.links["target"] == target["node_id"]].merge(nodes, left_on="source", right_on="node_id")
    effect = into.groupby([*PLACE, "id"])["weight"].sum().droplevel(PLACE)
    ranked = effect.loc[effect.abs().sort_values(ascending=False, kind="stable").index]
    seeds = [{"id": name, "effect": float(value), "rank": rank} for rank, (name, value) in enumerate(ranked.items(), 1)]
    metric = f"{target['label']}: its probability; seeds by direct contribution to its logit"
    values = {"metric": metric, "clean": float(target["token_prob"]), "ablated": None, "confirmed": False, "seeds": seeds}
    pinned = nodes[nodes["node_id"].isin(graph.pinned)].sort_values(PLACE)["id"]
    if len(pinned):
        values |= {"members": list(dict.fromkeys([*pinned, *(s["id"] for s in seeds)]))}
    return {"name": str(graph.metadata["slug"]), "prompts": [str(graph.metadata["prompt"])]} | values if seeds else None


def _write_json(path: Path, value: dict[str, Any]) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    path.write_bytes(text.encode("utf-8", "replace"))
