// Paths between two features
//
// family: cascades
// question: Along which paths does this feature act on that one?
// params:
//   run: {type: run}
//   method: {type: method}
//   source: {type: feature, about: "short id of the feature that acts"}
//   target: {type: feature, about: "short id of the feature that is acted on"}
//   k: {type: int, min: 1, max: 100, default: 5, about: "at most this many paths"}
//   graph: {type: projection}
// returns:
//   path: short ids along the path; with dictionaries on components only features of MLPs are in between
//   hops: edges
//   effect: product of the direct effects, with its sign
//   cost: sum of −ln(|direct| / scale of the run); the cheapest path is the first
// requires: [gds]
// example: {source: L2_F28, target: L11_F1}
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (:Observation {run: run.n, id: $source})-[:OF]->(a:Feature)
MATCH (:Observation {run: run.n, id: $target})-[:OF]->(b:Feature)
// Where dictionaries sit on components, a direct effect holds the MLPs in between and nothing else: paths lead only through one dictionary per MLP.
WITH run, a, b, [(run)-[:COVERS]->(p:Site) WHERE $method IN ['clamping', 'jacobian'] AND p.name =~ 'L[0-9]+[.](mid|z|attn|mlpin|mlp|tc)' | p.name] AS parts
WITH run, a, b, CASE WHEN parts <> [] THEN [p IN parts WHERE p ENDS WITH '.tc' OR p ENDS WITH '.mlp' AND NOT split(p, '.')[0] + '.tc' IN parts
  OR p ENDS WITH '.mlpin' AND none(kind IN ['.tc', '.mlp'] WHERE split(p, '.')[0] + kind IN parts)] END AS passed
CALL (run, passed, a, b) {
  MATCH (s:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
  WHERE e.structural AND e.by <> 'later' AND e.direct <> 0 AND (s = a OR passed IS NULL OR EXISTS {
    MATCH (s)<-[:OF]-(o:Observation {run: run.n}) WHERE split(o.id, '_F')[0] IN passed
  })
  RETURN s, t, -log(abs(e.direct) / run.scale) AS cost
  UNION ALL
  UNWIND [a, b] AS s
  RETURN s, null AS t, 0.0 AS cost
}
WITH run, a, b, gds.graph.project($graph, s, t, {relationshipProperties: {cost: cost}}) AS g
CALL gds.shortestPath.yens.stream(g.graphName, {sourceNode: a, targetNode: b, k: $k, relationshipWeightProperty: 'cost', concurrency: 1})
YIELD index, nodeIds, totalCost
WITH run, g.graphName AS graph, collect({index: index, nodes: [id IN nodeIds | gds.util.asNode(id)], cost: totalCost}) AS found
CALL gds.graph.drop(graph) YIELD graphName
UNWIND found AS way
UNWIND range(0, size(way.nodes) - 2) AS i
WITH run, way, i, way.nodes[i] AS s, way.nodes[i + 1] AS t
MATCH (s)-[e:AFFECTS {run: run.n, method: $method}]->(t)
MATCH (s)<-[:OF]-(x:Observation {run: run.n})
WITH way, i, e.direct AS direct, x.id AS id
ORDER BY way.index, i
WITH way, collect(direct) AS effects, collect(id) AS ids
RETURN ids + [$target] AS path, size(effects) AS hops, reduce(effect = 1.0, x IN effects | effect * x) AS effect, way.cost AS cost
ORDER BY cost, path
