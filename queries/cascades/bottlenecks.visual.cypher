// Bottlenecks of the graph: as a graph
MATCH (run:Run {id: $run, status: 'ready'})
CALL (run) {
  MATCH (s:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
  WHERE ($edges = 'all' OR e.structural) AND abs(CASE WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct END) >= $min_strength
  RETURN s, t
  UNION ALL
  MATCH (o:Observation)-[:OF]->(s:Feature)
  USING INDEX o:Observation(run, layer)
  WHERE o.run = run.n AND o.layer IS NOT NULL
  RETURN s, null AS t
}
WITH run, s, t ORDER BY s.uid, t.uid
WITH run, gds.graph.project($graph, s, t, {}, {undirectedRelationshipTypes: ['*']}) AS g
CALL gds.articulationPoints.stream(g.graphName, {concurrency: 1}) YIELD nodeId
WITH run, g.graphName AS graph, collect(gds.util.asNode(nodeId)) AS points
CALL gds.graph.drop(graph) YIELD graphName
UNWIND points AS f
WITH run, f, COUNT { (f)-[x:AFFECTS]-() WHERE x.run = run.n AND x.method = $method } AS size
ORDER BY size DESC, f.uid
LIMIT 10
MATCH path = (f)-[e:AFFECTS {run: run.n, method: $method}]-(:Feature)
WHERE ($edges = 'all' OR e.structural) AND abs(CASE WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct END) >= $min_strength
RETURN path
LIMIT 200
