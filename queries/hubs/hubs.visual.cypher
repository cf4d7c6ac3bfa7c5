// Hubs: as a graph
MATCH (run:Run {id: $run, status: 'ready'})
OPTIONAL MATCH (copy:Feature)-[m:MEMBER_OF]->(:Family {run: run.n, method: $method})
WHERE $families AND m.place > 0
WITH run, collect(copy) AS copies
MATCH (s:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
WHERE $edges = 'all' OR e.structural
WITH run, copies, s, t, e, CASE WHEN $effect <> 'strength' THEN e[$effect] WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct END AS signed
WHERE signed IS NOT NULL AND ($effect = 'strength' OR (signed <> 0 AND abs(signed) >= coalesce(e.floor_computed, 0.0)))
  AND ($sign = 'any' OR ($sign = 'excitatory' AND signed > 0 OR $sign = 'inhibitory' AND signed < 0) AND NOT (e.type = 'erases_copy' OR e.type = 'attenuates_copy' AND ($effect IN ['computed', 'specific'] OR signed < 0)))
OPTIONAL MATCH (s)-[:MEMBER_OF]->({run: run.n, method: $method})<-[:MEMBER_OF {place: 0}]-(a:Feature) WHERE s IN copies
OPTIONAL MATCH (t)-[:MEMBER_OF]->({run: run.n, method: $method})<-[:MEMBER_OF {place: 0}]-(b:Feature) WHERE t IN copies
WITH DISTINCT run, coalesce(a, s) AS s, coalesce(b, t) AS t
WHERE s <> t
UNWIND [s, t] AS f
WITH run, f, count(*) AS degree
ORDER BY degree DESC, f.uid
LIMIT 5
// A family is drawn with all its members.
OPTIONAL MATCH (f)-[:MEMBER_OF {place: 0}]->(x {run: run.n, method: $method}) WHERE $families
OPTIONAL MATCH (x)<-[:MEMBER_OF]-(member:Feature)
WITH DISTINCT run, coalesce(member, f) AS f
MATCH path = (f)-[e:AFFECTS {run: run.n, method: $method}]-(:Feature)
WHERE $edges = 'all' OR e.structural
WITH path, e, CASE WHEN $effect <> 'strength' THEN e[$effect] WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct END AS signed
WHERE signed IS NOT NULL AND ($effect = 'strength' OR (signed <> 0 AND abs(signed) >= coalesce(e.floor_computed, 0.0)))
  AND ($sign = 'any' OR ($sign = 'excitatory' AND signed > 0 OR $sign = 'inhibitory' AND signed < 0) AND NOT (e.type = 'erases_copy' OR e.type = 'attenuates_copy' AND ($effect IN ['computed', 'specific'] OR signed < 0)))
RETURN path
ORDER BY abs(signed) DESC
LIMIT 300
