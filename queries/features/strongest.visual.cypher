// Strongest edges: as a graph
MATCH (run:Run {id: $run, status: 'ready'})
MATCH path = (s:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
WHERE ($span IS NULL OR e.span = $span) AND ($edges = 'all' OR e.structural)
WITH path, s, e, t, CASE $effect WHEN 'total' THEN coalesce(e.total, e.strength) ELSE e[$effect] END AS value
WHERE value IS NOT NULL AND ($effect = 'strength' OR (value <> 0 AND abs(value) >= coalesce(e.floor_computed, 0.0)))
  AND ($sign = 'any' OR ($sign = 'excitatory' AND value > 0 OR $sign = 'inhibitory' AND value < 0) AND NOT (e.type = 'erases_copy' OR e.type = 'attenuates_copy' AND ($effect IN ['computed', 'specific'] OR value < 0)))
WITH path, s, t, value, CASE coalesce(e.total, e.strength) WHEN 0.0 THEN null ELSE e.standardised * value / coalesce(e.total, e.strength) END AS standardised
RETURN path
ORDER BY CASE $by WHEN 'value' THEN 0.0 ELSE coalesce(abs(standardised), -1.0) END DESC, abs(value) DESC, s.uid, t.uid
LIMIT 60
