// Between two features
//
// family: cascades
// question: Which features carry the effect of this one on that one, and is any of them on every path?
// params:
//   run: {type: run}
//   method: {type: method}
//   source: {type: feature, about: "short id of the feature that acts"}
//   target: {type: feature, about: "short id of the feature that is acted on"}
//   max_hops: {type: int, min: 2, max: 6, default: 6, about: "only features on a path of at most this many edges are listed; paths, effect and share still count all paths"}
//   min_strength: {type: float, min: 0, max: 1000000, default: 0, about: "edges with a smaller |direct| are not followed"}
//   limit: {type: int, min: 1, max: 10000, default: 50, about: "at most this many rows"}
// returns:
//   id: short id of a feature in between; with dictionaries on components only features of MLPs are
//   layer: its layer
//   paths: paths from source to target through it, of any length
//   effect: sum over these paths of the product of direct effects
//   share: effect as a share of that of all paths; can be above 1 or negative where paths cancel; empty if they cancel to 0
//   bottleneck: every path passes through it
//   label: top activating tokens in context
// example: {source: L2_F28, target: L11_F1}
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (:Observation {run: run.n, id: $source})-[:OF]->(source:Feature)
MATCH (:Observation {run: run.n, id: $target})-[:OF]->(target:Feature)
// Where dictionaries sit on components, a direct effect holds the MLPs in between and nothing else: paths lead only through one dictionary per MLP.
WITH run, source, target, [(run)-[:COVERS]->(p:Site) WHERE $method IN ['clamping', 'jacobian'] AND p.name =~ 'L[0-9]+[.](mid|z|attn|mlpin|mlp|tc)' | p.name] AS parts
WITH run, source, target, CASE WHEN parts <> [] THEN [p IN parts WHERE p ENDS WITH '.tc' OR p ENDS WITH '.mlp' AND NOT split(p, '.')[0] + '.tc' IN parts
  OR p ENDS WITH '.mlpin' AND none(kind IN ['.tc', '.mlp'] WHERE split(p, '.')[0] + kind IN parts)] END AS passed
