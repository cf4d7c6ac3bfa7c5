"""Writing scores back: first the old record goes, then the scores come, and the new record last; where it stands, all scores stand."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from feature_graph.database.store.database import Store
from feature_graph.utils import missing_as_none

if TYPE_CHECKING:
    from graphdatascience import GraphDataScience
    from graphdatascience.graph.graph_api import Graph

    from feature_graph.database.store.gds.algorithms import Algorithm
    from feature_graph.database.store.gds.projection import Projection

_BATCH = 10_000
_FORGET = """
MATCH (run:Run {id: $run})
OPTIONAL MATCH (a:Analysis {uid: toString(run.n) + '/' + $kind})
OPTIONAL MATCH (c:Community) WHERE c.uid STARTS WITH toString(run.n) + '/' + $kind + '/'
DETACH DELETE a, c
"""
# A feature shows the scores of the newest run that observed it (docs/schema.md).
_SCORES = """
UNWIND $rows AS row
WITH gds.util.asNode(row.node) AS first, row.scores AS scores
// All members of a family have the score of their first one.
OPTIONAL MATCH (first)-[:OF]->(:Feature)-[:MEMBER_OF {place: 0}]->(x {run: first.run, method: $method}) WHERE $families
OPTIONAL MATCH (x)<-[:MEMBER_OF]-(:Feature)<-[:OF]-(member:Observation) WHERE member.run = first.run
WITH DISTINCT coalesce(member, first) AS o, scores
SET o += scores
WITH o, scores
MATCH (o)-[:OF]->(f:Feature) WHERE f.scores_run = o.run
SET f += scores, f.scores = [name IN coalesce(f.scores, []) WHERE scores[name] IS NULL] + keys(scores)
"""
_COMMUNITIES = """
MATCH (run:Run {id: $run})
UNWIND $rows AS row
CREATE (c:Community {uid: toString(run.n) + '/' + $kind + '/' + row.community, run: run.n, kind: $kind})
SET c += row
"""
_MEMBERS = """
MATCH (run:Run {id: $run})
UNWIND $rows AS row
MATCH (c:Community {uid: toString(run.n) + '/' + $kind + '/' + row.community})
WITH run, c, gds.util.asNode(row.node) AS o
MATCH (o)-[:OF]->(f:Feature)
CREATE (f)-[:IN_COMMUNITY {run: run.n}]->(c)
"""
_RECORD = """
MATCH (run:Run {id: $run})
CREATE (a:Analysis {uid: toString(run.n) + '/' + $kind, run: run.n, kind: $kind, params: $params, created: timestamp()})
SET a += $record
"""
_PLACES = """
MATCH (run:Run {id: $run})
UNWIND $nodes AS node
WITH run, node, gds.util.asNode(node) AS o
RETURN node, o.fid AS fid, o.id AS id, o.layer AS layer, o.label AS label
"""


@dataclass(frozen=True)
class Scores:
    """What an algorithm gave.

    Attributes:
        nodes: ``node`` (number in the projection) and ``score``.
        communities: ``community``, ``size``, ``modularity``, ``conductance``; empty where scores are no communities.
    """

    nodes: pd.DataFrame
    communities: pd.DataFrame = field(default_factory=pd.DataFrame)


def communities(store: Store, gds: GraphDataScience, graph: Graph, algorithm: Algorithm, params: dict[str, Any], run: str) -> Scores:
    """A partition with its quality; communities are numbered by size, then by their first feature, as in the templates."""
    name = f"group_{uuid.uuid4().hex}"  # the projection may carry other partitions already
    getattr(gds, algorithm.endpoint).mutate(graph, mutate_property=name, **params)
    measured = {"community_property": name, "relationship_weight_property": "weight", "concurrency": 1}
    modularity = _by_community(gds.modularity.stream(graph, **measured), "communityId", "modularity")
    conductance = _by_community(gds.conductance.stream(graph, **measured), "community", "conductance")
    found = gds.graph.node_properties.stream(graph, [name])
    frame = pd.DataFrame({"node": found["nodeId"], "given": found[name]}).astype("int64")
    frame = frame.merge(_places(store, run, frame["node"].tolist()), on="node")
    groups = frame.groupby("given").agg(size=("fid", "size"), first=("fid", "min"))
    groups = groups.sort_values(["size", "first"], ascending=[False, True])
    number = pd.Series(range(1, len(groups) + 1), index=groups.index)
    table = pd.DataFrame({"community": number, "size": groups["size"], "modularity": modularity, "conductance": conductance})
    nodes = pd.DataFrame({"node": frame["node"], "score": number.loc[frame["given"]].to_numpy()})
    return Scores(nodes, table.sort_values("community", ignore_index=True))


def _by_community(frame: pd.DataFrame, key: str, column: str) -> pd.Series[float]:
    """A measure by community; a graph without edges gives a frame without columns."""
    return frame.set_index(key)[column] if len(frame) else pd.Series(dtype=float)


def write(store: Store, part: Projection, kind: str, scores: Scores, record: dict[str, Any], params: dict[str, Any]) -> pd.DataFrame:
    """Write an analysis back in batches; give its features, highest score first.

    Args:
        store: An open database.
        part: What was projected, of which run.
        kind: Name of the analysis.
        scores: What was computed.
        record: Further properties of the Analysis node; ``property`` names that of the Observations.
        params: What it was computed with, kept as JSON.
    """
    run, property_ = part.run, record["property"]
    store.run(_FORGET, {"run": run, "kind": kind}, writes=True)
    rows = [{"node": n, "scores": {property_: s}} for n, s in zip(*(scores.nodes[c].tolist() for c in ("node", "score")), strict=True)]
    for batch in _batches(rows):
        store.run(_SCORES, {"rows": batch, "method": part.method, "families": part.families}, writes=True)
    if len(scores.communities):
        for batch in _batches(missing_as_none(scores.communities).to_dict("records")):
            store.run(_COMMUNITIES, {"run": run, "kind": kind, "rows": batch}, writes=True)
        members = scores.nodes.rename(columns={"score": "community"}).to_dict("records")
        for batch in _batches(members):
            store.run(_MEMBERS, {"run": run, "kind": kind, "rows": batch}, writes=True)
    whole = {"run": run, "kind": kind, "record": record, "params": json.dumps(params, sort_keys=True)}
    store.run(_RECORD, whole, writes=True)
    frame = scores.nodes.merge(_places(store, run, scores.nodes["node"].tolist()), on="node").rename(columns={"score": property_})
    frame = frame.sort_values([property_, "fid"], ascending=[False, True], ignore_index=True)
    return frame[["id", "layer", "label", property_]]


def _places(store: Store, run: str, nodes: list[int]) -> pd.DataFrame:
    """``node``, ``fid``, ``id``, ``layer``, ``label`` of the Observations that these numbers belong to."""
    found = [store.run(_PLACES, {"run": run, "nodes": batch}) for batch in _batches(nodes)]
    return pd.concat(found) if found else pd.DataFrame(columns=["node", "fid", "id", "layer", "label"])


def _batches(rows: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(rows), _BATCH):
        yield rows[start : start + _BATCH]
