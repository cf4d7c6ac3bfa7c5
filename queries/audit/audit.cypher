// Audit of a run
//
// family: audit
// question: Is everything of this run in the database, once, and does it hang together?
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
  RETURN 'edges' AS check, count(e) AS found, run.edges AS expected
  UNION ALL
  MATCH (o:Observation {run: run.n})
  RETURN 'features observed' AS check, count(o) AS found, run.nodes AS expected
  UNION ALL
  MATCH (b:IngestBatch {run: run.n})
  RETURN 'rows in the ledger' AS check, sum(b.rows) AS found, run.nodes + run.edges AS expected
  UNION ALL
  MATCH (s:Feature)-[e:AFFECTS]->(t:Feature) WHERE e.run = run.n AND e.method IS NOT NULL
  MATCH (s)<-[:OF]-(a:Observation {run: run.n})
  MATCH (t)<-[:OF]-(b:Observation {run: run.n})
  RETURN 'edges between observed features, forward' AS check, sum(CASE WHEN a.layer < b.layer THEN 1 ELSE 0 END) AS found, run.edges AS expected
  UNION ALL
  MATCH (s:Feature)-[e:AFFECTS]->(t:Feature) WHERE e.run = run.n AND e.method IS NOT NULL
  WITH run, s, t, e.method AS method, count(*) AS copies
  RETURN 'edges that are there twice' AS check, sum(copies - 1) AS found, 0 AS expected
  UNION ALL
  MATCH (o:Observation {run: run.n}) WHERE COUNT { (o)-[:OF]->(:Feature) } <> 1
  RETURN 'observations without their feature' AS check, count(o) AS found, 0 AS expected
}
RETURN check, found, expected, found = expected AS ok
ORDER BY check