// From the source forwards and from the target backwards: the paths through x are those to x times those from it. Seven sites allow six steps.
WITH run, passed, source, target, [{feature: source, effect: 1.0, paths: 1, hops: 0}] AS ahead0, [{feature: target, effect: 1.0, paths: 1, hops: 0}] AS back0
CALL (run, passed, ahead0) {
  UNWIND ahead0 AS step
  WITH run, step.feature AS f, step.effect AS arriving, step.paths AS paths
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(x:Feature)
  WHERE e.structural AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH x, sum(arriving * e.direct) AS effect, sum(paths) AS paths
  RETURN collect({feature: x, effect: effect, paths: paths, hops: 1}) AS ahead1
}
CALL (run, passed, ahead1) {
  UNWIND ahead1 AS step
  WITH run, passed, step.feature AS f, step.effect AS arriving, step.paths AS paths
  WHERE passed IS NULL OR EXISTS { MATCH (f)<-[:OF]-(o:Observation {run: run.n}) WHERE split(o.id, '_F')[0] IN passed }
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(x:Feature)
  WHERE e.structural AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH x, sum(arriving * e.direct) AS effect, sum(paths) AS paths
  RETURN collect({feature: x, effect: effect, paths: paths, hops: 2}) AS ahead2
}
CALL (run, passed, ahead2) {
  UNWIND ahead2 AS step
  WITH run, passed, step.feature AS f, step.effect AS arriving, step.paths AS paths
  WHERE passed IS NULL OR EXISTS { MATCH (f)<-[:OF]-(o:Observation {run: run.n}) WHERE split(o.id, '_F')[0] IN passed }
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(x:Feature)
  WHERE e.structural AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH x, sum(arriving * e.direct) AS effect, sum(paths) AS paths
  RETURN collect({feature: x, effect: effect, paths: paths, hops: 3}) AS ahead3
}
CALL (run, passed, ahead3) {
  UNWIND ahead3 AS step
  WITH run, passed, step.feature AS f, step.effect AS arriving, step.paths AS paths
  WHERE passed IS NULL OR EXISTS { MATCH (f)<-[:OF]-(o:Observation {run: run.n}) WHERE split(o.id, '_F')[0] IN passed }
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(x:Feature)
  WHERE e.structural AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH x, sum(arriving * e.direct) AS effect, sum(paths) AS paths
  RETURN collect({feature: x, effect: effect, paths: paths, hops: 4}) AS ahead4
}
CALL (run, passed, ahead4) {
  UNWIND ahead4 AS step
  WITH run, passed, step.feature AS f, step.effect AS arriving, step.paths AS paths
  WHERE passed IS NULL OR EXISTS { MATCH (f)<-[:OF]-(o:Observation {run: run.n}) WHERE split(o.id, '_F')[0] IN passed }
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(x:Feature)
  WHERE e.structural AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH x, sum(arriving * e.direct) AS effect, sum(paths) AS paths
  RETURN collect({feature: x, effect: effect, paths: paths, hops: 5}) AS ahead5
}
CALL (run, passed, ahead5) {
  UNWIND ahead5 AS step
  WITH run, passed, step.feature AS f, step.effect AS arriving, step.paths AS paths
  WHERE passed IS NULL OR EXISTS { MATCH (f)<-[:OF]-(o:Observation {run: run.n}) WHERE split(o.id, '_F')[0] IN passed }
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(x:Feature)
  WHERE e.structural AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH x, sum(arriving * e.direct) AS effect, sum(paths) AS paths
  RETURN collect({feature: x, effect: effect, paths: paths, hops: 6}) AS ahead6
}
CALL (run, passed, ahead6) {
  UNWIND ahead6 AS step
  WITH run, passed, step.feature AS f
  WHERE passed IS NULL OR EXISTS { MATCH (f)<-[:OF]-(o:Observation {run: run.n}) WHERE split(o.id, '_F')[0] IN passed }
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(:Feature)
  WHERE e.structural AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH e LIMIT 1
  RETURN count(e) > 0 AS on
}
CALL (run, passed, back0) {
  UNWIND back0 AS step
  WITH run, step.feature AS f, step.effect AS arriving, step.paths AS paths
  MATCH (f)<-[e:AFFECTS {run: run.n, method: $method}]-(x:Feature)
  WHERE e.structural AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH x, sum(arriving * e.direct) AS effect, sum(paths) AS paths
  RETURN collect({feature: x, effect: effect, paths: paths, hops: 1}) AS back1
}
CALL (run, passed, back1) {
  UNWIND back1 AS step
  WITH run, passed, step.feature AS f, step.effect AS arriving, step.paths AS paths
  WHERE passed IS NULL OR EXISTS { MATCH (f)<-[:OF]-(o:Observation {run: run.n}) WHERE split(o.id, '_F')[0] IN passed }
  MATCH (f)<-[e:AFFECTS {run: run.n, method: $method}]-(x:Feature)
  WHERE e.structural AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH x, sum(arriving * e.direct) AS effect, sum(paths) AS paths
  RETURN collect({feature: x, effect: effect, paths: paths, hops: 2}) AS back2
}
CALL (run, passed, back2) {
  UNWIND back2 AS step
  WITH run, passed, step.feature AS f, step.effect AS arriving, step.paths AS paths
  WHERE passed IS NULL OR EXISTS { MATCH (f)<-[:OF]-(o:Observation {run: run.n}) WHERE split(o.id, '_F')[0] IN passed }
  MATCH (f)<-[e:AFFECTS {run: run.n, method: $method}]-(x:Feature)
  WHERE e.structural AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH x, sum(arriving * e.direct) AS effect, sum(paths) AS paths
  RETURN collect({feature: x, effect: effect, paths: paths, hops: 3}) AS back3
}
CALL (run, passed, back3) {
  UNWIND back3 AS step
  WITH run, passed, step.feature AS f, step.effect AS arriving, step.paths AS paths
  WHERE passed IS NULL OR EXISTS { MATCH (f)<-[:OF]-(o:Observation {run: run.n}) WHERE split(o.id, '_F')[0] IN passed }
  MATCH (f)<-[e:AFFECTS {run: run.n, method: $method}]-(x:Feature)
  WHERE e.structural AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH x, sum(arriving * e.direct) AS effect, sum(paths) AS paths
  RETURN collect({feature: x, effect: effect, paths: paths, hops: 4}) AS back4
}
CALL (run, passed, back4) {
  UNWIND back4 AS step
  WITH run, passed, step.feature AS f, step.effect AS arriving, step.paths AS paths
  WHERE passed IS NULL OR EXISTS { MATCH (f)<-[:OF]-(o:Observation {run: run.n}) WHERE split(o.id, '_F')[0] IN passed }
  MATCH (f)<-[e:AFFECTS {run: run.n, method: $method}]-(x:Feature)
  WHERE e.structural AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH x, sum(arriving * e.direct) AS effect, sum(paths) AS paths
  RETURN collect({feature: x, effect: effect, paths: paths, hops: 5}) AS back5
}
CALL (run, passed, back5) {
  UNWIND back5 AS step
  WITH run, passed, step.feature AS f, step.effect AS arriving, step.paths AS paths
  WHERE passed IS NULL OR EXISTS { MATCH (f)<-[:OF]-(o:Observation {run: run.n}) WHERE split(o.id, '_F')[0] IN passed }
  MATCH (f)<-[e:AFFECTS {run: run.n, method: $method}]-(x:Feature)
  WHERE e.structural AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH x, sum(arriving * e.direct) AS effect, sum(paths) AS paths
  RETURN collect({feature: x, effect: effect, paths: paths, hops: 6}) AS back6
}
CALL (run, passed, back6) {
  UNWIND back6 AS step
  WITH run, passed, step.feature AS f
  WHERE passed IS NULL OR EXISTS { MATCH (f)<-[:OF]-(o:Observation {run: run.n}) WHERE split(o.id, '_F')[0] IN passed }
  MATCH (f)<-[e:AFFECTS {run: run.n, method: $method}]-(:Feature)
  WHERE e.structural AND e.by <> 'later' AND abs(e.direct) >= $min_strength
  WITH e LIMIT 1
  RETURN count(e) > 0 AS before
}
// Too deep a run is an error, not a cut sum; Cypher's own way to raise one is a function given what it refuses.
WITH run, passed, target, ahead1 + ahead2 + ahead3 + ahead4 + ahead5 + ahead6 AS ahead,
     back1 + back2 + back3 + back4 + back5 + back6 AS back,
     CASE WHEN on AND before THEN point({x: 0, y: 0, crs:
  'between: paths of more than 6 steps lead on from ' + $source + ' and to ' + $target + ', and this template follows no more, so its sums would be '
  + 'wrong; in Python feature_graph.steering.between(G, "' + $source + '", "' + $target + '") follows paths of any length '
  + '(G: feature_graph.graph.load_graph of graph.json)'}) END AS refused
