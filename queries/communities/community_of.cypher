// The community of a feature
//
// family: communities
// question: Which features belong together with this one?
// params:
//   run: {type: run}
//   method: {type: method}
//   feature: {type: feature}
//   algorithm: {type: choice, of: [leiden, louvain, label_propagation, wcc], default: leiden, about: "algorithm that groups the features; edges are weighted by magnitude, and their direction is ignored"}
//   edges: {type: choice, of: [structural, all], default: structural, about: "structural: edges without an analysed site in between, or with a direct effect that is itself significant; all: every edge"}
//   effect: {type: effect}
//   families: {type: bool, default: true, about: "whether a copy family counts as one feature, under its first member; of several edges between the same two, the strongest then counts"}
//   sign: {type: choice, of: [any, excitatory, inhibitory], default: any, about: "only edges of this sign; what attenuates or erases a copy is never inhibitory"}
//   seed: {type: int, min: 0, max: 2147483647, default: 42, about: "seed of leiden; the others have none"}
//   graph: {type: projection}
//   limit: {type: int, min: 1, max: 10000, default: 50, about: "at most this many rows"}
// returns:
//   id: short id; of a family, that of its first member
//   layer: layer
//   inside: sum of the magnitudes of its edges within the community
//   outside: the same, of its edges that leave it
//   label: top activating tokens in context
// requires: [gds]
// example: {feature: L5_F280}
MATCH (run:Run {id: $run, status: 'ready'})
OPTIONAL MATCH (copy:Feature)-[m:MEMBER_OF]->(:Family {run: run.n, method: $method})
WHERE $families AND m.place > 0
WITH run, collect(copy) AS copies
CALL (run, copies) {
  MATCH (s:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
  WHERE $edges = 'all' OR e.structural
  WITH run, copies, s, t, e, CASE WHEN $effect <> 'strength' THEN e[$effect] WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct END AS signed
  WHERE signed IS NOT NULL AND ($effect = 'strength' OR (signed <> 0 AND abs(signed) >= coalesce(e.floor_computed, 0.0)))
    AND ($sign = 'any' OR ($sign = 'excitatory' AND signed > 0 OR $sign = 'inhibitory' AND signed < 0) AND NOT (e.type = 'erases_copy' OR e.type = 'attenuates_copy' AND ($effect IN ['computed', 'specific'] OR signed < 0)))
  // A family has no label here, so that no plan seeks it by its index at every edge, as it would while that index counts as empty.
  OPTIONAL MATCH (s)-[:MEMBER_OF]->({run: run.n, method: $method})<-[:MEMBER_OF {place: 0}]-(a:Feature) WHERE s IN copies
  OPTIONAL MATCH (t)-[:MEMBER_OF]->({run: run.n, method: $method})<-[:MEMBER_OF {place: 0}]-(b:Feature) WHERE t IN copies
  WITH coalesce(a, s) AS s, coalesce(b, t) AS t, max(abs(signed)) AS weight
  WHERE s <> t
  RETURN s, t, weight
  UNION ALL
  MATCH (o:Observation)-[:OF]->(s:Feature)
  USING INDEX o:Observation(run, layer)
  WHERE o.run = run.n AND o.layer IS NOT NULL AND NOT s IN copies
  RETURN s, null AS t, 0.0 AS weight
}
// in a fixed order, so that a seed gives the same groups in every database
WITH run, s, t, weight ORDER BY s.uid, t.uid
WITH run, gds.graph.project($graph, s, t, {relationshipProperties: {weight: weight}}, {undirectedRelationshipTypes: ['*']}) AS g
CALL (g) {
  WITH g WHERE $algorithm = 'leiden' AND g.relationshipCount > 0
  CALL gds.leiden.mutate(g.graphName, {mutateProperty: 'community', relationshipWeightProperty: 'weight', randomSeed: $seed, concurrency: 1})
  YIELD nodePropertiesWritten
  RETURN nodePropertiesWritten AS written
  UNION ALL
  WITH g WHERE $algorithm = 'louvain' AND g.relationshipCount > 0
  CALL gds.louvain.mutate(g.graphName, {mutateProperty: 'community', relationshipWeightProperty: 'weight', concurrency: 1})
  YIELD nodePropertiesWritten
  RETURN nodePropertiesWritten AS written
  UNION ALL
  WITH g WHERE $algorithm = 'label_propagation' AND g.relationshipCount > 0
  CALL gds.labelPropagation.mutate(g.graphName, {mutateProperty: 'community', relationshipWeightProperty: 'weight', concurrency: 1})
  YIELD nodePropertiesWritten
  RETURN nodePropertiesWritten AS written
  UNION ALL
  WITH g WHERE $algorithm = 'wcc' OR g.relationshipCount = 0
  CALL gds.wcc.mutate(g.graphName, {mutateProperty: 'community', concurrency: 1})
  YIELD nodePropertiesWritten
  RETURN nodePropertiesWritten AS written
}
CALL gds.graph.nodeProperty.stream(g.graphName, 'community') YIELD nodeId, propertyValue
WITH run, g.graphName AS graph, collect({feature: gds.util.asNode(nodeId), community: propertyValue}) AS assigned
CALL gds.graph.drop(graph) YIELD graphName
OPTIONAL MATCH (copy:Feature)-[m:MEMBER_OF]->(:Family {run: run.n, method: $method})
WHERE $families AND m.place > 0
WITH run, assigned, collect(copy) AS copies
MATCH (:Observation {run: run.n, id: $feature})-[:OF]->(named:Feature)
OPTIONAL MATCH (named)-[:MEMBER_OF]->({run: run.n, method: $method})<-[:MEMBER_OF {place: 0}]-(first:Feature) WHERE named IN copies
WITH run, copies, assigned, coalesce(first, named) AS anchor
WITH run, copies, assigned, [row IN assigned WHERE row.feature = anchor | row.community][0] AS mine
WITH run, copies, [row IN assigned WHERE row.community = mine | row.feature] AS members
// What a feature weighs, or what its whole family does: of several edges between the same two, the strongest counts.
UNWIND members AS f
OPTIONAL MATCH (f)-[:MEMBER_OF {place: 0}]->(x {run: run.n, method: $method}) WHERE $families
OPTIONAL MATCH (x)<-[:MEMBER_OF]-(member:Feature)
WITH run, copies, members, f, coalesce(member, f) AS own
OPTIONAL MATCH (own)-[e:AFFECTS {run: run.n, method: $method}]-(other:Feature)
WHERE $edges = 'all' OR e.structural
WITH run, copies, members, f, own, e, other, CASE WHEN $effect <> 'strength' THEN e[$effect] WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct END AS signed
WITH run, copies, members, f, startNode(e) = own AS outgoing, other, CASE
  WHEN ($effect = 'strength' OR (signed <> 0 AND abs(signed) >= coalesce(e.floor_computed, 0.0)))
    AND ($sign = 'any' OR ($sign = 'excitatory' AND signed > 0 OR $sign = 'inhibitory' AND signed < 0) AND NOT (e.type = 'erases_copy' OR e.type = 'attenuates_copy' AND ($effect IN ['computed', 'specific'] OR signed < 0))) THEN abs(signed)
  ELSE 0.0
END AS weight
OPTIONAL MATCH (other)-[:MEMBER_OF]->({run: run.n, method: $method})<-[:MEMBER_OF {place: 0}]-(b:Feature) WHERE other IN copies
WITH run, f, outgoing, coalesce(b, other) AS other, coalesce(b, other) IN members AS within, weight
WITH run, f, outgoing, other, within, CASE WHEN other = f THEN 0.0 ELSE max(weight) END AS weight
WITH run, f, sum(CASE WHEN within THEN weight ELSE 0.0 END) AS inside, sum(CASE WHEN within THEN 0.0 ELSE weight END) AS outside
MATCH (f)<-[:OF]-(o:Observation {run: run.n})
RETURN o.id AS id, o.layer AS layer, inside, outside, o.label AS label
ORDER BY inside DESC, id
LIMIT $limit
