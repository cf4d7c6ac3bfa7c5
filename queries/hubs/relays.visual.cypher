// Relays: as a graph
MATCH (run:Run {id: $run, status: 'ready'})
// Where dictionaries sit on components, a direct effect holds the MLPs in between and nothing else: paths lead only through one dictionary per MLP.
WITH run, [(run)-[:COVERS]->(p:Site) WHERE $method IN ['clamping', 'jacobian'] AND p.name =~ 'L[0-9]+[.](mid|z|attn|mlpin|mlp|tc)' | p.name] AS parts
WITH run, CASE WHEN parts <> [] THEN [p IN parts WHERE p ENDS WITH '.tc' OR p ENDS WITH '.mlp' AND NOT split(p, '.')[0] + '.tc' IN parts
  OR p ENDS WITH '.mlpin' AND none(kind IN ['.tc', '.mlp'] WHERE split(p, '.')[0] + kind IN parts)] END AS passed
MATCH (:Feature)-[x:AFFECTS {run: run.n, method: $method}]->(m:Feature)
WHERE x.structural AND x.by <> 'later'
WITH run, passed, m, sum(abs(x.direct)) AS arriving
MATCH (m)-[y:AFFECTS]->(:Feature)
WHERE y.run = run.n AND y.method = $method AND y.structural AND y.by <> 'later'
WITH run, passed, m, arriving, sum(abs(y.direct)) AS leaving
MATCH (m)<-[:OF]-(o:Observation {run: run.n})
WHERE (passed IS NULL OR split(o.id, '_F')[0] IN passed) AND ($layer IS NULL OR o.layer = $layer)
  AND ($site IS NULL OR CASE $site WHEN 'residual' THEN NOT o.id CONTAINS '.' ELSE o.id CONTAINS '.' + $site + '_F' END)
WITH run, m, o ORDER BY arriving * leaving DESC, o.id LIMIT 3
MATCH path = (:Feature)-[x:AFFECTS]->(m)-[y:AFFECTS]->(:Feature)
WHERE x.run = run.n AND x.method = $method AND x.structural AND x.by <> 'later'
  AND y.run = run.n AND y.method = $method AND y.structural AND y.by <> 'later'
RETURN path
ORDER BY abs(x.direct * y.direct) DESC
LIMIT 300
