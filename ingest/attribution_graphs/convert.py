"""From nodes and links to the features and edges of a run.

A node is a feature at one position of one prompt; a Feature of the graph schema is the feature. So:

1. Nodes of one feature are merged, over the positions and over the prompts of all files. With n of them, and w(s → t) the weight of a
   link, the edge from A to B is (1/n) Σ_a Σ_b w(a → b) / activation(a): what a unit of A at one position adds to B at this and all later
   positions. ``later_strength`` is the part of it that falls on later positions.
2. A weight is the source's contribution to the target before its non-linearity, by paths that pass no other feature (attention and
   normalisation frozen at the prompt). Divided by the source's activation it is a derivative, in target units per source unit: the
   direct effect. The total effect was not measured; the direct one stands in its place. There was no test: p, q, se are null.
3. Links of embeddings, reconstruction errors and logits are left out, since they are features of no dictionary. How much that is stands
   in the run's facts. Links into the target logit become the seeds of a behaviour, one a prompt; pinned features are its members.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from ingest.attribution_graphs.labels import labels_of
from ingest.attribution_graphs.names import Names, Naming
from ingest.attribution_graphs.read import AttributionGraph, GraphError
from ingest.attribution_graphs.tell import facts_of
from ingest.attribution_graphs.together import names_together
from ingest.formats import FEATURES, INTERACTIONS, write_table
from ingest.rundir import BEHAVIORS, CONFIG, MANIFEST, sha256_file

METHOD = "attribution"
Unit = Literal["source", "contribution"]
_PLACE = ["layer", "index"]


@dataclass(frozen=True)
class Imported:
    """What was written.

    Attributes:
        root: The run directory.
        features: Features.
        edges: Edges between them.
        facts: What was left out, and how much of the weight it carries.
    """

    root: Path
    features: int
    edges: int
    facts: dict[str, Any]


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
    kind = "mlp" if any((g.features["kind"] == "mlp").any() for g in graphs) else "attention"
    nodes = pd.concat([g.features[g.features["kind"] == kind].assign(graph=i) for i, g in enumerate(graphs)], ignore_index=True)
    features, differing = _feature_table(nodes, graphs, names, kind)
    inner = _inner(graphs, nodes, unit)
    edges = _edge_table(inner, nodes, features)
    if edges.empty:
        raise GraphError(f"{', '.join(str(g.path) for g in graphs)}: no links between features; there is nothing to import")
    behaviors = _behaviors(graphs, nodes)
    facts = facts_of(graphs, nodes, inner, edges, behaviors) | {
        "unit": "target units per source unit" if unit == "source" else "contribution to the target",
        "labels_that_differ": differing,
        "tests": "none",
    }
    _write(root, _config(graphs, names, unit, kind), features, edges, facts, behaviors)
    return Imported(root, len(features), len(edges), facts)


def _write(
    root: Path, config: dict[str, Any], features: pd.DataFrame, edges: pd.DataFrame, facts: dict[str, Any], behaviors: list[dict[str, Any]]
) -> None:
    root.mkdir(parents=True, exist_ok=True)
    _write_json(root / CONFIG, config)
    write_table(root / FEATURES.name, FEATURES, pa.Table.from_pandas(features, preserve_index=False))
    write_table(root / INTERACTIONS.name, INTERACTIONS, pa.Table.from_pandas(edges, preserve_index=False), facts)
    if behaviors:
        _write_json(root / BEHAVIORS, {"kind": "behaviors", "version": 1, "behaviors": behaviors})
    marks = {name: {"sha256": sha256_file(root / name)} for name in (FEATURES.name, INTERACTIONS.name)}
    _write_json(root / MANIFEST, {"versions": {}, "stages": {"import": {"artifacts": marks, "left_out": facts["left_out"]}}})


def _feature_table(nodes: pd.DataFrame, graphs: Sequence[AttributionGraph], names: Names, kind: str) -> tuple[pd.DataFrame, int]:
    """Columns of features.parquet, one row a feature, by layer and index; and how many have labels that differ."""
    places = nodes.assign(place=nodes["graph"].astype(str) + "/" + nodes["position"].astype(str))
    merged = places.groupby(_PLACE, sort=True).agg(
        mean_act=("activation", "mean"), max_act=("activation", "max"), places=("place", "nunique")
    )
    labels, differing = labels_of(nodes, graphs)
    frame = merged.reset_index()
    layer, index = frame["layer"].astype(str), frame["index"].astype(str)
    before, after = names.pages.get(kind, ("", ""))
    table = pd.DataFrame(
        {
            "fid": np.arange(len(frame)),
            "id": "L" + layer + "_F" + index,
            "uid": f"{names.model}/{names.releases[kind]}/layer." + layer + "/" + index,
            "layer": frame["layer"],
            "index": frame["index"],
            "hook": "blocks." + layer + (".mlp" if kind == "mlp" else ".attn"),
            "label": labels.loc[pd.MultiIndex.from_frame(frame[_PLACE])].to_numpy() if len(frame) else "",
            "density": frame["places"] / sum(len(g.metadata["prompt_tokens"]) for g in graphs),
            "mean_act": frame["mean_act"],
            "max_act": frame["max_act"],
            "decoder_norm": np.nan,
            "dead": False,
            "dense": pd.array([None] * len(frame), "boolean"),
            "importance": np.nan,
            "neuronpedia_url": before + layer + after + index if before else "",
        }
    )
    return table, differing


def _inner(graphs: Sequence[AttributionGraph], nodes: pd.DataFrame, unit: Unit) -> pd.DataFrame:
    """Links between features with both ends' layer, index and position, and ``strength`` in the unit asked for."""
    known = nodes[["graph", "node_id", "layer", "index", "position", "activation"]]
    links = pd.concat([g.links.assign(graph=i) for i, g in enumerate(graphs)], ignore_index=True)
    for end, name in (("src", "source"), ("tgt", "target")):
        links = links.merge(known.add_prefix(f"{end}_"), left_on=["graph", name], right_on=[f"{end}_graph", f"{end}_node_id"])
    if unit == "contribution":
        return links.assign(strength=links["weight"])
    without = links[~(links["src_activation"] > 0)]
    if len(without):
        first = without.sort_values(["graph", "source"]).iloc[0]
        raise GraphError(
            f"{graphs[first['graph']].path}: {without.groupby('graph')['source'].nunique().sum()} sources, such as {first['source']}, have "
            "no activation above 0, so their links cannot be told per unit of the source; keep the weights as they are with "
            "--unit contribution"
        )
    return links.assign(strength=links["weight"] / links["src_activation"])


