// Paths between two features: as a graph (the strongest paths of at most 5 edges)
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (:Observation {run: run.n, id: $source})-[:OF]->(a:Feature)
MATCH (:Observation {run: run.n, id: $target})-[:OF]->(b:Feature)
MATCH path = (a)-[steps:AFFECTS*1..5]->(b)
WHERE all(e IN steps WHERE e.run = run.n AND e.method = $method AND e.structural AND e.by <> 'later')
RETURN path
ORDER BY abs(reduce(effect = 1.0, e IN steps | effect * e.direct)) DESC
LIMIT $k
