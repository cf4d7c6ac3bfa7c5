"""From the links of nodes to the edges of features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from ingest.attribution_graphs.errors import GraphError
from ingest.attribution_graphs.read import AttributionGraph
from ingest.formats import INTERACTIONS

METHOD = "attribution"
Unit = Literal["source", "contribution"]
#: What a feature's place is made of, in the order of the model.
PLACE = ["layer", "order", "index"]


def inner_links(graphs: Sequence[AttributionGraph], nodes: pd.DataFrame, unit: Unit) -> pd.DataFrame:
    """Links between features with both ends' layer, index and position, and ``strength`` in the unit asked for."""
    known = nodes[["graph", "node_id", *PLACE, "id", "position", "activation"]]
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


def edge_table(inner: pd.DataFrame, nodes: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
    """Columns of interactions.parquet, one row per pair of features; pairs whose links cancel to nothing are left out."""
    later = inner["tgt_position"] > inner["src_position"]
    summed = (
        inner.assign(later=inner["strength"].where(later, 0.0)).groupby(["src_id", "tgt_id"])[["strength", "later"]].sum().reset_index()
    )
    grouped = nodes.groupby("id")
    n, prompts = (counts.loc[summed["src_id"]].to_numpy() for counts in (grouped.size(), grouped["graph"].nunique()))
    strength = summed["strength"].to_numpy() / n
    frame = pd.DataFrame({name: pd.Series(np.nan, index=summed.index) for name in INTERACTIONS.names if name != "blocks"})
    ends = {end: features.set_index("id").loc[summed[f"{end}_id"]] for end in ("src", "tgt")}
    for end, of in ends.items():
        frame[f"{end}_id"], frame[f"{end}_fid"], frame[f"{end}_layer"] = summed[f"{end}_id"], of["fid"].to_numpy(), of["layer"].to_numpy()
    for name in ("mean_strength", "direct_strength", "preactivation_strength"):
        frame[name] = strength
    frame["abs_strength"] = np.abs(strength)
    for name, value in (("significant", True), ("significant_by", "direct"), ("arm", METHOD), ("method", METHOD)):
        frame[name] = value
    frame["n_documents"], frame["n_confirm"] = prompts, 0
    frame["replicated"] = pd.array([None] * len(frame), "boolean")
    frame["later_strength"] = summed["later"].to_numpy() / n
    frame["interaction_type"] = np.where(strength > 0, "excitatory", "inhibitory")
    per_layer = 2 if features["site"].any() else 1
    source, target = ((of["layer"] * per_layer + of["order"]).to_numpy() for of in ends.values())
    frame["span"] = target - source
    frame["n_samples"] = frame["n_later"] = n
    return frame[strength != 0].sort_values(["src_fid", "tgt_fid"], ignore_index=True)
