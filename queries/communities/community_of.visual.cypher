// The community of a feature: its edges within, to look at
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
MATCH path = (f)-[e:AFFECTS]->(t:Feature)
WHERE e.run = run.n AND e.method = $method AND ($edges = 'all' OR e.structural) AND t IN members
WITH path, CASE $effect WHEN 'computed' THEN e.computed WHEN 'specific' THEN e.specific WHEN 'copy' THEN e.copy
  ELSE CASE WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct END END AS signed
WHERE signed IS NOT NULL AND ($sign = 'any' OR ($sign = 'excitatory' AND signed > 0) OR ($sign = 'inhibitory' AND signed < 0))
RETURN path
ORDER BY abs(signed) DESC
LIMIT 300
