// Where a run comes from
//
// family: runs
// question: From which model, SAEs, text and settings does this run come?
// params:
//   run: {type: run}
// returns:
//   what: kind of fact
//   name: which one
//   value: the fact
MATCH (run:Run {id: $run, status: 'ready'})
CALL (run) {
  MATCH (run)-[:OF_MODEL]->(m:Model) WHERE m.uid IS NOT NULL RETURN 'model' AS what, m.name AS name, m.uid AS value
  UNION ALL
  MATCH (run)-[:USES_SAE]->(s:SAE) WHERE s.uid IS NOT NULL RETURN 'dictionary' AS what, s.sae_id AS name, s.uid AS value
  UNION ALL
  MATCH (run)-[:COVERS]->(s:Site) WHERE s.uid IS NOT NULL RETURN 'site' AS what, coalesce(s.name, toString(s.layer)) AS name, s.hook AS value
  UNION ALL
  MATCH (run)-[:ON]->(d:Dataset) WHERE d.uid IS NOT NULL RETURN 'text' AS what, d.name AS name, toString(d.n_tokens) + ' tokens' AS value
  UNION ALL
  UNWIND ['seed', 'alpha', 'correction', 'measured', 'nodes', 'edges', 'scale', 'digest', 'versions', 'facts', 'config'] AS key
  RETURN 'run' AS what, key AS name, toString(run[key]) AS value
}
RETURN what, name, value
ORDER BY what, name
