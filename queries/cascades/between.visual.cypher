// Between two features: as a graph (the 100 strongest paths of at most 4 edges)
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (:Observation {run: run.n, id: $source})-[:OF]->(a:Feature)
MATCH (:Observation {run: run.n, id: $target})-[:OF]->(b:Feature)
MATCH path = (a)-[steps:AFFECTS*1..4]->(b)
WHERE size(steps) <= $max_hops AND all(e IN steps WHERE e.run = run.n AND e.method = $method AND e.structural
  AND e.by <> 'later' AND abs(e.direct) >= $min_strength)
RETURN path
ORDER BY abs(reduce(effect = 1.0, e IN steps | effect * e.direct)) DESC
LIMIT 100
