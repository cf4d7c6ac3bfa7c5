// Chains: to look at
MATCH (run:Run {id: $run, status: 'ready'})
OPTIONAL MATCH (:Observation {run: run.n, id: $feature})-[:OF]->(anchor:Feature)
MATCH path = (a:Feature)-[ab:AFFECTS {run: run.n, method: $method}]->(b:Feature)-[bc:AFFECTS {run: run.n, method: $method}]->(c:Feature)
WHERE (ab.span = 1 OR ab.by CONTAINS 'direct') AND ab.by <> 'later' AND abs(ab.direct) >= $min_strength
  AND (bc.span = 1 OR bc.by CONTAINS 'direct') AND bc.by <> 'later' AND abs(bc.direct) >= $min_strength
  AND NOT EXISTS { (a)-[x:AFFECTS]->(c) WHERE x.run = run.n AND x.method = $method AND x.by CONTAINS 'direct' }
  AND (anchor IS NULL OR anchor IN [a, b, c])
RETURN path
ORDER BY abs(ab.direct * bc.direct) DESC
LIMIT 100
