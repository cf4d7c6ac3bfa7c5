"""Graph Data Science over one run, by the graphdatascience client: scores are written onto the run's Observations.

The projection takes Observations as nodes (every feature of the run, isolated ones too) and magnitudes as weights, since PageRank and
Leiden have no meaning on negative ones. It is dropped whatever happens. What was computed how stands in an Analysis node.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from feature_graph.store.database import Store
from feature_graph.store.errors import GdsUnavailable, StoreError

if TYPE_CHECKING:
    from graphdatascience import GraphDataScience
    from graphdatascience.graph.graph_api import Graph

logger = logging.getLogger(__name__)

Algorithm = Literal["degree", "pagerank", "leiden"]

#: Algorithm → property of Observation that carries its score.
PROPERTIES = {"degree": "degree", "pagerank": "pagerank", "leiden": "community"}

_PROJECT = """
MATCH (run:Run {id: $run, status: 'ready'})
CALL (run) {
  MATCH (s:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
  WHERE $edges = 'all' OR e.span = 1 OR e.by CONTAINS 'direct'
  WITH run, s, t, CASE WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct END AS signed
  WHERE $sign = 'any' OR ($sign = 'excitatory' AND signed > 0) OR ($sign = 'inhibitory' AND signed < 0)
  MATCH (s)<-[:OF]-(a:Observation {run: run.n})
  MATCH (t)<-[:OF]-(b:Observation {run: run.n})
  RETURN a, b, abs(signed) AS weight
  UNION ALL
  MATCH (a:Observation) WHERE a.run = run.n AND a.layer IS NOT NULL
  RETURN a, null AS b, 0.0 AS weight
}
WITH a, b, weight ORDER BY a.key, b.key // in a fixed order, that of the templates: a seed gives the same groups in every database
RETURN gds.graph.project(
  $graph, a, b, {relationshipProperties: {weight: weight}},
  {undirectedRelationshipTypes: CASE WHEN $undirected THEN ['*'] ELSE [] END}
) AS g
"""
_RECORD = """
MATCH (run:Run {id: $run})
MERGE (a:Analysis {uid: toString(run.n) + '/' + $kind})
SET a.run = run.n, a.kind = $kind, a.property = $property, a.params = $params, a.gds_version = $version, a.created = timestamp()
"""
_FORGET_COMMUNITIES = "MATCH (run:Run {id: $run}) MATCH (c:Community) WHERE c.run = run.n AND c.kind = $kind DETACH DELETE c"
_COMMUNITIES = """
MATCH (run:Run {id: $run})
MATCH (o:Observation)-[:OF]->(f:Feature) WHERE o.run = run.n AND o.layer IS NOT NULL
WITH run, o.community AS community, collect(f) AS members
WITH run, community, members, toString(run.n) + '/' + $kind + '/' + community AS uid
CREATE (c:Community {uid: uid, run: run.n, kind: $kind, community: community, size: size(members)})
WITH run, c, members UNWIND members AS f
CREATE (f)-[:IN_COMMUNITY {run: run.n}]->(c)
"""


@dataclass(frozen=True)
class Projection:
    """Which part of a run is projected.

    Attributes:
        run: Id of the run.
        method: ``clamping`` or ``jacobian``; clamping where the run has it, if not given.
        edges: ``structural`` (span 1, or a direct effect that is itself significant) or ``all``.
        sign: ``any``, ``excitatory`` or ``inhibitory``.
    """

    run: str
    method: str | None = None
    edges: Literal["structural", "all"] = "structural"
    sign: Literal["any", "excitatory", "inhibitory"] = "any"


def client(store: Store) -> GraphDataScience:
    """The graphdatascience client over the store's connection.

    Raises:
        GdsUnavailable: If the server does not have the library.
    """
    from graphdatascience import GraphDataScience
    from graphdatascience.error.gds_not_installed import GdsNotFound

    try:
        return GraphDataScience(store.driver, arrow=False, database=store.database, show_progress=False, aura_ds=False)
    except GdsNotFound as error:
        raise GdsUnavailable(
            "this server does not have the Graph Data Science library; the embedded one has it: `feature-graph db start`"
        ) from error


@contextmanager
def projected(gds: GraphDataScience, part: Projection, undirected: bool = False) -> Iterator[Graph]:
    """Project a part of a run under a unique name; it is dropped at the end of the block."""
    name = f"store-{uuid.uuid4().hex}"
    values = asdict(part) | {"method": part.method or "clamping"}
    try:
        made = gds.graph.project.cypher(_PROJECT, graph=name, undirected=undirected, **values)
        yield made.graph
    finally:
        gds.graph.drop(name, fail_if_missing=False)


def analyze(store: Store, algorithm: Algorithm, part: Projection | None = None, seed: int = 42) -> pd.DataFrame:
    """Compute an algorithm on a run and write its scores back, with their Analysis.

    Args:
        store: An open database.
        algorithm: ``degree`` (edges in and out), ``pagerank`` (weighted by magnitude) or ``leiden`` (undirected, weighted by magnitude).
        part: What to project; the structural graph of the newest ready run if not given.
        seed: Seed of leiden.

    Returns:
        ``id``, ``layer``, ``label`` and the score (column ``degree``, ``pagerank`` or ``community``), highest score first.

    Raises:
        StoreError: If the algorithm is not one of the three.
        GdsUnavailable: If the server does not have the library.
    """
    if algorithm not in PROPERTIES:
        raise StoreError(f"algorithm: got {algorithm!r}; expected one of {', '.join(PROPERTIES)}")
    part = part or Projection(store.find_run())
    part = replace(part, method=part.method or store.main_method(part.run))
    gds = client(store)
    with projected(gds, part, undirected=algorithm != "pagerank") as graph:
        params = _WRITERS[algorithm](gds, graph, seed)
    _record(store, gds, algorithm, part, params)
    score = PROPERTIES[algorithm]
    features = store.fetch_features(part.run)
    return features.sort_values([score, "fid"], ascending=[False, True], ignore_index=True)[["id", "layer", "label", score]]


def _degree(gds: GraphDataScience, graph: Graph, _: int) -> dict[str, Any]:
    gds.degree.write(graph, write_property="degree", write_concurrency=1)
    return {"orientation": "both"}


def _pagerank(gds: GraphDataScience, graph: Graph, _: int) -> dict[str, Any]:
    params: dict[str, Any] = {"max_iterations": 200, "tolerance": 1e-12, "relationship_weight_property": "weight", "concurrency": 1}
    gds.page_rank.write(graph, write_property="pagerank", **params)
    return params


def _leiden(gds: GraphDataScience, graph: Graph, seed: int) -> dict[str, Any]:
    if not graph.relationship_count():
        # Leiden fails on a graph without edges; each feature is then a community of its own, which is what components give.
        gds.wcc.write(graph, write_property="community")
        return {"algorithm": "wcc", "reason": "no edges"}
    params: dict[str, Any] = {"random_seed": seed, "relationship_weight_property": "weight", "concurrency": 1}
    gds.leiden.write(graph, write_property="community", **params)
    return params


_WRITERS: dict[str, Callable[[GraphDataScience, Graph, int], dict[str, Any]]] = {
    "degree": _degree,
    "pagerank": _pagerank,
    "leiden": _leiden,
}


def _record(store: Store, gds: GraphDataScience, algorithm: str, part: Projection, params: dict[str, Any]) -> None:
    store.write(
        _RECORD,
        run=part.run,
        kind=algorithm,
        property=PROPERTIES[algorithm],
        params=json.dumps(params | asdict(part), sort_keys=True),
        version=str(gds.server_version()),
    )
    if algorithm == "leiden":
        store.write(_FORGET_COMMUNITIES, run=part.run, kind=algorithm)
        store.write(_COMMUNITIES, run=part.run, kind=algorithm)
    logger.info("run %s: %s written to Observation.%s", part.run, algorithm, PROPERTIES[algorithm])
