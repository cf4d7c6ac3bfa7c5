// Diverging effects: as a graph
MATCH (run:Run {id: $run, status: 'ready'})
// Where to begin: at the feature given, else at the layer given, else everywhere.
CALL (run) {
  MATCH (:Observation {run: run.n, id: $feature})-[:OF]->(s:Feature)
  RETURN s
  UNION
  MATCH (o:Observation {run: run.n, layer: $layer})-[:OF]->(s:Feature)
  WHERE $feature IS NULL
  RETURN s
  UNION
  MATCH (o:Observation)-[:OF]->(s:Feature)
  USING INDEX o:Observation(run, layer)
  WHERE o.run = run.n AND o.layer IS NOT NULL AND $feature IS NULL AND $layer IS NULL
  RETURN s
}
WITH run, s, COUNT { (s)-[x:AFFECTS]->() WHERE x.run = run.n AND x.method = $method } AS fan
WHERE fan >= $targets
WITH run, s ORDER BY fan DESC, s.uid LIMIT 3
MATCH path = (s)-[e:AFFECTS {run: run.n, method: $method}]->(:Feature)
WHERE ($edges = 'all' OR e.structural) AND abs(CASE WHEN $effect <> 'strength' THEN e[$effect] WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct END) >= $min_strength AND ($effect = 'strength' OR (e[$effect] <> 0 AND abs(e[$effect]) >= coalesce(e.floor_computed, 0.0)))
RETURN path
ORDER BY abs(CASE WHEN $effect <> 'strength' THEN e[$effect] WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct END) DESC
LIMIT 100
