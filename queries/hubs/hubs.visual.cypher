// Hubs: as a graph
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (s:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
WHERE $edges = 'all' OR e.structural
UNWIND [s, t] AS f
WITH run, f, count(*) AS degree
ORDER BY degree DESC
LIMIT 5
MATCH path = (f)-[e:AFFECTS {run: run.n, method: $method}]-(:Feature)
WHERE $edges = 'all' OR e.structural
RETURN path
ORDER BY abs(e.strength) DESC
LIMIT 300
