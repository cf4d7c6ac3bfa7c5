// Subgraph of a behaviour: as a graph
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
MATCH path = (s)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
WHERE ($edges = 'all' OR e.structural) AND abs(e.strength) >= $min_strength AND t IN whole
RETURN path
ORDER BY abs(e.strength) DESC
LIMIT 300
