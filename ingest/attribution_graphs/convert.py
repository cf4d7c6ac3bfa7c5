"""From nodes and links to the features and edges of a run.

A node is a feature at one position of the prompt; a Feature of the graph schema is the feature. So:

1. Nodes of one feature are merged. With n of them, and w(s → t) the weight of a link, the edge from A to B is
   (1/n) Σ_a Σ_b w(a → b) / activation(a): what a unit of A at one position adds to B at this and all later positions.
   ``later_strength`` is the part of it that falls on later positions.
2. A weight is the source's contribution to the target before its non-linearity, by paths that pass no other feature (attention and
   normalisation frozen at the prompt). Divided by the source's activation it is a derivative, in target units per source unit: the
   direct effect. The total effect was not measured; the direct one stands in its place. There was no test: p, q, se are null.
3. Links of embeddings, reconstruction errors and logits are left out, since they are features of no dictionary. How much that is stands
   in the run's facts. Links into the target logit become the seeds of a behaviour.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from ingest.attribution_graphs.read import AttributionGraph, GraphError
from ingest.formats import FEATURES, INTERACTIONS, write_table
from ingest.rundir import BEHAVIORS, CONFIG, MANIFEST, sha256_file

METHOD = "attribution"
_UNKNOWN_HASH = "00000000"
Unit = Literal["source", "contribution"]


@dataclass(frozen=True)
class Naming:
    """What the file does not say for certain.

    Attributes:
        model: Name of the model; ``metadata.scan`` if empty.
        model_hash: First 8 hex digits of the hash over its weights; zeros, "not known", if empty. Runs share features by this.
        release: Name of the set of transcoders; Neuronpedia's source set, else ``metadata.scan``, if empty.
    """

    model: str = ""
    model_hash: str = ""
    release: str = ""


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
    """Write the run directory of an attribution graph.

    Args:
        graph: What :func:`ingest.attribution_graphs.read_graph` gave.
        out_dir: A new or empty folder.
        naming: Names that the file does not have.
        unit: ``source`` divides each weight by the activation of its source; ``contribution`` keeps the weights as they are.

    Raises:
        GraphError: If the folder is not empty, nothing is left to write, or a source has no activation to divide by.
    """
    root = Path(out_dir)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise GraphError(f"{root} exists and is not an empty folder; nothing was written. Choose a new one")
    names = _names(graph, naming or Naming())
    nodes = graph.features[~graph.features["node_id"].isin(graph.ambiguous)]
    features = _feature_table(nodes, graph, names)
    inner = _inner(graph, nodes, unit)
    edges = _edge_table(inner, nodes, features)
    if edges.empty:
        raise GraphError(f"{graph.metadata['slug']}: no links between features; there is nothing to import")
    facts = _facts(graph, inner, edges, unit)
    root.mkdir(parents=True, exist_ok=True)
    _write_json(root / CONFIG, _config(graph, names, unit))
    write_table(root / FEATURES.name, FEATURES, pa.Table.from_pandas(features, preserve_index=False))
    write_table(root / INTERACTIONS.name, INTERACTIONS, pa.Table.from_pandas(edges, preserve_index=False), facts)
    behavior = _behavior(graph, nodes)
    if behavior:
        _write_json(root / BEHAVIORS, {"kind": "behaviors", "version": 1, "behaviors": [behavior]})
    marks = {name: {"sha256": sha256_file(root / name)} for name in (FEATURES.name, INTERACTIONS.name)}
    _write_json(root / MANIFEST, {"versions": {}, "stages": {"import": {"artifacts": marks}}})
    return Imported(root, len(features), len(edges), facts)


def _names(graph: AttributionGraph, given: Naming) -> Naming:
    """Names that are fit for a uid: the release has no slash, the model no line break."""
    details = graph.metadata.get("feature_details")
    source_set = details.get("neuronpedia_source_set") if isinstance(details, dict) else None
    model = given.model or str(graph.metadata["scan"])
    release = given.release or str(source_set or graph.metadata["scan"])
    model_hash = given.model_hash or _UNKNOWN_HASH
    if not re.fullmatch(r"[0-9a-f]{8}", model_hash):
        raise GraphError(f"model hash: got {given.model_hash!r}; expected 8 hex digits")
    return Naming(re.sub(r"[\s/@]+", "-", model), model_hash, re.sub(r"[\s/@]+", "-", release))


def _feature_table(nodes: pd.DataFrame, graph: AttributionGraph, names: Naming) -> pd.DataFrame:
    """Columns of features.parquet, one row a feature, by layer and index."""
    details = graph.metadata.get("feature_details")
    source_set = details.get("neuronpedia_source_set") if isinstance(details, dict) else None
    merged = nodes.groupby(["layer", "index"], sort=True).agg(
        mean_act=("activation", "mean"), max_act=("activation", "max"), label=("label", "first"), positions=("position", "nunique")
    )
    frame = merged.reset_index()
    layer, index = frame["layer"].astype(str), frame["index"].astype(str)
    page = f"https://www.neuronpedia.org/{graph.metadata['scan']}/" + layer + f"-{source_set}/" + index
    return pd.DataFrame(
        {
            "fid": np.arange(len(frame)),
            "id": "L" + layer + "_F" + index,
            "uid": f"{names.model}@{names.model_hash}/{names.release}/layer." + layer + "/" + index,
            "layer": frame["layer"],
            "index": frame["index"],
            "hook": "blocks." + layer + ".mlp",
            "label": frame["label"],
            "density": frame["positions"] / len(graph.metadata["prompt_tokens"]),
            "mean_act": frame["mean_act"],
            "max_act": frame["max_act"],
            "decoder_norm": np.nan,
            "dead": False,
            "dense": pd.array([None] * len(frame), "boolean"),
            "importance": np.nan,
            "neuronpedia_url": page if source_set else "",
        }
    )


def _inner(graph: AttributionGraph, nodes: pd.DataFrame, unit: Unit) -> pd.DataFrame:
    """Links between features with both ends' layer, index and position, and ``strength`` in the unit asked for."""
    known = nodes[["node_id", "layer", "index", "position", "activation"]]
    inner = graph.links.merge(known.add_prefix("src_"), left_on="source", right_on="src_node_id")
    inner = inner.merge(known.add_prefix("tgt_"), left_on="target", right_on="tgt_node_id")
    if unit == "contribution":
        return inner.assign(strength=inner["weight"])
    without = sorted(set(inner.loc[~(inner["src_activation"] > 0), "source"]))
    if without:
        raise GraphError(
            f"{graph.metadata['slug']}: {len(without)} sources, such as {without[0]}, have no activation above 0, so their links cannot be "
            "told per unit of the source; keep the weights as they are with --unit contribution"
        )
    return inner.assign(strength=inner["weight"] / inner["src_activation"])


