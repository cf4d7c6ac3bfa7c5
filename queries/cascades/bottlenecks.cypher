// Bottlenecks of the graph
//
// family: cascades
// question: Which single features hold parts of the graph together, so that without them nothing passes from one side to the other?
// params:
//   run: {type: run}
//   method: {type: method}
//   edges: {type: choice, of: [structural, all], default: structural, about: "structural: edges without an analysed site in between, or with a direct effect that is itself significant; all: every edge, by its total effect"}
//   min_strength: {type: float, min: 0, max: 1000000, default: 0, about: "only edges of at least this magnitude count: raise it until the graph is sparse enough to have bottlenecks"}
//   graph: {type: projection}
//   limit: {type: int, min: 1, max: 10000, default: 50, about: "at most this many rows"}
// returns:
//   id: short id
//   layer: layer
//   incoming: edges that end here
//   outgoing: edges that begin here
//   flow: incoming × outgoing, the paths of two steps that pass through it
//   label: top activating tokens in context
// requires: [gds]
// example: {min_strength: 0.3, limit: 8}
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
CALL (run, f) {
  OPTIONAL MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]-(:Feature)
  WHERE ($edges = 'all' OR e.structural) AND abs(CASE WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct END) >= $min_strength
  RETURN sum(CASE WHEN endNode(e) = f THEN 1 ELSE 0 END) AS incoming, sum(CASE WHEN startNode(e) = f THEN 1 ELSE 0 END) AS outgoing
}
MATCH (f)<-[:OF]-(o:Observation {run: run.n})
RETURN o.id AS id, o.layer AS layer, incoming, outgoing, incoming * outgoing AS flow, o.label AS label
ORDER BY incoming + outgoing DESC, id
LIMIT $limit
