// Features that act alike: to look at
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (o:Observation)-[:OF]->(f:Feature)
USING INDEX o:Observation(run, layer)
WHERE o.run = run.n AND o.layer IS NOT NULL AND ($layer IS NULL OR o.layer = $layer)
MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
WHERE ($edges = 'all' OR e.span = 1 OR e.by CONTAINS 'direct')
  AND COUNT { (t)<-[x:AFFECTS]-() WHERE x.run = run.n AND x.method = $method } <= $max_drivers
MATCH (t)<-[x:AFFECTS {run: run.n, method: $method}]-(g:Feature)
WHERE f.uid < g.uid AND ($edges = 'all' OR x.span = 1 OR x.by CONTAINS 'direct')
WITH run, o, f, g, collect(t) AS targets
WHERE size(targets) >= $min_shared
MATCH (g)<-[:OF]-(p:Observation {run: run.n})
WHERE p.layer = o.layer
WITH run, f, g, targets,
     COUNT { (f)-[e:AFFECTS]->() WHERE e.run = run.n AND e.method = $method AND ($edges = 'all' OR e.span = 1 OR e.by CONTAINS 'direct') } AS of_first,
     COUNT { (g)-[e:AFFECTS]->() WHERE e.run = run.n AND e.method = $method AND ($edges = 'all' OR e.span = 1 OR e.by CONTAINS 'direct') } AS of_second
WITH run, f, g, targets, toFloat(size(targets)) / (of_first + of_second - size(targets)) AS overlap
WHERE overlap >= $min_overlap
WITH run, f, g, targets
ORDER BY overlap DESC, f.uid, g.uid
LIMIT $limit
UNWIND targets AS t
UNWIND [f, g] AS s
WITH DISTINCT run, s, t
MATCH path = (s)-[e:AFFECTS {run: run.n, method: $method}]->(t)
WHERE $edges = 'all' OR e.span = 1 OR e.by CONTAINS 'direct'
RETURN path
LIMIT 300
