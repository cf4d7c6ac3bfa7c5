// Hubs of behaviours
//
// family: behaviors
// question: Which features serve the most behaviours?
// params:
//   run: {type: run}
//   method: {type: method}
//   hops: {type: int, min: 0, max: 2, default: 2, about: "steps downstream from the seeds"}
//   edges: {type: choice, of: [structural, all], default: structural, about: "structural: edges without an analysed site in between, or with a direct effect that is itself significant; all: every edge, by its total effect"}
//   min_behaviors: {type: int, min: 1, max: 1000, default: 2, about: "at least this many behaviours"}
//   limit: {type: int, min: 1, max: 10000, default: 20, about: "at most this many rows"}
// returns:
//   id: short id
//   layer: layer
//   count: behaviours that it serves, as a seed or at most `hops` steps downstream of one
//   behaviors: their names
//   seed_of: of those, behaviours that it is a seed of
//   incoming: edges that end here
//   outgoing: edges that begin here
//   label: top activating tokens in context
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (b:Behavior)
USING INDEX b:Behavior(run, name)
WHERE b.run = run.n AND b.name IS NOT NULL AND b.uid STARTS WITH toString(run.n) + '/'
CALL (run, b) {
  MATCH (b)-[:SEEDED_BY]->(f:Feature)
  RETURN f, 1 AS seed
  UNION ALL
  WITH run, b WHERE $hops >= 1
  MATCH (b)-[:SEEDED_BY]->(s:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(f:Feature)
  WHERE $edges = 'all' OR e.structural
  RETURN DISTINCT f, 0 AS seed
  UNION ALL
  WITH run, b WHERE $hops >= 2
  MATCH (b)-[:SEEDED_BY]->(s:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(m:Feature)
  WHERE $edges = 'all' OR e.structural
  WITH DISTINCT run, m
  MATCH (m)-[e:AFFECTS {run: run.n, method: $method}]->(f:Feature)
  WHERE $edges = 'all' OR e.structural
  RETURN DISTINCT f, 0 AS seed
}
WITH run, f, b.name AS name, max(seed) AS seed
ORDER BY name
WITH run, f, collect(name) AS behaviors, sum(seed) AS seed_of
WHERE size(behaviors) >= $min_behaviors
MATCH (f)<-[:OF]-(o:Observation {run: run.n})
WITH run, f, o, behaviors, seed_of,
     COUNT { (f)<-[e:AFFECTS]-() WHERE e.run = run.n AND e.method = $method AND ($edges = 'all' OR e.structural) } AS incoming,
     COUNT { (f)-[e:AFFECTS]->() WHERE e.run = run.n AND e.method = $method AND ($edges = 'all' OR e.structural) } AS outgoing
RETURN o.id AS id, o.layer AS layer, size(behaviors) AS count, behaviors, seed_of, incoming, outgoing, o.label AS label
ORDER BY count DESC, incoming + outgoing DESC, id
LIMIT $limit
