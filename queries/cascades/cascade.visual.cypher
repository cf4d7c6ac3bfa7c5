// Cascade: as a graph (the 300 strongest paths of at most 3 edges)
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (:Observation {run: run.n, id: $feature})-[:OF]->(start:Feature)
MATCH path = (start)-[steps:AFFECTS*1..3]->(:Feature)
WHERE size(steps) <= $max_hops
  AND all(e IN steps WHERE e.run = run.n AND e.method = $method AND e.structural AND e.by <> 'later' AND abs(e.direct) >= $min_strength)
WITH path, abs(reduce(effect = $delta, e IN steps | effect * e.direct)) * $decay ^ (size(steps) - 1) AS effect
WHERE effect >= $min_effect
RETURN path
ORDER BY effect DESC
LIMIT 300
