// Strongest edges: to look at
MATCH (run:Run {id: $run, status: 'ready'})
MATCH path = (s:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
WHERE $span IS NULL OR e.span = $span
WITH path, s, t, CASE $effect
  WHEN 'direct' THEN e.direct
  WHEN 'later' THEN e.later
  WHEN 'computed' THEN coalesce(e.total, e.strength) - e.copy
  ELSE e.strength
END AS value
WHERE value IS NOT NULL AND ($sign = 'any' OR ($sign = 'excitatory' AND value > 0) OR ($sign = 'inhibitory' AND value < 0))
RETURN path
ORDER BY abs(value) DESC, s.uid, t.uid
LIMIT 60
