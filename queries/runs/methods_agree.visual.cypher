// Do the methods agree? As a graph: both edges of each pair, those that differ most
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (s:Feature)-[e:AFFECTS {run: run.n, method: $first}]->(t:Feature)
USING INDEX e:AFFECTS(run, method)
MATCH (s)-[x:AFFECTS {run: run.n, method: $second}]->(t)
WITH s, e, t, x
ORDER BY abs(e.strength - x.strength) DESC, s.uid, t.uid
LIMIT 60
UNWIND [e, x] AS edge
MATCH path = (s)-[edge]->(t)
RETURN path
