// Converging effects: as a graph
MATCH (run:Run {id: $run, status: 'ready'})
// Where to begin: at the feature given, else at the layer given, else everywhere.
CALL (run) {
  MATCH (:Observation {run: run.n, id: $feature})-[:OF]->(t:Feature)
  RETURN t
  UNION
  MATCH (o:Observation {run: run.n, layer: $layer})-[:OF]->(t:Feature)
  WHERE $feature IS NULL
  RETURN t
  UNION
  MATCH (o:Observation)-[:OF]->(t:Feature)
  USING INDEX o:Observation(run, layer)
  WHERE o.run = run.n AND o.layer IS NOT NULL AND $feature IS NULL AND $layer IS NULL
  RETURN t
}
WITH run, t, COUNT { (t)<-[x:AFFECTS]-() WHERE x.run = run.n AND x.method = $method } AS fan
WHERE fan >= $sources
WITH run, t ORDER BY fan DESC, t.uid LIMIT 3
MATCH path = (:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(t)
WHERE ($edges = 'all' OR e.structural) AND abs(CASE WHEN $effect <> 'strength' THEN e[$effect] WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct END) >= $min_strength AND ($effect = 'strength' OR (e[$effect] <> 0 AND abs(e[$effect]) >= coalesce(e.floor_computed, 0.0)))
RETURN path
ORDER BY abs(CASE WHEN $effect <> 'strength' THEN e[$effect] WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct END) DESC
LIMIT 100
