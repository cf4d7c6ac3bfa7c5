// Chains: as a graph
MATCH (run:Run {id: $run, status: 'ready'})
// Where to begin: at the feature given, in each of its roles, else everywhere.
CALL (run) {
  MATCH (:Observation {run: run.n, id: $feature})-[:OF]->(a:Feature)
  MATCH (a)-[ab:AFFECTS {run: run.n, method: $method}]->(b:Feature)-[bc:AFFECTS {run: run.n, method: $method}]->(c:Feature)
  RETURN a, ab, b, bc, c
  UNION ALL
  MATCH (:Observation {run: run.n, id: $feature})-[:OF]->(b:Feature)
  MATCH (a:Feature)-[ab:AFFECTS {run: run.n, method: $method}]->(b)-[bc:AFFECTS {run: run.n, method: $method}]->(c:Feature)
  RETURN a, ab, b, bc, c
  UNION ALL
  MATCH (:Observation {run: run.n, id: $feature})-[:OF]->(c:Feature)
  MATCH (a:Feature)-[ab:AFFECTS {run: run.n, method: $method}]->(b:Feature)-[bc:AFFECTS {run: run.n, method: $method}]->(c)
  RETURN a, ab, b, bc, c
  UNION ALL
  WITH run WHERE $feature IS NULL
  MATCH (a:Feature)-[ab:AFFECTS {run: run.n, method: $method}]->(b:Feature)-[bc:AFFECTS {run: run.n, method: $method}]->(c:Feature)
  RETURN a, ab, b, bc, c
}
WITH a, ab, b, bc, c, run
WHERE ab.structural AND ab.by <> 'later' AND abs(ab.direct) >= $min_strength
  AND bc.structural AND bc.by <> 'later' AND abs(bc.direct) >= $min_strength
  AND NOT EXISTS { (a)-[x:AFFECTS]->(c) WHERE x.run = run.n AND x.method = $method AND x.by CONTAINS 'direct' }
WITH a, ab, b, bc, c ORDER BY abs(ab.direct * bc.direct) DESC LIMIT 100
MATCH path = (a)-[ab]->(b)-[bc]->(c)
RETURN path
LIMIT 100
