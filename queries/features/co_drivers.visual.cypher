// Features that drive the same: as a graph
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (:Observation {run: run.n, id: $feature})-[:OF]->(f:Feature)
MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
WHERE $edges = 'all' OR e.structural
MATCH (t)<-[x:AFFECTS {run: run.n, method: $method}]-(other:Feature)
WHERE other <> f AND ($edges = 'all' OR x.structural)
WITH run, f, other, collect(DISTINCT t) AS targets
WHERE size(targets) >= $min_shared
WITH run, f, other, targets
ORDER BY size(targets) DESC, other.uid
LIMIT $limit
UNWIND targets AS t
UNWIND [f, other] AS s
WITH DISTINCT run, s, t
MATCH path = (s)-[e:AFFECTS {run: run.n, method: $method}]->(t)
WHERE $edges = 'all' OR e.structural
RETURN path
LIMIT 300