WHERE refused IS NULL
// The source itself is on every path: what arrives at the target is the whole.
WITH run, passed, back, ahead, reduce(sum = 0.0, s IN ahead | CASE s.feature WHEN target THEN sum + s.effect ELSE sum END) AS whole,
     reduce(n = 0, s IN ahead | CASE s.feature WHEN target THEN n + s.paths ELSE n END) AS every
UNWIND [s IN ahead | {to: s}] + [s IN back | {from: s}] AS found
WITH run, passed, whole, every, coalesce(found.to, found.from).feature AS f,
     sum(found.to.effect) AS arriving, sum(found.to.paths) AS before, min(found.to.hops) AS hops_before,
     sum(found.from.effect) AS leaving, sum(found.from.paths) AS after, min(found.from.hops) AS hops_after
WHERE before > 0 AND after > 0 AND hops_before + hops_after <= $max_hops
MATCH (f)<-[:OF]-(o:Observation {run: run.n})
WHERE passed IS NULL OR split(o.id, '_F')[0] IN passed
WITH o, whole, every, before * after AS paths, arriving * leaving AS effect
RETURN o.id AS id, o.layer AS layer, paths, effect, CASE WHEN whole <> 0 THEN effect / whole END AS share, paths = every AS bottleneck, o.label AS label
ORDER BY abs(effect) DESC, id
LIMIT $limit
