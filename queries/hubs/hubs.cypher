// Hubs
//
// family: hubs
// question: Which features drive, receive or relay the most?
// params:
//   run: {type: run}
//   method: {type: method}
//   measure: {type: choice, of: [degree, in_degree, out_degree, strength, in_strength, out_strength, pagerank, reverse_pagerank, betweenness, closeness], default: degree, about: "degree counts edges, strength sums their magnitudes; pagerank follows the edges, reverse_pagerank goes against them; betweenness counts shortest routes through, closeness is harmonic over routes that end here"}
//   edges: {type: choice, of: [structural, all], default: structural, about: "structural: span 1, or a direct effect that is itself significant; all: every edge, by its total"}
//   sign: {type: choice, of: [any, excitatory, inhibitory], default: any, about: "which edges"}
//   layer: {type: int, min: 0, max: 1000, optional: true, about: "features of one layer only; scores are still those of the whole graph"}
//   graph: {type: projection}
//   limit: {type: int, min: 1, max: 10000, default: 20, about: "rows at most"}
// returns:
//   id: short id
//   layer: layer
//   score: the measure
//   incoming: edges that end here
//   outgoing: edges that begin here
//   label: top activating tokens in context
// requires: [gds]
// example: {measure: pagerank, limit: 5}
MATCH (run:Run {id: $run, status: 'ready'})
CALL (run) {
  MATCH (s:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
  WHERE $edges = 'all' OR e.span = 1 OR e.by CONTAINS 'direct'
  WITH s, t, CASE WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct END AS signed
  WHERE $sign = 'any' OR ($sign = 'excitatory' AND signed > 0) OR ($sign = 'inhibitory' AND signed < 0)
  RETURN s, t, abs(signed) AS weight
  UNION ALL
  MATCH (o:Observation)-[:OF]->(s:Feature)
  USING INDEX o:Observation(run, layer)
  WHERE o.run = run.n AND o.layer IS NOT NULL
  RETURN s, null AS t, 0.0 AS weight
}
// Going against the edges is going along them with both ends exchanged.
WITH run,
     CASE WHEN $measure = 'reverse_pagerank' AND t IS NOT NULL THEN t ELSE s END AS source,
     CASE WHEN $measure = 'reverse_pagerank' AND t IS NOT NULL THEN s ELSE t END AS target,
     weight
WITH run, gds.graph.project($graph, source, target, {relationshipProperties: {weight: weight}}) AS g
CALL (g) {
  WITH g WHERE $measure IN ['pagerank', 'reverse_pagerank']
  CALL gds.pageRank.stream(g.graphName, {relationshipWeightProperty: 'weight', maxIterations: 200, tolerance: 1e-12, concurrency: 1})
  YIELD nodeId, score
  RETURN nodeId, score
  UNION ALL
  WITH g WHERE $measure = 'betweenness'
  CALL gds.betweenness.stream(g.graphName, {concurrency: 1}) YIELD nodeId, score
  RETURN nodeId, score
  UNION ALL
  WITH g WHERE $measure = 'closeness'
  CALL gds.closeness.harmonic.stream(g.graphName, {concurrency: 1}) YIELD nodeId, score
  RETURN nodeId, score
  UNION ALL
  WITH g WHERE $measure ENDS WITH 'degree'
  CALL gds.degree.stream(g.graphName, {
    orientation: CASE $measure WHEN 'in_degree' THEN 'REVERSE' WHEN 'out_degree' THEN 'NATURAL' ELSE 'UNDIRECTED' END
  }) YIELD nodeId, score
  RETURN nodeId, score
  UNION ALL
  WITH g WHERE $measure ENDS WITH 'strength'
  CALL gds.degree.stream(g.graphName, {
    orientation: CASE $measure WHEN 'in_strength' THEN 'REVERSE' WHEN 'out_strength' THEN 'NATURAL' ELSE 'UNDIRECTED' END,
    relationshipWeightProperty: 'weight'
  }) YIELD nodeId, score
  RETURN nodeId, score
}
WITH run, g.graphName AS graph, collect({feature: gds.util.asNode(nodeId), score: score}) AS scores
CALL gds.graph.drop(graph) YIELD graphName
UNWIND scores AS row
WITH run, row.feature AS f, row.score AS score
MATCH (f)<-[:OF]-(o:Observation {run: run.n})
WHERE $layer IS NULL OR o.layer = $layer
WITH run, f, o, score
ORDER BY score DESC, o.id
LIMIT $limit
RETURN o.id AS id, o.layer AS layer, score,
       COUNT { (f)<-[e:AFFECTS]-() WHERE e.run = run.n AND e.method = $method AND ($edges = 'all' OR e.span = 1 OR e.by CONTAINS 'direct') } AS incoming,
       COUNT { (f)-[e:AFFECTS]->() WHERE e.run = run.n AND e.method = $method AND ($edges = 'all' OR e.span = 1 OR e.by CONTAINS 'direct') } AS outgoing,
       o.label AS label
ORDER BY score DESC, id
