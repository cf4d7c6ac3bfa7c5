"""From measured interactions to a directed graph."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd

from feature_graph.artifacts import Interaction, InteractionSet, contradiction, read_feature_id
from feature_graph.config import Config
from feature_graph.graph.attributes import EDGE, KIND, NODE, VERSION, unknowns
from feature_graph.graph.errors import InteractionGraphError
from feature_graph.graph.families import name_families
from feature_graph.graph.passing import PassedSites
from feature_graph.graph.views import scale
from ingest.feature_ids import sites_of
from ingest.strength import leading_effect, leading_of, sign_of_edge
from ingest.strength import structural as is_structural

log = logging.getLogger(__name__)

_NEEDED = ["src_id", "tgt_id", "src_layer", "tgt_layer", "significant", "held_features", *(a.column for a in EDGE if a.column)]


def build_interaction_graph(
    interactions: InteractionSet | Sequence[Interaction],
    cfg: Config | None = None,
    *,
    features: pd.DataFrame | None = None,
    method: str | None = None,
) -> nx.DiGraph:
    """The graph of significant edges.

    An edge enters if its total, computed, direct or later effect passed (``significant``). Its ``strength`` is the total effect, or the
    direct or later one if only that passed. A node is a feature with at least one edge.

    Args:
        interactions: An :class:`InteractionSet` or any sequence of :class:`Interaction`.
        cfg: Configuration of the run; gives the model, level and correction where ``interactions`` does not record them.
        features: Table of ``features.parquet``; adds label, uid, density and more to the nodes. Default: what the interactions themselves
            know of their features, if they were measured in this process.
        method: Which method's results are the edges, if several are there. Default: clamping where present.

    Returns:
        Directed graph. Nodes are short ids ``L5_F12`` with ``layer`` (int), ``label`` (str) and the other attributes of
        ``graph.attributes.NODE``; edges carry those of ``graph.attributes.EDGE``. ``G.graph`` holds facts of the run as plain values.

    Raises:
        InteractionGraphError: If a pair occurs twice for one method, an edge does not go to a later site, or ``method`` was not measured.
    """
    frame = _frame(interactions)
    chosen = _one_method(frame, method)
    kept = chosen[chosen["significant"].astype(bool)]
    _check(kept)
    graph: nx.DiGraph = nx.DiGraph(**_facts(interactions, cfg, chosen, kept))
    graph.graph |= _passed(chosen, features, graph.graph["method"]).facts
    graph.add_nodes_from(_nodes(kept, _described(interactions, kept) if features is None else features))
    graph.add_edges_from(zip(kept["src_id"], kept["tgt_id"], _edge_attributes(kept), strict=True))
    graph.graph["scale"] = scale(graph)
    name_families(graph)
    log.info("graph: %d of %d tested pairs are edges between %d features", len(kept), graph.graph["tested"], len(graph))
    return graph


def _frame(interactions: InteractionSet | Sequence[Interaction]) -> pd.DataFrame:
    if isinstance(interactions, InteractionSet):
        return interactions.frame
    return pd.DataFrame([asdict(r) for r in interactions], columns=None if interactions else _NEEDED)


def _one_method(frame: pd.DataFrame, method: str | None) -> pd.DataFrame:
    present = sorted(frame["method"].unique())
    if method is not None and method not in present and present:
        raise InteractionGraphError(f"method: got {method!r}; the interactions were measured by {', '.join(present)}")
    if method is None:
        method = "clamping" if "clamping" in present or not present else present[0]
    return frame[frame["method"] == method]


def _check(kept: pd.DataFrame) -> None:
    inside = kept[kept["src_layer"] == kept["tgt_layer"]]
    sites = [(read_feature_id(u).site, read_feature_id(v).site) for u, v in zip(inside["src_id"], inside["tgt_id"], strict=True)]
    backward = pd.concat([kept[kept["src_layer"] > kept["tgt_layer"]], inside[[one == two for one, two in sites]]])
    if len(backward):
        row = backward.iloc[0]
        raise InteractionGraphError(
            f"{row['src_id']} → {row['tgt_id']}: an edge must go to a later layer, or to a later site of its layer ({len(backward)} do not)"
        )
    _check_sites(inside)
    twice = kept[kept.duplicated(["src_id", "tgt_id"])]
    if len(twice):
        row = twice.iloc[0]
        raise InteractionGraphError(
            f"{row['src_id']} → {row['tgt_id']}: got {len(twice) + 1} or more results for one pair and method; expected one"
        )


def _passed(chosen: pd.DataFrame, features: pd.DataFrame | None, method: str) -> PassedSites:
    ids = [chosen["src_id"], chosen["tgt_id"], *([] if features is None else [features["id"]])]
    return PassedSites.of_sites(sites_of(pd.concat(ids).astype(str).drop_duplicates()).unique(), method)


def _described(interactions: InteractionSet | Sequence[Interaction], kept: pd.DataFrame) -> pd.DataFrame | None:
    if not isinstance(interactions, InteractionSet) or interactions.describe is None or not len(kept):
        return None
    return interactions.describe(sorted(set(kept["src_id"]) | set(kept["tgt_id"]), key=read_feature_id))


def _check_sites(inside: pd.DataFrame) -> None:
    """Refuse edges within layers that cannot all lead to a later site; ingest has compared them with the order that the run gives."""
    circle = contradiction(zip(*(sites_of(inside[f"{end}_id"].astype(str)) for end in ("src", "tgt")), strict=True))
    if circle:
        shown = " → ".join([circle[0][0], *(later for _, later in circle)])
        raise InteractionGraphError(f"edges within a layer go in a circle: {shown}; expected each to lead to a later site of the layer")


def _nodes(kept: pd.DataFrame, features: pd.DataFrame | None) -> list[tuple[str, dict[str, Any]]]:
    ids = sorted(set(kept["src_id"]) | set(kept["tgt_id"]), key=read_feature_id)
    known = {} if features is None else features.set_index("id")[[a.column for a in NODE if a.column]].to_dict("index")
    if features is not None and (absent := [i for i in ids if i not in known]):
        log.warning("%d features of the graph are not in the feature table (%s …); they have no label", len(absent), absent[0])
    nodes = []
    for name in ids:
        place = read_feature_id(name)
        row = known.get(name, {})
        values = {a.name: _plain(row.get(a.column), a.unknown) for a in NODE}
        nodes.append((name, values | {"layer": place.layer, "index": place.index}))
    return nodes


def _edge_attributes(kept: pd.DataFrame) -> list[dict[str, Any]]:
    columns: dict[str, list[Any]] = {}
    for a in EDGE:
        if a.column:
            columns[a.name] = [_plain(v, a.unknown) for v in kept[a.column].tolist()]
    strength = leading_of(kept)
    columns["strength"] = strength.tolist()
    columns["weight"] = np.abs(strength).tolist()
    columns["sign"] = sign_of_edge(strength, columns["type"]).to_pylist()
    columns["kind"] = leading_effect(columns["by"]).to_pylist()
    columns["structural"] = is_structural(columns["span"], columns["by"], kept["held_features"].to_numpy(np.float64)).to_pylist()
    names = list(unknowns(EDGE))
    return [dict(zip(names, values, strict=True)) for values in zip(*(columns[n] for n in names), strict=True)]


def _plain(value: Any, unknown: bool | int | float | str) -> bool | int | float | str:
    """``value`` as the plain type of ``unknown``; a truth value becomes yes / no where text is asked for."""
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return unknown
    if isinstance(unknown, str) and isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    return type(unknown)(value)


def _facts(
    interactions: InteractionSet | Sequence[Interaction], cfg: Config | None, chosen: pd.DataFrame, kept: pd.DataFrame
) -> dict[str, Any]:
    meta = interactions.meta if isinstance(interactions, InteractionSet) else {}
    methods = chosen["method"].unique()
    return {
        "kind": KIND,
        "version": VERSION,
        "model": str(meta.get("model", cfg.model_name if cfg else "")),
        "method": str(methods[0]) if len(methods) else "",
        "alpha": float(meta.get("level", cfg.significance_level if cfg else 0.05)),
        "correction": str(meta.get("correction", cfg.correction_method if cfg else "")),
        "families": json.dumps(meta.get("families", {}), sort_keys=True),
        # an exhaustive run keeps significant rows only; its families say how many were tested
        "tested": int(meta.get("families", {}).get("total", len(chosen))),
        "significant": len(kept),
    }