def _edge_table(inner: pd.DataFrame, nodes: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
    """Columns of interactions.parquet, one row a pair of features; pairs whose links cancel to nothing are left out."""
    later = inner["tgt_position"] > inner["src_position"]
    ends = ["src_layer", "src_index", "tgt_layer", "tgt_index"]
    summed = inner.assign(later=inner["strength"].where(later, 0.0)).groupby(ends)[["strength", "later"]].sum().reset_index()
    count = nodes.groupby(["layer", "index"]).size()
    n = count.loc[pd.MultiIndex.from_frame(summed[["src_layer", "src_index"]])].to_numpy()
    fid = features.set_index(["layer", "index"])["fid"]
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
    frame["n_documents"], frame["n_confirm"] = 1, 0
    frame["replicated"] = pd.array([None] * len(frame), "boolean")
    frame["later_strength"] = summed["later"].to_numpy() / n
    frame["interaction_type"] = np.where(strength > 0, "excitatory", "inhibitory")
    frame["span"] = summed["tgt_layer"] - summed["src_layer"]
    frame["n_samples"] = frame["n_later"] = n
    return frame[strength != 0].sort_values(["src_fid", "tgt_fid"], ignore_index=True)


def _facts(graph: AttributionGraph, inner: pd.DataFrame, edges: pd.DataFrame, unit: Unit) -> dict[str, Any]:
    """What the run's meta says of where it comes from and what was left out."""
    weight = graph.links["weight"].abs()
    share = float(inner["weight"].abs().sum() / weight.sum()) if weight.sum() else 0.0
    return {
        "source": "attribution graph",
        "slug": graph.metadata["slug"],
        "unit": "target units per source unit" if unit == "source" else "contribution to the target",
        "nodes": {"features": len(graph.features), "logits": len(graph.logits)} | graph.others,
        "links": {"all": len(graph.links), "between_features": len(inner), "edges": len(edges)},
        "share_of_weight_between_features": share,
        "ambiguous_nodes": len(graph.ambiguous),
        "tests": "none",
    }


def _config(graph: AttributionGraph, names: Naming, unit: Unit) -> dict[str, Any]:
    kept = {
        k: graph.metadata[k]
        for k in ("slug", "scan", "prompt", "node_threshold", "transcoder_list", "schema_version")
        if k in graph.metadata
    }
    settings = {
        k: graph.metadata[k] for k in ("generation_settings", "pruning_settings", "info") if isinstance(graph.metadata.get(k), dict)
    }
    text = {"dataset": "prompt", "dataset_split": hashlib.sha256(str(graph.metadata["prompt"]).encode()).hexdigest()[:8]}
    size = {"n_tokens": len(graph.metadata["prompt_tokens"])}
    return {"model_name": names.model, "sae_release": names.release, "unit": unit, "attribution_graph": kept | settings} | text | size


def _behavior(graph: AttributionGraph, nodes: pd.DataFrame) -> dict[str, Any] | None:
    """The target logit with the features that are linked to it, by size of their contribution; None without."""
    logits = graph.logits[~graph.logits["node_id"].isin(graph.ambiguous)]
    if logits.empty:
        return None
    target = logits.sort_values(["target", "token_prob"], ascending=False).iloc[0]
    into = graph.links[graph.links["target"] == target["node_id"]].merge(nodes, left_on="source", right_on="node_id")
    effect = into.groupby(["layer", "index"])["weight"].sum()
    ranked = effect.loc[effect.abs().sort_values(ascending=False, kind="stable").index]
    seeds = [
        {"id": f"L{layer}_F{index}", "effect": float(value), "rank": rank} for rank, ((layer, index), value) in enumerate(ranked.items(), 1)
    ]
    metric = f"{target['label']}: its probability; seeds by direct contribution to its logit"
    values = {"metric": metric, "clean": float(target["token_prob"]), "ablated": None, "confirmed": False, "seeds": seeds}
    return {"name": str(graph.metadata["slug"]), "prompts": [str(graph.metadata["prompt"])]} | values if seeds else None


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
