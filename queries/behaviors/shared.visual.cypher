// What two behaviours share: as a graph
MATCH (run:Run {id: $run, status: 'ready'})
CALL (run) {
  MATCH (b:Behavior {uid: toString(run.n) + '/' + $behavior})-[:SEEDED_BY]->(seed:Feature)
  OPTIONAL MATCH (seed)-[e:AFFECTS {run: run.n, method: $method}]->(x:Feature)
  WHERE $edges = 'all' OR e.structural
  WITH collect(DISTINCT seed) AS seeds, collect(DISTINCT x) AS targets
  RETURN seeds AS a_seeds, seeds + targets AS a
}
CALL (run) {
  MATCH (b:Behavior {uid: toString(run.n) + '/' + $other})-[:SEEDED_BY]->(seed:Feature)
  OPTIONAL MATCH (seed)-[e:AFFECTS {run: run.n, method: $method}]->(x:Feature)
  WHERE $edges = 'all' OR e.structural
  WITH collect(DISTINCT seed) AS seeds, collect(DISTINCT x) AS targets
  RETURN seeds AS b_seeds, seeds + targets AS b
}
WITH run, a_seeds + b_seeds AS seeds, [f IN a WHERE f IN b] AS both
UNWIND seeds AS s
WITH DISTINCT run, s, both
MATCH path = (s)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
WHERE ($edges = 'all' OR e.structural) AND t IN both
RETURN path
ORDER BY abs(e.strength) DESC
LIMIT 300
