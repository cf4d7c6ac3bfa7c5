// Features like this one: as a graph, with the edges among them
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (here:Observation {run: run.n, id: $feature})-[:OF]->(f:Feature)
WHERE f.decoder IS NOT NULL
CALL db.index.vector.queryNodes('feature_decoder', 2000, f.decoder) YIELD node AS x
MATCH (x)<-[:OF]-(o:Observation {run: run.n})
WHERE (x = f OR $layers = 'all' OR ($layers = 'same') = (o.layer = here.layer)) AND 2 * vector.similarity.cosine(f.decoder, x.decoder) - 1 >= $min_cosine
WITH run, f, x, o, vector.similarity.cosine(f.decoder, x.decoder) AS likeness
ORDER BY likeness DESC
LIMIT 50
WITH run, collect(x) AS alike
CALL (run, alike) {
  UNWIND alike AS x
  MATCH path = (x)-[e:AFFECTS {run: run.n, method: $method}]->(y:Feature)
  WHERE y IN alike
  RETURN path, abs(e.strength) AS weight
  ORDER BY weight DESC
  LIMIT 249
  UNION
  UNWIND alike AS x
  MATCH path = (x)<-[:OF]-(o:Observation {run: run.n})
  RETURN path, 0.0 AS weight
}
RETURN path
ORDER BY weight DESC
LIMIT 300
