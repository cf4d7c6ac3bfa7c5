// Communities
//
// family: communities
// question: Into which groups do the features fall, how large are they, and how well separated?
// params:
//   run: {type: run}
//   method: {type: method}
//   algorithm: {type: choice, of: [leiden, louvain, label_propagation, wcc], default: leiden, about: "algorithm that groups the features; edges are weighted by magnitude, and their direction is ignored"}
//   edges: {type: choice, of: [structural, all], default: structural, about: "structural: edges without an analysed site in between, or with a direct effect that is itself significant; all: every edge"}
//   effect: {type: effect}
//   families: {type: bool, default: true, about: "whether a copy family counts as one feature, under its first member; of several edges between the same two, the strongest then counts"}
//   sign: {type: choice, of: [any, excitatory, inhibitory], default: any, about: "only edges of this sign; what attenuates or erases a copy is never inhibitory"}
//   seed: {type: int, min: 0, max: 2147483647, default: 42, about: "seed of leiden; the others have none"}
//   min_size: {type: int, min: 1, max: 1000000, default: 2, about: "communities of at least this many features"}
//   members: {type: int, min: 1, max: 10000, default: 8, about: "number of members shown"}
//   graph: {type: projection}
//   limit: {type: int, min: 1, max: 10000, default: 50, about: "at most this many rows"}
// returns:
//   community: number, 1 = largest
//   size: features in it
//   modularity: its part of the modularity of the whole partition; their sum is the quality; empty where no edge has a weight
//   conductance: share of its edges' magnitude that leaves it; 0 if nothing does, empty if it has no edges
//   layers: layers that it spans
//   members: short ids of its first members, by layer
//   labels: their labels
// requires: [gds]
// example: {members: 4}
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
// in subqueries of their own: either gives no rows at all where no edge has a weight
CALL (g) {
  CALL gds.modularity.stream(g.graphName, {communityProperty: 'community', relationshipWeightProperty: 'weight', concurrency: 1})
  YIELD communityId, modularity
  RETURN collect({community: communityId, modularity: CASE WHEN isNaN(modularity) THEN null ELSE modularity END}) AS parts
}
CALL (g) {
  CALL gds.conductance.stream(g.graphName, {communityProperty: 'community', relationshipWeightProperty: 'weight', concurrency: 1})
  YIELD community, conductance
  RETURN collect({community: community, conductance: conductance}) AS leaks
}
CALL gds.graph.nodeProperty.stream(g.graphName, 'community') YIELD nodeId, propertyValue
WITH run, g.graphName AS graph, parts, leaks, collect({feature: gds.util.asNode(nodeId), community: propertyValue}) AS assigned
CALL gds.graph.drop(graph) YIELD graphName
UNWIND assigned AS row
WITH run, parts, leaks, row.feature AS f, row.community AS found
MATCH (f)<-[:OF]-(o:Observation {run: run.n})
WITH parts, leaks, found, o
ORDER BY o.layer, o.fid
WITH parts, leaks, found, collect(o) AS seen
WHERE size(seen) >= $min_size
ORDER BY size(seen) DESC, seen[0].fid
LIMIT $limit
WITH seen, [p IN parts WHERE p.community = found | p.modularity][0] AS modularity,
     [p IN leaks WHERE p.community = found | p.conductance][0] AS leak
ORDER BY size(seen) DESC, seen[0].fid
WITH collect({seen: seen, modularity: modularity, leak: CASE WHEN isNaN(leak) THEN null ELSE leak END}) AS ranked
UNWIND range(0, size(ranked) - 1) AS rank
WITH rank + 1 AS community, ranked[rank].seen AS seen, ranked[rank].modularity AS modularity, ranked[rank].leak AS conductance
RETURN community, size(seen) AS size, modularity, conductance,
       reduce(layers = [], o IN seen | CASE WHEN o.layer IN layers THEN layers ELSE layers + o.layer END) AS layers,
       [o IN seen[0..$members] | o.id] AS members, [o IN seen[0..$members] | o.label] AS labels
ORDER BY community
