// Neighbours of a feature: as a graph
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (:Observation {run: run.n, id: $feature})-[:OF]->(f:Feature)
CALL (run, f) {
  WITH run, f WHERE $direction <> 'in'
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(x:Feature)
  RETURN e, x
  UNION ALL
  WITH run, f WHERE $direction <> 'out'
  MATCH (f)<-[e:AFFECTS {run: run.n, method: $method}]-(x:Feature)
  RETURN e, x
}
MATCH path = (f)-[e]-(x)
RETURN path
ORDER BY coalesce(abs(e[$effect]), -1.0) DESC
LIMIT 300
