// Compare two runs
//
// family: runs
// question: What did another run of these features find that this one did not, and what did it lose?
// params:
//   run: {type: run}
//   method: {type: method}
//   other: {type: other_run, about: "id of the other run, the beginning of it, or its name"}
//   other_method: {type: other_method}
//   change: {type: choice, of: [any, gained, lost, flipped, kept], default: any, about: "gained: in the other run only; lost: in this run only; flipped: the sign differs"}
//   limit: {type: int, min: 1, max: 10000, default: 50, about: "at most this many rows"}
// returns:
//   source: uid of the source
//   target: uid of the target
//   change: gained, lost, flipped or kept
//   strength: in this run
//   other_strength: in the other run
MATCH (run:Run {id: $run, status: 'ready'})
WITH run, $other AS id
MATCH (second:Run {id: id, status: 'ready'})
CALL (run, second) {
  MATCH (s:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
  OPTIONAL MATCH (s)-[x:AFFECTS {run: second.n, method: $other_method}]->(t)
  RETURN s, t, e.strength AS strength, x.strength AS other_strength
  UNION ALL
  MATCH (s:Feature)-[x:AFFECTS {run: second.n, method: $other_method}]->(t:Feature)
  WHERE NOT EXISTS { (s)-[e:AFFECTS]->(t) WHERE e.run = run.n AND e.method = $method }
  RETURN s, t, null AS strength, x.strength AS other_strength
}
WITH s, t, strength, other_strength, CASE
  WHEN strength IS NULL THEN 'gained'
  WHEN other_strength IS NULL THEN 'lost'
  WHEN sign(strength) <> sign(other_strength) THEN 'flipped'
  ELSE 'kept'
END AS change
WHERE $change = 'any' OR change = $change
RETURN s.uid AS source, t.uid AS target, change, strength, other_strength
ORDER BY abs(coalesce(strength, 0.0) - coalesce(other_strength, 0.0)) DESC, source, target
LIMIT $limit
