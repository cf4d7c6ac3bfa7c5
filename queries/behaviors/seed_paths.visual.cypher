// From the seeds of a behaviour to the last layer or to the answer: as a graph
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (b:Behavior {uid: toString(run.n) + '/' + $behavior})
// Where dictionaries sit on components, a direct effect holds the MLPs in between and nothing else: paths lead only through one dictionary per MLP.
WITH run, b, [(run)-[:COVERS]->(p:Site) WHERE $method IN ['clamping', 'jacobian'] AND p.name =~ 'L[0-9]+[.](mid|z|attn|mlpin|mlp|tc)' | p.name] AS parts
WITH run, b, [(b)-[:SEEDED_BY]->(f:Feature) | f] AS seeds, CASE WHEN parts <> [] THEN [p IN parts WHERE p ENDS WITH '.tc' OR p ENDS WITH '.mlp' AND NOT split(p, '.')[0] + '.tc' IN parts
  OR p ENDS WITH '.mlpin' AND none(kind IN ['.tc', '.mlp'] WHERE split(p, '.')[0] + kind IN parts)] END AS passed
CALL (run, passed, seeds, b) {
  MATCH (s:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
  WHERE e.structural AND e.by <> 'later' AND e.direct <> 0 AND (passed IS NULL OR s IN seeds OR EXISTS {
    MATCH (s)<-[:OF]-(o:Observation {run: run.n}) WHERE split(o.id, '_F')[0] IN passed
  })
  RETURN s, t, -log(abs(e.direct) / run.scale) AS cost
  UNION ALL
  UNWIND seeds AS t
  RETURN b AS s, t, 0.0 AS cost
}
WITH run, b, gds.graph.project($graph, s, t, {relationshipProperties: {cost: cost}}) AS g
CALL gds.allShortestPaths.dijkstra.stream(g.graphName, {sourceNode: b, relationshipWeightProperty: 'cost', concurrency: 1})
YIELD targetNode, nodeIds, totalCost
WITH run, b, g.graphName AS graph, collect({target: gds.util.asNode(targetNode), nodes: [id IN nodeIds | gds.util.asNode(id)], cost: totalCost}) AS found
CALL gds.graph.drop(graph) YIELD graphName
UNWIND found AS way
WITH run, b, way, way.target AS f
MATCH (f)<-[:OF]-(o:Observation {run: run.n})
WHERE CASE $to WHEN 'output' THEN EXISTS { (f)-[:WRITES_TO]->(b) } ELSE o.layer = coalesce($layer, run.layers[-1]) AND size(way.nodes) > 2 END
WITH run, b, way, o
ORDER BY way.cost, o.id
LIMIT $limit
WITH run, way.nodes + CASE $to WHEN 'output' THEN [b] ELSE [] END AS nodes
UNWIND range(0, size(nodes) - 2) AS i
WITH DISTINCT run, nodes[i] AS s, nodes[i + 1] AS t
MATCH path = (s)-[e:AFFECTS|SEEDED_BY|WRITES_TO]->(t)
WHERE type(e) <> 'AFFECTS' OR (e.run = run.n AND e.method = $method)
RETURN path
LIMIT 300