def _edge_table(inner: pd.DataFrame, nodes: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
    """Columns of interactions.parquet, one row a pair of features; pairs whose links cancel to nothing are left out."""
    later = inner["tgt_position"] > inner["src_position"]
    ends = ["src_layer", "src_index", "tgt_layer", "tgt_index"]
    summed = inner.assign(later=inner["strength"].where(later, 0.0)).groupby(ends)[["strength", "later"]].sum().reset_index()
    sources = pd.MultiIndex.from_frame(summed[["src_layer", "src_index"]])
    grouped = nodes.groupby(_PLACE)
    n, prompts = grouped.size().loc[sources].to_numpy(), grouped["graph"].nunique().loc[sources].to_numpy()
    fid = features.set_index(_PLACE)["fid"]
    strength = summed["strength"].to_numpy() / n
    frame = pd.DataFrame({name: pd.Series(np.nan, index=summed.index) for name in INTERACTIONS.names})
    for end in ("src", "tgt"):
        frame[f"{end}_fid"] = fid.loc[pd.MultiIndex.from_frame(summed[[f"{end}_layer", f"{end}_index"]])].to_numpy()
        frame[f"{end}_id"] = features["id"].to_numpy()[frame[f"{end}_fid"]]
        frame[f"{end}_layer"] = summed[f"{end}_layer"]
    for name in ("mean_strength", "direct_strength", "preactivation_strength"):
        frame[name] = strength
    frame["abs_strength"] = np.abs(strength)
    for name, value in (("significant", True), ("significant_by", "direct"), ("arm", METHOD), ("method", METHOD)):
        frame[name] = value
    frame["n_documents"], frame["n_confirm"] = prompts, 0
    frame["replicated"] = pd.array([None] * len(frame), "boolean")
    frame["later_strength"] = summed["later"].to_numpy() / n
    frame["interaction_type"] = np.where(strength > 0, "excitatory", "inhibitory")
    frame["span"] = summed["tgt_layer"] - summed["src_layer"]
    frame["n_samples"] = frame["n_later"] = n
    return frame[strength != 0].sort_values(["src_fid", "tgt_fid"], ignore_index=True)


def _config(graphs: Sequence[AttributionGraph], names: Names, unit: Unit, kind: str) -> dict[str, Any]:
    prompts = "\n".join(str(g.metadata["prompt"]) for g in graphs)
    text = {"dataset": "prompt", "dataset_split": hashlib.sha256(prompts.encode("utf-8", "replace")).hexdigest()[:8]}
    size = {"n_tokens": sum(len(g.metadata["prompt_tokens"]) for g in graphs)}
    sources = [_source(g) for g in graphs]
    graph = {"attribution_graph": sources[0]} if len(sources) == 1 else {"attribution_graphs": sources}
    return {"model_name": names.model_name, "sae_release": names.releases[kind], "unit": unit} | graph | text | size


def _source(graph: AttributionGraph) -> dict[str, Any]:
    """What a file says of itself."""
    metadata = graph.metadata
    kept = {k: metadata[k] for k in ("slug", "scan", "prompt", "node_threshold", "transcoder_list", "schema_version") if k in metadata}
    parts = ("feature_details", "generation_settings", "pruning_settings", "info")
    return kept | {k: metadata[k] for k in parts if isinstance(metadata.get(k), dict)} | {"sha256": graph.sha256}


def _behaviors(graphs: Sequence[AttributionGraph], nodes: pd.DataFrame) -> list[dict[str, Any]]:
    """One a prompt, named after it; a second graph of one name gets a number."""
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
    effect = into.groupby(_PLACE)["weight"].sum()
    ranked = effect.loc[effect.abs().sort_values(ascending=False, kind="stable").index]
    seeds = [
        {"id": f"L{layer}_F{index}", "effect": float(value), "rank": rank} for rank, ((layer, index), value) in enumerate(ranked.items(), 1)
    ]
    metric = f"{target['label']}: its probability; seeds by direct contribution to its logit"
    values = {"metric": metric, "clean": float(target["token_prob"]), "ablated": None, "confirmed": False, "seeds": seeds}
    pinned = nodes[nodes["node_id"].isin(graph.pinned)][_PLACE].drop_duplicates().sort_values(_PLACE)
    if len(pinned):
        members = {f"L{layer}_F{index}": None for layer, index in pinned.to_numpy().tolist()} | {s["id"]: None for s in seeds}
        values |= {"members": list(members)}
    return {"name": str(graph.metadata["slug"]), "prompts": [str(graph.metadata["prompt"])]} | values if seeds else None


def _write_json(path: Path, value: dict[str, Any]) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    path.write_bytes(text.encode("utf-8", "replace"))
