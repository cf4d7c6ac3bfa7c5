// Feed-forward loops: as a graph
MATCH (run:Run {id: $run, status: 'ready'})
MATCH first = (a:Feature)-[ab:AFFECTS {run: run.n, method: $method}]->(b:Feature)
WHERE ($edges = 'all' OR ab.structural) AND abs(CASE WHEN $edges = 'all' OR ab.by = 'later' THEN ab.strength ELSE ab.direct END) >= $min_strength
MATCH second = (b)-[bc:AFFECTS {run: run.n, method: $method}]->(c:Feature)
WHERE ($edges = 'all' OR bc.structural) AND abs(CASE WHEN $edges = 'all' OR bc.by = 'later' THEN bc.strength ELSE bc.direct END) >= $min_strength
MATCH across = (a)-[ac:AFFECTS {run: run.n, method: $method}]->(c)
WHERE ($edges = 'all' OR ac.structural) AND abs(CASE WHEN $edges = 'all' OR ac.by = 'later' THEN ac.strength ELSE ac.direct END) >= $min_strength
RETURN first, second, across
LIMIT 100
