// Subgraph of a behaviour
//
// family: behaviors
// question: Through which features does this behaviour run?
// params:
//   run: {type: run}
//   method: {type: method}
//   behavior: {type: behavior}
//   hops: {type: int, min: 0, max: 2, default: 1, about: "steps downstream from the seeds"}
//   edges: {type: choice, of: [structural, all], default: structural, about: "structural: edges without an analysed site in between, or with a direct effect that is itself significant; all: every edge, by its total effect"}
//   min_strength: {type: float, min: 0, max: 1000000, default: 0, about: "each edge has at least this magnitude"}
//   limit: {type: int, min: 1, max: 10000, default: 200, about: "at most this many rows"}
// returns:
//   source: short id
//   target: short id
//   strength: the effect of the edge
//   direct: direct effect
//   span: analysed layers crossed; 0 within a layer
//   source_seed: the source is a seed
//   target_seed: the target is a seed
//   source_label: top activating tokens of the source
//   target_label: top activating tokens of the target
// example: {behavior: capital_of}
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (b:Behavior {uid: toString(run.n) + '/' + $behavior})-[:SEEDED_BY]->(seed:Feature)
WITH run, collect(seed) AS seeds
CALL (run, seeds) {
  UNWIND CASE WHEN $hops >= 1 THEN seeds ELSE [] END AS f
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(x:Feature)
  WHERE ($edges = 'all' OR e.structural) AND abs(e.strength) >= $min_strength
  RETURN collect(DISTINCT x) AS first
}
CALL (run, first) {
  UNWIND CASE WHEN $hops >= 2 THEN first ELSE [] END AS f
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(x:Feature)
  WHERE ($edges = 'all' OR e.structural) AND abs(e.strength) >= $min_strength
  RETURN collect(DISTINCT x) AS second
}
WITH run, seeds, seeds + first + second AS whole
UNWIND whole AS s
WITH DISTINCT run, seeds, whole, s
MATCH (s)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
WHERE ($edges = 'all' OR e.structural) AND abs(e.strength) >= $min_strength AND t IN whole
MATCH (s)<-[:OF]-(a:Observation {run: run.n})
MATCH (t)<-[:OF]-(b:Observation {run: run.n})
RETURN a.id AS source, b.id AS target, e.strength AS strength, e.direct AS direct, e.span AS span, s IN seeds AS source_seed,
       t IN seeds AS target_seed, a.label AS source_label, b.label AS target_label
ORDER BY abs(e.strength) DESC, source, target
LIMIT $limit
