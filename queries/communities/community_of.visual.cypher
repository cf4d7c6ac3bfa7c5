// The community of a feature: its edges within, to look at
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
MATCH (:Observation {run: run.n, id: $feature})-[:OF]->(named:Feature)
OPTIONAL MATCH (named)-[:MEMBER_OF]->({run: run.n, method: $method})<-[:MEMBER_OF {place: 0}]-(first:Feature) WHERE $families
WITH run, assigned, coalesce(first, named) AS anchor
WITH run, assigned, [row IN assigned WHERE row.feature = anchor | row.community][0] AS mine
WITH run, [row IN assigned WHERE row.community = mine | row.feature] AS members
// A family is drawn with all its members.
UNWIND members AS f
OPTIONAL MATCH (f)-[:MEMBER_OF {place: 0}]->(x {run: run.n, method: $method}) WHERE $families
OPTIONAL MATCH (x)<-[:MEMBER_OF]-(member:Feature)
WITH run, collect(coalesce(member, f)) AS members
UNWIND members AS f
MATCH path = (f)-[e:AFFECTS]->(t:Feature)
WHERE e.run = run.n AND e.method = $method AND ($edges = 'all' OR e.structural) AND t IN members
WITH path, e, CASE WHEN $effect <> 'strength' THEN e[$effect] WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct END AS signed
WHERE signed IS NOT NULL AND ($effect = 'strength' OR (signed <> 0 AND abs(signed) >= coalesce(e.floor_computed, 0.0)))
  AND ($sign = 'any' OR ($sign = 'excitatory' AND signed > 0 OR $sign = 'inhibitory' AND signed < 0) AND NOT (e.type = 'erases_copy' OR e.type = 'attenuates_copy' AND ($effect IN ['computed', 'specific'] OR signed < 0)))
RETURN path
ORDER BY abs(signed) DESC
LIMIT 300
