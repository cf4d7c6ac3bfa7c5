// From the seeds of a behaviour to the last layer or to the answer
//
// family: behaviors
// question: Along which paths do the seeds of this behaviour act on the last layer, or on the answer?
// params:
//   run: {type: run}
//   method: {type: method}
//   behavior: {type: behavior}
//   to: {type: choice, of: [layer, output], default: layer, about: "layer: paths to the features of a layer; output: to the features that write into the answer themselves, including seeds that do so"}
//   layer: {type: int, min: 0, max: 1000, optional: true, about: "layer at which paths end; the last layer of the run if not given"}
//   graph: {type: projection}
//   limit: {type: int, min: 1, max: 10000, default: 20, about: "at most this many rows, the strongest paths first"}
// returns:
//   seed: short id of the seed at which the path begins
//   target: short id of the feature at which it ends
//   path: short ids along the path, the strongest one from any seed to that feature; with dictionaries on components only features of MLPs are in between
//   hops: edges
//   effect: product of the direct effects, with its sign
//   output: direct effect of the target on the behaviour's metric, past all later blocks; empty if it has none
//   cost: sum of −ln(|direct| / scale of the run)
//   label: top activating tokens of the target
// requires: [gds]
// example: {behavior: capital_of}
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (b:Behavior {uid: toString(run.n) + '/' + $behavior})
// Where dictionaries sit on components, a direct effect holds the MLPs in between and nothing else: paths lead only through one dictionary per MLP.
WITH run, b, [(run)-[:COVERS]->(p:Site) WHERE $method IN ['clamping', 'jacobian'] AND p.name =~ 'L[0-9]+[.](mid|z|attn|mlpin|mlp|tc)' | p.name] AS parts
WITH run, b, [(b)-[:SEEDED_BY]->(f:Feature) | f] AS seeds, CASE WHEN parts <> [] THEN [p IN parts WHERE p ENDS WITH '.tc' OR p ENDS WITH '.mlp' AND NOT split(p, '.')[0] + '.tc' IN parts
  OR p ENDS WITH '.mlpin' AND none(kind IN ['.tc', '.mlp'] WHERE split(p, '.')[0] + kind IN parts)] END AS passed
// the behaviour itself is where all paths begin, at no cost
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
WITH run, b, g.graphName AS graph, collect({target: gds.util.asNode(targetNode), nodes: [id IN nodeIds[1..] | gds.util.asNode(id)], cost: totalCost}) AS found
CALL gds.graph.drop(graph) YIELD graphName
UNWIND found AS way
WITH run, b, way, way.target AS f
MATCH (f)<-[:OF]-(o:Observation {run: run.n})
OPTIONAL MATCH (f)-[w:WRITES_TO]->(b)
WITH run, way, o, w.effect AS output
WHERE CASE $to WHEN 'output' THEN output IS NOT NULL ELSE o.layer = coalesce($layer, run.layers[-1]) AND size(way.nodes) > 1 END
WITH run, way, o, output
ORDER BY way.cost, o.id
LIMIT $limit
UNWIND range(0, size(way.nodes) - 1) AS i
WITH run, way, o, output, i, way.nodes[i] AS s, way.nodes[i + 1] AS t
MATCH (s)<-[:OF]-(x:Observation {run: run.n})
OPTIONAL MATCH (s)-[e:AFFECTS {run: run.n, method: $method}]->(t)
WITH way, o, output, i, e.direct AS direct, x.id AS id
ORDER BY way.cost, o.id, i
WITH way.cost AS cost, o, output, collect(direct) AS effects, collect(id) AS ids
RETURN ids[0] AS seed, o.id AS target, ids AS path, size(effects) AS hops, reduce(effect = 1.0, x IN effects | effect * x) AS effect,
       output, cost, o.label AS label
ORDER BY cost, target
