// Skips with compensation: as a graph
MATCH (run:Run {id: $run, status: 'ready'})
// Where dictionaries sit on components, a direct effect holds the MLPs in between and nothing else: paths lead only through one dictionary per MLP.
WITH run, [(run)-[:COVERS]->(p:Site) WHERE $method IN ['clamping', 'jacobian'] AND p.name =~ 'L[0-9]+[.](mid|z|attn|mlpin|mlp|tc)' | p.name] AS parts
WITH run, CASE WHEN parts <> [] THEN [p IN parts WHERE p ENDS WITH '.tc' OR p ENDS WITH '.mlp' AND NOT split(p, '.')[0] + '.tc' IN parts
  OR p ENDS WITH '.mlpin' AND none(kind IN ['.tc', '.mlp'] WHERE split(p, '.')[0] + kind IN parts)] END AS passed
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
  AND (passed IS NULL OR EXISTS { MATCH (b)<-[:OF]-(o:Observation {run: run.n}) WHERE split(o.id, '_F')[0] IN passed })
RETURN across, first, second
LIMIT 100
