// Between two features
//
// family: cascades
// question: Which features carry the effect of this one on that one, and is any of them on every way?
// params:
//   run: {type: run}
//   method: {type: method}
//   source: {type: feature, about: "short id of the feature that acts"}
//   target: {type: feature, about: "short id of the feature that is acted on"}
//   max_hops: {type: int, min: 2, max: 4, default: 4, about: "longest way, in edges"}
//   min_strength: {type: float, min: 0, max: 1000000, default: 0, about: "edges of smaller |direct| are not followed"}
//   limit: {type: int, min: 1, max: 10000, default: 50, about: "rows at most"}
// returns:
//   id: short id of a feature between
//   layer: its layer
//   ways: paths from source to target through it
//   effect: sum over these paths of the product of direct effects
//   share: effect, of that of all paths; can be above 1 or negative where paths cancel; empty if they cancel to 0
//   bottleneck: every path passes through it
//   label: top activating tokens in context
// example: {source: L2_F28, target: L11_F1}
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (:Observation {run: run.n, id: $source})-[:OF]->(source:Feature)
MATCH (:Observation {run: run.n, id: $target})-[:OF]->(target:Feature)
// From the source forwards and from the target backwards; a path of h edges through x is one of i edges to x and one of h − i from it.
WITH run, source, target, [{feature: source, effect: 1.0, paths: 1, hops: 0}] AS ahead0, [{feature: target, effect: 1.0, paths: 1, hops: 0}] AS back0
CALL (run, ahead0) {
  UNWIND ahead0 AS step
  WITH run, step.feature AS f, step.effect AS effect, step.paths AS paths
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(x:Feature)
  WHERE (e.span = 1 OR e.by CONTAINS 'direct') AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH x, sum(effect * e.direct) AS effect, sum(paths) AS paths
  RETURN collect({feature: x, effect: effect, paths: paths, hops: 1}) AS ahead1
}
CALL (run, ahead1) {
  UNWIND ahead1 AS step
  WITH run, step.feature AS f, step.effect AS effect, step.paths AS paths
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(x:Feature)
  WHERE (e.span = 1 OR e.by CONTAINS 'direct') AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH x, sum(effect * e.direct) AS effect, sum(paths) AS paths
  RETURN collect({feature: x, effect: effect, paths: paths, hops: 2}) AS ahead2
}
CALL (run, ahead2) {
  UNWIND ahead2 AS step
  WITH run, step.feature AS f, step.effect AS effect, step.paths AS paths
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(x:Feature)
  WHERE (e.span = 1 OR e.by CONTAINS 'direct') AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH x, sum(effect * e.direct) AS effect, sum(paths) AS paths
  RETURN collect({feature: x, effect: effect, paths: paths, hops: 3}) AS ahead3
}
CALL (run, back0) {
  UNWIND back0 AS step
  WITH run, step.feature AS f, step.effect AS effect, step.paths AS paths
  MATCH (f)<-[e:AFFECTS {run: run.n, method: $method}]-(x:Feature)
  WHERE (e.span = 1 OR e.by CONTAINS 'direct') AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH x, sum(effect * e.direct) AS effect, sum(paths) AS paths
  RETURN collect({feature: x, effect: effect, paths: paths, hops: 1}) AS back1
}
CALL (run, back1) {
  UNWIND back1 AS step
  WITH run, step.feature AS f, step.effect AS effect, step.paths AS paths
  MATCH (f)<-[e:AFFECTS {run: run.n, method: $method}]-(x:Feature)
  WHERE (e.span = 1 OR e.by CONTAINS 'direct') AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH x, sum(effect * e.direct) AS effect, sum(paths) AS paths
  RETURN collect({feature: x, effect: effect, paths: paths, hops: 2}) AS back2
}
CALL (run, back2) {
  UNWIND back2 AS step
  WITH run, step.feature AS f, step.effect AS effect, step.paths AS paths
  MATCH (f)<-[e:AFFECTS {run: run.n, method: $method}]-(x:Feature)
  WHERE (e.span = 1 OR e.by CONTAINS 'direct') AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH x, sum(effect * e.direct) AS effect, sum(paths) AS paths
  RETURN collect({feature: x, effect: effect, paths: paths, hops: 3}) AS back3
}
OPTIONAL MATCH (source)-[skip:AFFECTS {run: run.n, method: $method}]->(target)
WHERE (skip.span = 1 OR skip.by CONTAINS 'direct') AND skip.by <> 'later' AND abs(skip.direct) >= $min_strength
WITH run, target, coalesce(skip.direct, 0.0) AS direct, CASE WHEN skip IS NULL THEN 0 ELSE 1 END AS skips,
     [s IN ahead1 + ahead2 + ahead3 | {side: 0, step: s}] + [s IN back1 + back2 + back3 | {side: 1, step: s}] AS steps
UNWIND steps AS found
WITH run, direct, skips, found.step.feature AS f, [s IN collect(CASE found.side WHEN 0 THEN found.step END) WHERE s IS NOT NULL] AS before,
     [s IN collect(CASE found.side WHEN 1 THEN found.step END) WHERE s IS NOT NULL] AS after
WHERE size(before) > 0 AND size(after) > 0
UNWIND before AS b
UNWIND after AS a
WITH run, direct, skips, f, b, a WHERE b.hops + a.hops <= $max_hops
WITH run, direct, skips, f, sum(b.paths * a.paths) AS ways, sum(b.effect * a.effect) AS effect,
     sum(CASE b.hops WHEN 1 THEN b.paths * a.paths ELSE 0 END) AS begun, sum(CASE b.hops WHEN 1 THEN b.effect * a.effect ELSE 0.0 END) AS carried
// Every path but the edge itself has one first step, so these sum to all paths.
WITH run, direct, skips, collect({feature: f, ways: ways, effect: effect}) AS rows, sum(begun) AS indirect, sum(carried) AS through
UNWIND rows AS row
WITH run, row, indirect + skips AS every, direct + through AS whole
WITH run, row.feature AS f, row.ways AS ways, row.effect AS effect, CASE WHEN whole <> 0 THEN row.effect / whole END AS share, row.ways = every AS bottleneck
MATCH (f)<-[:OF]-(o:Observation {run: run.n})
RETURN o.id AS id, o.layer AS layer, ways, effect, share, bottleneck, o.label AS label
ORDER BY abs(effect) DESC, id
LIMIT $limit
