// Reach: as a graph (200 of the paths of at most 3 edges, short and strong ones first)
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (:Observation {run: run.n, id: $feature})-[:OF]->(start:Feature)
MATCH path = (start)-[steps:AFFECTS*1..3]-(:Feature)
WHERE size(steps) <= $max_hops
  AND all(e IN steps WHERE e.run = run.n AND e.method = $method AND ($edges = 'all' OR e.structural)
    AND abs(e.strength) >= $min_strength)
  AND all(i IN range(0, size(steps) - 1) WHERE CASE $direction WHEN 'downstream' THEN startNode(steps[i]) = nodes(path)[i] ELSE endNode(steps[i]) = nodes(path)[i] END)
RETURN path
ORDER BY size(steps), abs(steps[size(steps) - 1].strength) DESC
LIMIT 200
