// What two behaviours share
//
// family: behaviors
// question: Which features serve both behaviours?
// params:
//   run: {type: run}
//   method: {type: method}
//   behavior: {type: behavior}
//   other: {type: behavior, about: "name of the other behaviour"}
//   edges: {type: choice, of: [structural, all], default: structural, about: "structural: edges without an analysed site in between, or with a direct effect that is itself significant; all: every edge, by its total effect"}
// returns:
//   id: short id
//   layer: layer
//   first: "what it is to the first behaviour: seed, or target of a seed"
//   second: what it is to the other one
//   label: top activating tokens in context
// example: {behavior: capital_of, other: counting}
MATCH (run:Run {id: $run, status: 'ready'})
CALL (run) {
  MATCH (b:Behavior {uid: toString(run.n) + '/' + $behavior})-[:SEEDED_BY]->(seed:Feature)
  OPTIONAL MATCH (seed)-[e:AFFECTS {run: run.n, method: $method}]->(x:Feature)
  WHERE $edges = 'all' OR e.structural
  WITH collect(DISTINCT seed) AS seeds, collect(DISTINCT x) AS targets
  RETURN seeds AS a_seeds, targets AS a_targets
}
CALL (run) {
  MATCH (b:Behavior {uid: toString(run.n) + '/' + $other})-[:SEEDED_BY]->(seed:Feature)
  OPTIONAL MATCH (seed)-[e:AFFECTS {run: run.n, method: $method}]->(x:Feature)
  WHERE $edges = 'all' OR e.structural
  WITH collect(DISTINCT seed) AS seeds, collect(DISTINCT x) AS targets
  RETURN seeds AS b_seeds, targets AS b_targets
}
UNWIND a_seeds + a_targets AS f
WITH DISTINCT run, f, a_seeds, b_seeds, b_targets
WHERE f IN b_seeds OR f IN b_targets
MATCH (f)<-[:OF]-(o:Observation {run: run.n})
RETURN o.id AS id, o.layer AS layer, CASE WHEN f IN a_seeds THEN 'seed' ELSE 'target' END AS first,
       CASE WHEN f IN b_seeds THEN 'seed' ELSE 'target' END AS second, o.label AS label
ORDER BY layer, id
