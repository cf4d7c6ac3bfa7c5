// Cascade
//
// family: cascades
// question: If this feature is turned up, what follows, and how far?
// params:
//   run: {type: run}
//   method: {type: method}
//   feature: {type: feature}
//   delta: {type: float, min: -1000000, max: 1000000, default: 1, about: "change of the feature, in its activation units"}
//   max_hops: {type: int, min: 1, max: 6, default: 6, about: "only features at most this many steps away are listed; their effect is still summed over all paths, including longer ones"}
//   min_effect: {type: float, min: 0, max: 1000000, default: 0.001, about: "features whose summed change is smaller are not listed; nothing is left out of a sum"}
//   min_strength: {type: float, min: 0, max: 1000000, default: 0, about: "edges with a smaller |direct| are not followed"}
//   decay: {type: float, min: 0.000001, max: 1, default: 1, about: "what each step after the first passes on; 1 trusts long paths as much as short ones"}
//   limit: {type: int, min: 1, max: 10000, default: 50, about: "at most this many rows"}
// returns:
//   id: short id
//   layer: layer
//   hops: fewest steps from the feature that is turned up
//   effect: "predicted change in activation units: the sum over all paths, of any length, of the product of direct effects; with dictionaries on components paths lead only through features of MLPs"
//   paths: paths summed
//   label: top activating tokens in context
// example: {feature: L2_F28, delta: 2.0, limit: 8}
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (:Observation {run: run.n, id: $feature})-[:OF]->(start:Feature)
// Where dictionaries sit on components, a direct effect holds the MLPs in between and nothing else: paths lead only through one dictionary per MLP.
WITH run, start, [(run)-[:COVERS]->(p:Site) WHERE $method IN ['clamping', 'jacobian'] AND p.name =~ 'L[0-9]+[.](mid|z|attn|mlpin|mlp|tc)' | p.name] AS parts
WITH run, start, CASE WHEN parts <> [] THEN [p IN parts WHERE p ENDS WITH '.tc' OR p ENDS WITH '.mlp' AND NOT split(p, '.')[0] + '.tc' IN parts
  OR p ENDS WITH '.mlpin' AND none(kind IN ['.tc', '.mlp'] WHERE split(p, '.')[0] + kind IN parts)] END AS passed
// Direct effects only: a total already holds what passes through features between. Six steps are all that seven sites allow.
WITH run, passed, [{feature: start, effect: $delta, paths: 1, hops: 0}] AS level0
CALL (run, passed, level0) {
  UNWIND level0 AS step
  WITH run, step.feature AS f, step.effect AS arriving, step.paths AS paths
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(x:Feature)
  WHERE e.structural AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH x, sum(arriving * e.direct) AS effect, sum(paths) AS paths
  RETURN collect({feature: x, effect: effect, paths: paths, hops: 1}) AS level1
}
CALL (run, passed, level1) {
  UNWIND level1 AS step
  WITH run, passed, step.feature AS f, step.effect AS arriving, step.paths AS paths
  WHERE passed IS NULL OR EXISTS { MATCH (f)<-[:OF]-(o:Observation {run: run.n}) WHERE split(o.id, '_F')[0] IN passed }
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(x:Feature)
  WHERE e.structural AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH x, sum(arriving * e.direct * $decay) AS effect, sum(paths) AS paths
  RETURN collect({feature: x, effect: effect, paths: paths, hops: 2}) AS level2
}
CALL (run, passed, level2) {
  UNWIND level2 AS step
  WITH run, passed, step.feature AS f, step.effect AS arriving, step.paths AS paths
  WHERE passed IS NULL OR EXISTS { MATCH (f)<-[:OF]-(o:Observation {run: run.n}) WHERE split(o.id, '_F')[0] IN passed }
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(x:Feature)
  WHERE e.structural AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH x, sum(arriving * e.direct * $decay) AS effect, sum(paths) AS paths
  RETURN collect({feature: x, effect: effect, paths: paths, hops: 3}) AS level3
}
CALL (run, passed, level3) {
  UNWIND level3 AS step
  WITH run, passed, step.feature AS f, step.effect AS arriving, step.paths AS paths
  WHERE passed IS NULL OR EXISTS { MATCH (f)<-[:OF]-(o:Observation {run: run.n}) WHERE split(o.id, '_F')[0] IN passed }
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(x:Feature)
  WHERE e.structural AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH x, sum(arriving * e.direct * $decay) AS effect, sum(paths) AS paths
  RETURN collect({feature: x, effect: effect, paths: paths, hops: 4}) AS level4
}
CALL (run, passed, level4) {
  UNWIND level4 AS step
  WITH run, passed, step.feature AS f, step.effect AS arriving, step.paths AS paths
  WHERE passed IS NULL OR EXISTS { MATCH (f)<-[:OF]-(o:Observation {run: run.n}) WHERE split(o.id, '_F')[0] IN passed }
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(x:Feature)
  WHERE e.structural AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH x, sum(arriving * e.direct * $decay) AS effect, sum(paths) AS paths
  RETURN collect({feature: x, effect: effect, paths: paths, hops: 5}) AS level5
}
CALL (run, passed, level5) {
  UNWIND level5 AS step
  WITH run, passed, step.feature AS f, step.effect AS arriving, step.paths AS paths
  WHERE passed IS NULL OR EXISTS { MATCH (f)<-[:OF]-(o:Observation {run: run.n}) WHERE split(o.id, '_F')[0] IN passed }
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(x:Feature)
  WHERE e.structural AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH x, sum(arriving * e.direct * $decay) AS effect, sum(paths) AS paths
  RETURN collect({feature: x, effect: effect, paths: paths, hops: 6}) AS level6
}
CALL (run, passed, level6) {
  UNWIND level6 AS step
  WITH run, passed, step.feature AS f
  WHERE passed IS NULL OR EXISTS { MATCH (f)<-[:OF]-(o:Observation {run: run.n}) WHERE split(o.id, '_F')[0] IN passed }
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(:Feature)
  WHERE e.structural AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH e LIMIT 1
  RETURN count(e) > 0 AS deeper
}
// Too deep a run is an error, not a cut sum; Cypher's own way to raise one is a function given what it refuses.
WITH run, level1 + level2 + level3 + level4 + level5 + level6 AS steps, CASE WHEN deeper THEN point({x: 0, y: 0, crs:
  'cascade: paths of more than 6 steps lead on from ' + $feature + ', and this template follows no more, so its sums would be wrong; in Python '
  + 'feature_graph.steering.predict_cascade(G, "' + $feature + '") follows paths of any length (G: feature_graph.graph.load_graph of graph.json)'}) END AS refused
WHERE refused IS NULL
UNWIND steps AS step
WITH run, step.feature AS f, sum(step.effect) AS effect, sum(step.paths) AS paths, min(step.hops) AS hops
WHERE abs(effect) >= $min_effect AND effect <> 0 AND hops <= $max_hops
MATCH (f)<-[:OF]-(o:Observation {run: run.n})
RETURN o.id AS id, o.layer AS layer, hops, effect, paths, o.label AS label
ORDER BY abs(effect) DESC, id
LIMIT $limit
