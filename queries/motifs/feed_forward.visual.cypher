// Feed-forward loops: as a graph
MATCH (run:Run {id: $run, status: 'ready'})
MATCH first = (a:Feature)-[ab:AFFECTS {run: run.n, method: $method}]->(b:Feature)
WHERE ($edges = 'all' OR ab.structural) AND abs(CASE WHEN $effect <> 'strength' THEN ab[$effect] WHEN $edges = 'all' OR ab.by = 'later' THEN ab.strength ELSE ab.direct END) >= $min_strength AND ($effect = 'strength' OR (ab[$effect] <> 0 AND abs(ab[$effect]) >= coalesce(ab.floor_computed, 0.0)))
MATCH second = (b)-[bc:AFFECTS {run: run.n, method: $method}]->(c:Feature)
WHERE ($edges = 'all' OR bc.structural) AND abs(CASE WHEN $effect <> 'strength' THEN bc[$effect] WHEN $edges = 'all' OR bc.by = 'later' THEN bc.strength ELSE bc.direct END) >= $min_strength AND ($effect = 'strength' OR (bc[$effect] <> 0 AND abs(bc[$effect]) >= coalesce(bc.floor_computed, 0.0)))
MATCH across = (a)-[ac:AFFECTS {run: run.n, method: $method}]->(c)
WHERE ($edges = 'all' OR ac.structural) AND abs(CASE WHEN $effect <> 'strength' THEN ac[$effect] WHEN $edges = 'all' OR ac.by = 'later' THEN ac.strength ELSE ac.direct END) >= $min_strength AND ($effect = 'strength' OR (ac[$effect] <> 0 AND abs(ac[$effect]) >= coalesce(ac.floor_computed, 0.0)))
RETURN first, second, across
LIMIT 100
