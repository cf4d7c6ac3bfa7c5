// Edges between communities: the strongest, to look at
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
UNWIND assigned AS row
WITH run, row.feature AS f, row.community AS found
MATCH (f)<-[:OF]-(o:Observation {run: run.n})
WITH run, o, found, f ORDER BY o.fid
WITH run, collect(found) AS community_of, collect(f) AS features
CALL (run) {
  MATCH (s:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
  WHERE $edges = 'all' OR e.structural
  RETURN s, e, t, CASE $effect WHEN 'computed' THEN e.computed WHEN 'specific' THEN e.specific WHEN 'copy' THEN e.copy
    ELSE CASE WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct END END AS signed
}
MATCH (s)<-[:OF]-(a:Observation {run: run.n})
MATCH (t)<-[:OF]-(b:Observation {run: run.n})
WITH s, e, t, signed, community_of[a.fid] AS source_community, community_of[b.fid] AS target_community
WHERE source_community <> target_community AND signed IS NOT NULL AND ($sign = 'any' OR ($sign = 'excitatory' AND signed > 0) OR ($sign = 'inhibitory' AND signed < 0))
WITH s, e, t ORDER BY abs(signed) DESC LIMIT 300
MATCH path = (s)-[e]->(t)
RETURN path
