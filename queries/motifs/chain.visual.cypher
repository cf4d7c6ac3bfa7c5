// Chains: as a graph
MATCH (run:Run {id: $run, status: 'ready'})
// Where dictionaries sit on components, a direct effect holds the MLPs in between and nothing else: paths lead only through one dictionary per MLP.
WITH run, [(run)-[:COVERS]->(p:Site) WHERE $method IN ['clamping', 'jacobian'] AND p.name =~ 'L[0-9]+[.](mid|z|attn|mlpin|mlp|tc)' | p.name] AS parts
WITH run, CASE WHEN parts <> [] THEN [p IN parts WHERE p ENDS WITH '.tc' OR p ENDS WITH '.mlp' AND NOT split(p, '.')[0] + '.tc' IN parts
  OR p ENDS WITH '.mlpin' AND none(kind IN ['.tc', '.mlp'] WHERE split(p, '.')[0] + kind IN parts)] END AS passed
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
WITH a, ab, b, bc, c, run, passed
WHERE ab.structural AND ab.by <> 'later' AND abs(ab.direct) >= $min_strength
  AND bc.structural AND bc.by <> 'later' AND abs(bc.direct) >= $min_strength
  AND (passed IS NULL OR EXISTS { MATCH (b)<-[:OF]-(o:Observation {run: run.n}) WHERE split(o.id, '_F')[0] IN passed })
  AND NOT EXISTS { (a)-[x:AFFECTS]->(c) WHERE x.run = run.n AND x.method = $method AND x.by CONTAINS 'direct' }
WITH a, ab, b, bc, c ORDER BY abs(ab.direct * bc.direct) DESC LIMIT 100
MATCH path = (a)-[ab]->(b)-[bc]->(c)
RETURN path
LIMIT 100
