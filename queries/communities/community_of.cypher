// The community of a feature
//
// family: communities
// question: Which features belong together with this one?
// params:
//   run: {type: run}
//   method: {type: method}
//   feature: {type: feature}
//   algorithm: {type: choice, of: [leiden, louvain, label_propagation, wcc], default: leiden, about: "algorithm that groups the features; edges are weighted by magnitude, and their direction is ignored"}
//   edges: {type: choice, of: [structural, all], default: structural, about: "structural: edges of span 1, or with a direct effect that is itself significant; all: every edge, by its total effect"}
//   effect: {type: choice, of: [strength, computed, specific, copy], default: strength, about: "what an edge weighs. strength: by edges, its direct or its total effect; computed: the total effect without the copy; specific: computed, without what the blocks compute of any direction; copy: what the residual stream carries on"}
//   sign: {type: choice, of: [any, excitatory, inhibitory], default: any, about: "only edges of this sign"}
//   seed: {type: int, min: 0, max: 2147483647, default: 42, about: "seed of leiden; the others have none"}
//   graph: {type: projection}
//   limit: {type: int, min: 1, max: 10000, default: 50, about: "at most this many rows"}
// returns:
//   id: short id
//   layer: layer
//   inside: sum of the magnitudes of its edges within the community
//   outside: the same, of its edges that leave it
//   label: top activating tokens in context
// requires: [gds]
// example: {feature: L5_F280}
MATCH (run:Run {id: $run, status: 'ready'})
CALL (run) {
  MATCH (s:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
  WHERE $edges = 'all' OR e.structural
  WITH s, t, CASE $effect WHEN 'computed' THEN e.computed WHEN 'specific' THEN e.specific WHEN 'copy' THEN e.copy
    ELSE CASE WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct END END AS signed
  WHERE signed IS NOT NULL AND ($sign = 'any' OR ($sign = 'excitatory' AND signed > 0) OR ($sign = 'inhibitory' AND signed < 0))
  RETURN s, t, abs(signed) AS weight
  UNION ALL
  MATCH (o:Observation)-[:OF]->(s:Feature)
  USING INDEX o:Observation(run, layer)
  WHERE o.run = run.n AND o.layer IS NOT NULL
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
MATCH (:Observation {run: run.n, id: $feature})-[:OF]->(anchor:Feature)
WITH run, assigned, [row IN assigned WHERE row.feature = anchor | row.community][0] AS mine
WITH run, [row IN assigned WHERE row.community = mine | row.feature] AS members
UNWIND members AS f
MATCH (f)<-[:OF]-(o:Observation {run: run.n})
OPTIONAL MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]-(x:Feature)
WHERE $edges = 'all' OR e.structural
WITH o, x IN members AS within, CASE $effect WHEN 'computed' THEN e.computed WHEN 'specific' THEN e.specific WHEN 'copy' THEN e.copy
  ELSE CASE WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct END END AS signed
WITH o, within, CASE
  WHEN $sign = 'any' OR ($sign = 'excitatory' AND signed > 0) OR ($sign = 'inhibitory' AND signed < 0) THEN abs(signed)
  ELSE 0.0
END AS weight
RETURN o.id AS id, o.layer AS layer, sum(CASE WHEN within THEN weight ELSE 0.0 END) AS inside,
       sum(CASE WHEN within THEN 0.0 ELSE weight END) AS outside, o.label AS label
ORDER BY inside DESC, id
LIMIT $limit
