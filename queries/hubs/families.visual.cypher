// Copy families: the longest-lived, to look at
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (x:Family {run: run.n, method: $method})
WHERE x.lifetime >= $min_lifetime AND ($feature IS NULL OR EXISTS { (:Feature)-[:MEMBER_OF {id: $feature}]->(x) })
WITH run, x ORDER BY x.lifetime DESC, x.size DESC, x.first_layer, x.id LIMIT 30
MATCH (a:Feature)-[m:MEMBER_OF]->(x)<-[n:MEMBER_OF]-(b:Feature)
WHERE n.place = m.place + 1
MATCH path = (a)-[e:AFFECTS]->(b)
WHERE e.run = run.n AND e.method = $method
RETURN path
LIMIT 300
