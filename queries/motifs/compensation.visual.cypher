// Skips with compensation: as a graph
MATCH (run:Run {id: $run, status: 'ready'})
// Where to begin: at the feature given, else at the layer given, else everywhere.
CALL (run) {
  MATCH (:Observation {run: run.n, id: $feature})-[:OF]->(a:Feature)
  RETURN a
  UNION
  MATCH (o:Observation {run: run.n, layer: $layer})-[:OF]->(a:Feature)
  WHERE $feature IS NULL
  RETURN a
  UNION
  MATCH (o:Observation)-[:OF]->(a:Feature)
  USING INDEX o:Observation(run, layer)
  WHERE o.run = run.n AND o.layer IS NOT NULL AND $feature IS NULL AND $layer IS NULL
  RETURN a
}
MATCH across = (a)-[ac:AFFECTS {run: run.n, method: $method}]->(c:Feature)
WHERE ac.by CONTAINS 'direct' AND abs(ac.direct) >= $min_strength
MATCH first = (a)-[ab:AFFECTS {run: run.n, method: $method}]->(b:Feature)
WHERE ab.structural AND ab.by <> 'later' AND abs(ab.direct) >= $min_strength
MATCH second = (b)-[bc:AFFECTS {run: run.n, method: $method}]->(c)
WHERE bc.structural AND bc.by <> 'later' AND abs(bc.direct) >= $min_strength
  AND (ab.direct * bc.direct < 0) <> (ac.direct < 0)
RETURN across, first, second
LIMIT 100
