"""Which part of a run is projected into the graph catalog, and the projection itself: dropped whatever happens.

Nodes are the run's Observations (every feature, isolated ones too); weights are magnitudes, since PageRank and Leiden have no meaning on
negative ones. Rows are taken in one fixed order, that of the templates, so that a seed gives the same groups in every database.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import queries
from feature_graph.database.store.database import Store
from feature_graph.database.store.errors import GdsUnavailable, StoreError
from queries.signs import takes_from_copy

if TYPE_CHECKING:
    from graphdatascience import GraphDataScience
    from graphdatascience.graph.graph_api import Graph

Edges = Literal["structural", "all"]
Sign = Literal["any", "excitatory", "inhibitory"]
Orientation = Literal["natural", "reversed"]

_EDGES = (
    """
MATCH (run:Run {id: $run, status: 'ready'})
OPTIONAL MATCH (copy:Feature)-[m:MEMBER_OF]->(:Family {run: run.n, method: $method})
WHERE $families AND m.place > 0
WITH run, collect(copy) AS copies
CALL (run, copies) {
  MATCH (s:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
  WHERE $edges = 'all' OR e.structural
  WITH run, copies, s, t, e, CASE
    WHEN $effect <> 'strength' THEN e[$effect] WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct
  END AS signed
  WHERE signed IS NOT NULL AND ($effect = 'strength' OR (signed <> 0 AND abs(signed) >= coalesce(e.floor_computed, 0.0)))
    AND ($sign = 'any' OR ($sign = 'excitatory' AND signed > 0 OR $sign = 'inhibitory' AND signed < 0)
      AND NOT """
    + takes_from_copy("e", "signed")
    + """)
  // A family has no label here, so that no plan seeks it by its index at every edge, as it would while that index counts as empty.
  OPTIONAL MATCH (s)-[:MEMBER_OF]->({run: run.n, method: $method})<-[:MEMBER_OF {place: 0}]-(a:Feature) WHERE s IN copies
  OPTIONAL MATCH (t)-[:MEMBER_OF]->({run: run.n, method: $method})<-[:MEMBER_OF {place: 0}]-(b:Feature) WHERE t IN copies
  WITH run, copies, coalesce(a, s) AS s, coalesce(b, t) AS t, abs(signed) AS weight
  WHERE s <> t
  // two families may act on each other: with $ties that is one relationship
  WITH run, copies, s, t, weight, $ties AND s.uid > t.uid AS turned
  WITH run, copies, CASE WHEN turned THEN t ELSE s END AS s, CASE WHEN turned THEN s ELSE t END AS t, max(weight) AS weight
"""
)
_PROJECT = (
    _EDGES
    + """
  MATCH (s)<-[:OF]-(a:Observation {run: run.n})
  MATCH (t)<-[:OF]-(b:Observation {run: run.n})
  WITH CASE $orientation WHEN 'reversed' THEN b ELSE a END AS a, CASE $orientation WHEN 'reversed' THEN a ELSE b END AS b, weight
  RETURN a, b, weight
  UNION ALL
  MATCH (a:Observation)-[:OF]->(f:Feature) WHERE a.run = run.n AND a.layer IS NOT NULL AND NOT f IN copies
  RETURN a, null AS b, 0.0 AS weight
}
WITH a, b, weight ORDER BY a.key, b.key
RETURN gds.graph.project(
  $graph, a, b, {relationshipProperties: {weight: weight}},
  {
    undirectedRelationshipTypes: CASE WHEN $undirected THEN ['*'] ELSE [] END,
    inverseIndexedRelationshipTypes: CASE WHEN $indexed THEN ['*'] ELSE [] END
  }
) AS g
"""
)
_COUNT = _EDGES + "  RETURN count(*) AS edges\n}\nRETURN run.nodes AS nodes, edges"


@dataclass(frozen=True)
class Projection:
    """Which part of a run is projected.

    Attributes:
        run: Id of the run.
        method: ``clamping`` or ``jacobian``; clamping where the run has it, if not given.
        edges: ``structural`` (no analysed site in between, or a direct effect that is itself significant) or ``all``.
        effect: What an edge weighs: ``strength`` (the direct effect of a structural edge, the total one of all), ``computed``, ``specific``
            or ``copy``, without edges of which it is smaller than counts; ``specific`` where the run measured it, else ``strength``, if not
            given.
        families: Whether a copy family counts as one feature, under its first member.
        sign: ``any``, ``excitatory`` or ``inhibitory``; what attenuates or erases a copy is never inhibitory.
        orientation: ``natural`` from cause to effect, or ``reversed``; what is computed without direction does not notice.
    """

    run: str
    method: str | None = None
    edges: Edges = "structural"
    sign: Sign = "any"
    orientation: Orientation = "natural"
    effect: str | None = None
    families: bool = True

    def check(self) -> None:
        """Refuse a value that is none of those named.

        Raises:
            StoreError: If there is one.
        """
        for name, allowed in (("edges", Edges), ("sign", Sign), ("orientation", Orientation)):
            if getattr(self, name) not in get_args(allowed):
                raise StoreError(f"{name}: got {getattr(self, name)!r}; expected one of {', '.join(get_args(allowed))}")
        if self.effect is not None and self.effect not in queries.EFFECTS:
            raise StoreError(f"effect: got {self.effect!r}; expected one of {', '.join(queries.EFFECTS)}")


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
def projected(
    gds: GraphDataScience, part: Projection, undirected: bool = False, indexed: bool = False, ties: bool = False
) -> Iterator[Graph]:
    """Project a part of a run under a unique name; it is dropped at the end of the block.

    Args:
        gds: The client.
        part: What to project.
        undirected: Without direction, as communities and cores are computed.
        indexed: Also from target to source, as HITS needs.
        ties: One relationship between two families that act on each other, as cores are computed.
    """
    part.check()
    name = f"store-{uuid.uuid4().hex}"
    values = asdict(part) | _chosen(gds, part)
    try:
        made = gds.graph.project.cypher(_PROJECT, graph=name, undirected=undirected, indexed=indexed, ties=ties, **values)
        yield made.graph
    finally:
        gds.graph.drop(name, fail_if_missing=False)


def _chosen(gds: GraphDataScience, part: Projection) -> dict[str, str]:
    """The method of the edges, and what they weigh.

    Raises:
        StoreError: If there is no such ready run, or nothing in it.
        queries.ParameterError: If it has no edges by the method, or did not measure the effect.
    """
    query = "MATCH (run:Run {id: $run, status: 'ready'}) RETURN run.n AS n, run.methods AS methods, run.nodes AS nodes"
    found = gds.run_cypher(query, {"run": part.run})
    if not len(found):
        raise StoreError(f"run: got {part.run!r}; expected the id of a ready run, as `feature-graph runs list` shows it")
    if not found["nodes"].iloc[0]:
        raise StoreError(f"run {part.run} has no features; there is nothing to score")
    method = queries.choose_method(part.run, found["methods"].iloc[0], part.method)

    def read(text: str, parameters: dict[str, Any], _: float) -> queries.Answer:
        frame = gds.run_cypher(text, parameters)
        return queries.Answer(list(frame.columns), frame.to_numpy().tolist())

    effect = queries.choose_effect(read, [({"id": part.run, "n": int(found["n"].iloc[0])}, method)], part.effect)
    return {"method": method, "effect": effect}


def count_part(store: Store, part: Projection) -> tuple[int, int]:
    """Nodes and relationships that a projection of this part will have."""
    values = {name: value for name, value in asdict(part).items() if name != "orientation"}
    row = store.run(_COUNT, values | {"method": part.method or "clamping", "effect": part.effect or "strength", "ties": False}).iloc[0]
    return int(row["nodes"]), int(row["edges"])
