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
WHERE ($edges = 'all' OR ac.structural) AND abs(CASE WHEN $edges = 'all' OR ac.by = 'later' THEN ac.strength ELSE ac.direct END) >= $min_strength
MATCH two = (c)<-[bc:AFFECTS {run: run.n, method: $method}]-(b:Feature)
WHERE b <> a AND ($edges = 'all' OR bc.structural) AND abs(CASE WHEN $edges = 'all' OR bc.by = 'later' THEN bc.strength ELSE bc.direct END) >= $min_strength
MATCH three = (a)-[ad:AFFECTS {run: run.n, method: $method}]->(d:Feature)
WHERE c.uid < d.uid AND ($edges = 'all' OR ad.structural) AND abs(CASE WHEN $edges = 'all' OR ad.by = 'later' THEN ad.strength ELSE ad.direct END) >= $min_strength
MATCH four = (b)-[bd:AFFECTS {run: run.n, method: $method}]->(d)
WHERE ($edges = 'all' OR bd.structural) AND abs(CASE WHEN $edges = 'all' OR bd.by = 'later' THEN bd.strength ELSE bd.direct END) >= $min_strength
RETURN one, two, three, four
LIMIT 50
