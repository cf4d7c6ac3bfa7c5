// Bi-fans: as a graph
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
MATCH one = (a)-[ac:AFFECTS {run: run.n, method: $method}]->(c:Feature)
WHERE ($edges = 'all' OR ac.structural) AND abs(CASE WHEN $effect <> 'strength' THEN ac[$effect] WHEN $edges = 'all' OR ac.by = 'later' THEN ac.strength ELSE ac.direct END) >= $min_strength AND ($effect = 'strength' OR (ac[$effect] <> 0 AND abs(ac[$effect]) >= coalesce(ac.floor_computed, 0.0)))
MATCH two = (c)<-[bc:AFFECTS {run: run.n, method: $method}]-(b:Feature)
WHERE b <> a AND ($edges = 'all' OR bc.structural) AND abs(CASE WHEN $effect <> 'strength' THEN bc[$effect] WHEN $edges = 'all' OR bc.by = 'later' THEN bc.strength ELSE bc.direct END) >= $min_strength AND ($effect = 'strength' OR (bc[$effect] <> 0 AND abs(bc[$effect]) >= coalesce(bc.floor_computed, 0.0)))
MATCH three = (a)-[ad:AFFECTS {run: run.n, method: $method}]->(d:Feature)
WHERE c.uid < d.uid AND ($edges = 'all' OR ad.structural) AND abs(CASE WHEN $effect <> 'strength' THEN ad[$effect] WHEN $edges = 'all' OR ad.by = 'later' THEN ad.strength ELSE ad.direct END) >= $min_strength AND ($effect = 'strength' OR (ad[$effect] <> 0 AND abs(ad[$effect]) >= coalesce(ad.floor_computed, 0.0)))
MATCH four = (b)-[bd:AFFECTS {run: run.n, method: $method}]->(d)
WHERE ($edges = 'all' OR bd.structural) AND abs(CASE WHEN $effect <> 'strength' THEN bd[$effect] WHEN $edges = 'all' OR bd.by = 'later' THEN bd.strength ELSE bd.direct END) >= $min_strength AND ($effect = 'strength' OR (bd[$effect] <> 0 AND abs(bd[$effect]) >= coalesce(bd.floor_computed, 0.0)))
RETURN one, two, three, four
LIMIT 50
