// Diamonds: as a graph
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
MATCH one = (a)-[ab:AFFECTS {run: run.n, method: $method}]->(b:Feature)
WHERE ($edges = 'all' OR ab.structural) AND abs(CASE WHEN $effect <> 'strength' THEN ab[$effect] WHEN $edges = 'all' OR ab.by = 'later' THEN ab.strength ELSE ab.direct END) >= $min_strength AND ($effect = 'strength' OR (ab[$effect] <> 0 AND abs(ab[$effect]) >= coalesce(ab.floor_computed, 0.0)))
MATCH two = (b)-[bd:AFFECTS {run: run.n, method: $method}]->(d:Feature)
WHERE ($edges = 'all' OR bd.structural) AND abs(CASE WHEN $effect <> 'strength' THEN bd[$effect] WHEN $edges = 'all' OR bd.by = 'later' THEN bd.strength ELSE bd.direct END) >= $min_strength AND ($effect = 'strength' OR (bd[$effect] <> 0 AND abs(bd[$effect]) >= coalesce(bd.floor_computed, 0.0)))
MATCH three = (a)-[ac:AFFECTS {run: run.n, method: $method}]->(c:Feature)
WHERE b.uid < c.uid AND ($edges = 'all' OR ac.structural) AND abs(CASE WHEN $effect <> 'strength' THEN ac[$effect] WHEN $edges = 'all' OR ac.by = 'later' THEN ac.strength ELSE ac.direct END) >= $min_strength AND ($effect = 'strength' OR (ac[$effect] <> 0 AND abs(ac[$effect]) >= coalesce(ac.floor_computed, 0.0)))
MATCH four = (c)-[cd:AFFECTS {run: run.n, method: $method}]->(d)
WHERE ($edges = 'all' OR cd.structural) AND abs(CASE WHEN $effect <> 'strength' THEN cd[$effect] WHEN $edges = 'all' OR cd.by = 'later' THEN cd.strength ELSE cd.direct END) >= $min_strength AND ($effect = 'strength' OR (cd[$effect] <> 0 AND abs(cd[$effect]) >= coalesce(cd.floor_computed, 0.0)))
RETURN one, two, three, four
LIMIT 50
