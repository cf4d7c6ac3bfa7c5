// Audit of a run
//
// family: audit
// question: Is everything of this run in the database, exactly once, and is it consistent?
// params:
//   run: {type: run}
// returns:
//   check: what is checked
//   found: what the database holds
//   expected: what it should hold
//   ok: whether they are the same
MATCH (run:Run {id: $run, status: 'ready'})
CALL (run) {
  MATCH ()-[e:AFFECTS]->() WHERE e.run = run.n AND e.method IS NOT NULL
  WITH count(e) AS found
  RETURN 'edges' AS check, found, run.edges AS expected
  UNION ALL
  MATCH (o:Observation) USING INDEX o:Observation(run, layer) WHERE o.run = run.n AND o.layer IS NOT NULL
  WITH count(o) AS found
  RETURN 'features observed' AS check, found, run.nodes AS expected
  UNION ALL
  MATCH (b:IngestBatch) USING INDEX b:IngestBatch(run) WHERE b.run = run.n AND b.key STARTS WITH toString(run.n) + '/'
  WITH sum(b.rows) AS found
  RETURN 'rows in the ledger' AS check, found, run.nodes + run.edges AS expected
  UNION ALL
  MATCH (s:Feature)-[e:AFFECTS]->(t:Feature) WHERE e.run = run.n AND e.method IS NOT NULL
  WITH [(s)<-[:OF]-(a:Observation) WHERE a.run = run.n | a][0] AS low, [(t)<-[:OF]-(b:Observation) WHERE b.run = run.n | b][0] AS high
  // Within a layer edges go from one site to another (L5.attn_F1 to L5.mlp_F2); their order was checked when they were loaded.
  WITH sum(CASE WHEN low.layer < high.layer OR low.layer = high.layer AND left(low.id, size(low.id) - size(split(low.id, '_F')[-1]) - 2) <> left(high.id, size(high.id) - size(split(high.id, '_F')[-1]) - 2) THEN 1 ELSE 0 END) AS found
  RETURN 'edges between observed features, forward' AS check, found, run.edges AS expected
  UNION ALL
  MATCH (s:Feature)-[e:AFFECTS]->(t:Feature) WHERE e.run = run.n AND e.method IS NOT NULL
  WITH s, t, e.method AS method, count(*) - 1 AS more
  WITH sum(more) AS found
  RETURN 'edges that are there twice' AS check, found, 0 AS expected
  UNION ALL
  MATCH (o:Observation) USING INDEX o:Observation(run, layer) WHERE o.run = run.n AND o.layer IS NOT NULL AND COUNT { (o)-[:OF]->(:Feature) } <> 1
  WITH count(o) AS found
  RETURN 'observations without their feature' AS check, found, 0 AS expected
}
RETURN check, found, expected, found = expected AS ok
ORDER BY check
