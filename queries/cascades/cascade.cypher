// Cascade
//
// family: cascades
// question: If this feature is turned up, what follows, and how far?
// params:
//   run: {type: run}
//   method: {type: method}
//   feature: {type: feature}
//   delta: {type: float, min: -1000000, max: 1000000, default: 1, about: "change of the feature, in its activation units"}
//   max_hops: {type: int, min: 1, max: 5, default: 3, about: "steps at most"}
//   min_effect: {type: float, min: 0, max: 1000000, default: 0.001, about: "a feature that is moved by less at one step does not pass it on"}
//   min_strength: {type: float, min: 0, max: 1000000, default: 0, about: "edges of smaller |direct| are not followed"}
//   decay: {type: float, min: 0.000001, max: 1, default: 1, about: "what each step after the first passes on; 1 trusts long ways as much as short ones"}
//   limit: {type: int, min: 1, max: 10000, default: 50, about: "rows at most"}
// returns:
//   id: short id
//   layer: layer
//   hops: fewest steps
//   effect: "predicted change in activation units: the sum over all paths of the product of direct effects"
//   paths: paths summed
//   label: top activating tokens in context
// example: {feature: L2_F28, delta: 2.0, limit: 8}
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (:Observation {run: run.n, id: $feature})-[:OF]->(start:Feature)
// Direct effects only: a total already holds what passes through features between.
WITH run, [{feature: start, effect: $delta, paths: 1, hops: 0}] AS level0
CALL (run, level0) {
  UNWIND CASE WHEN $max_hops >= 1 THEN level0 ELSE [] END AS step
  WITH run, step.feature AS f, step.effect AS arriving, step.paths AS paths
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(x:Feature)
  WHERE (e.span = 1 OR e.by CONTAINS 'direct') AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH x, sum(arriving * e.direct) AS effect, sum(paths) AS paths
  WHERE abs(effect) >= $min_effect
  RETURN collect({feature: x, effect: effect, paths: paths, hops: 1}) AS level1
}
CALL (run, level1) {
  UNWIND CASE WHEN $max_hops >= 2 THEN level1 ELSE [] END AS step
  WITH run, step.feature AS f, step.effect AS arriving, step.paths AS paths
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(x:Feature)
  WHERE (e.span = 1 OR e.by CONTAINS 'direct') AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH x, sum(arriving * e.direct * $decay) AS effect, sum(paths) AS paths
  WHERE abs(effect) >= $min_effect
  RETURN collect({feature: x, effect: effect, paths: paths, hops: 2}) AS level2
}
CALL (run, level2) {
  UNWIND CASE WHEN $max_hops >= 3 THEN level2 ELSE [] END AS step
  WITH run, step.feature AS f, step.effect AS arriving, step.paths AS paths
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(x:Feature)
  WHERE (e.span = 1 OR e.by CONTAINS 'direct') AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH x, sum(arriving * e.direct * $decay) AS effect, sum(paths) AS paths
  WHERE abs(effect) >= $min_effect
  RETURN collect({feature: x, effect: effect, paths: paths, hops: 3}) AS level3
}
CALL (run, level3) {
  UNWIND CASE WHEN $max_hops >= 4 THEN level3 ELSE [] END AS step
  WITH run, step.feature AS f, step.effect AS arriving, step.paths AS paths
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(x:Feature)
  WHERE (e.span = 1 OR e.by CONTAINS 'direct') AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH x, sum(arriving * e.direct * $decay) AS effect, sum(paths) AS paths
  WHERE abs(effect) >= $min_effect
  RETURN collect({feature: x, effect: effect, paths: paths, hops: 4}) AS level4
}
CALL (run, level4) {
  UNWIND CASE WHEN $max_hops >= 5 THEN level4 ELSE [] END AS step
  WITH run, step.feature AS f, step.effect AS arriving, step.paths AS paths
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(x:Feature)
  WHERE (e.span = 1 OR e.by CONTAINS 'direct') AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH x, sum(arriving * e.direct * $decay) AS effect, sum(paths) AS paths
  WHERE abs(effect) >= $min_effect
  RETURN collect({feature: x, effect: effect, paths: paths, hops: 5}) AS level5
}
UNWIND level1 + level2 + level3 + level4 + level5 AS step
WITH run, step.feature AS f, sum(step.effect) AS effect, sum(step.paths) AS paths, min(step.hops) AS hops
MATCH (f)<-[:OF]-(o:Observation {run: run.n})
RETURN o.id AS id, o.layer AS layer, hops, effect, paths, o.label AS label
ORDER BY abs(effect) DESC, id
LIMIT $limit
