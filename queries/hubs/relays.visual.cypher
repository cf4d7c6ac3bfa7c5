// Relays: as a graph
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (:Feature)-[x:AFFECTS {run: run.n, method: $method}]->(m:Feature)
WHERE x.structural AND x.by <> 'later'
WITH run, m, sum(abs(x.direct)) AS arriving
MATCH (m)-[y:AFFECTS]->(:Feature)
WHERE y.run = run.n AND y.method = $method AND y.structural AND y.by <> 'later'
WITH run, m, arriving, sum(abs(y.direct)) AS leaving
MATCH (m)<-[:OF]-(o:Observation {run: run.n})
WHERE ($layer IS NULL OR o.layer = $layer)
  AND ($site IS NULL OR CASE $site WHEN 'residual' THEN NOT o.id CONTAINS '.' ELSE o.id CONTAINS '.' + $site + '_F' END)
WITH run, m, o ORDER BY arriving * leaving DESC, o.id LIMIT 3
MATCH path = (:Feature)-[x:AFFECTS]->(m)-[y:AFFECTS]->(:Feature)
WHERE x.run = run.n AND x.method = $method AND x.structural AND x.by <> 'later'
  AND y.run = run.n AND y.method = $method AND y.structural AND y.by <> 'later'
RETURN path
ORDER BY abs(x.direct * y.direct) DESC
LIMIT 300
