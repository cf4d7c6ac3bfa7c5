// Features that act alike: as a graph
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (o:Observation)
USING INDEX o:Observation(run, layer)
WHERE o.run = run.n AND o.layer IS NOT NULL AND ($layer IS NULL OR o.layer = $layer)
WITH run, o.layer AS layer, count(*) AS features
// layer by layer: pairs are counted in memory
CALL (run, layer) {
  MATCH (o:Observation {run: run.n, layer: layer})-[:OF]->(f:Feature)
  WITH run, o, f, COUNT { (f)-[e:AFFECTS]->() WHERE e.run = run.n AND e.method = $method AND ($edges = 'all' OR e.structural) } AS targets
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
  WHERE $edges = 'all' OR e.structural
  WITH run, t, o, targets, e.sign AS direction ORDER BY f.uid
  WITH run, t, collect(o) AS seen, collect(targets) AS targets, collect(direction) AS directions
  WHERE size(seen) > 1 AND COUNT { (t)<-[x:AFFECTS]-() WHERE x.run = run.n AND x.method = $method } <= $max_drivers
  UNWIND range(0, size(seen) - 2) AS i
  UNWIND range(i + 1, size(seen) - 1) AS j
  // who has so many more targets cannot share enough of them
  WITH seen, directions, targets, i, j WHERE targets[i] >= $min_overlap * targets[j] AND targets[j] >= $min_overlap * targets[i]
  // of one dictionary: sites of a layer read different things
  WITH seen, directions, targets, i, j WHERE left(seen[i].id, size(seen[i].id) - size(split(seen[i].id, '_F')[-1]) - 2) = left(seen[j].id, size(seen[j].id) - size(split(seen[j].id, '_F')[-1]) - 2)
  WITH seen[i] AS o, seen[j] AS p, count(*) AS shared, sum(CASE WHEN directions[i] = directions[j] THEN 1 ELSE 0 END) AS agree,
       max(targets[i] + targets[j]) AS of_both
  WHERE shared >= $min_shared
  WITH o, p, shared, agree, toFloat(shared) / (of_both - shared) AS overlap
  WHERE overlap >= $min_overlap
  RETURN o, p, shared, agree, overlap
}
WITH run, o, p ORDER BY overlap DESC, o.key, p.key LIMIT $limit
MATCH (o)-[:OF]->(f:Feature) MATCH (p)-[:OF]->(g:Feature)
MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)<-[x:AFFECTS {run: run.n, method: $method}]-(g)
WHERE ($edges = 'all' OR e.structural) AND ($edges = 'all' OR x.structural)
  AND COUNT { (t)<-[y:AFFECTS]-() WHERE y.run = run.n AND y.method = $method } <= $max_drivers
UNWIND [f, g] AS s
WITH DISTINCT run, s, t
MATCH path = (s)-[e:AFFECTS {run: run.n, method: $method}]->(t)
WHERE $edges = 'all' OR e.structural
RETURN path
LIMIT 300
