// Runs
//
// family: runs
// question: Which runs are in this database?
// returns:
//   id: id of the run
//   name: name of its directory
//   status: loading, ready, failed or dropped
//   model: model and the hash of its weights
//   layers: layers covered
//   methods: methods of its edges
//   nodes: features observed
//   edges: edges
//   finished: when it became ready (UTC); empty if it never did
MATCH (run:Run) WHERE run.n IS NOT NULL AND run.status IN ['loading', 'ready', 'failed', 'dropped']
OPTIONAL MATCH (run)-[:OF_MODEL]->(m:Model) WHERE m.uid IS NOT NULL
RETURN run.id AS id, run.name AS name, run.status AS status, m.uid AS model, run.layers AS layers, run.methods AS methods, run.nodes AS nodes,
       run.edges AS edges, CASE WHEN run.finished IS NULL THEN null ELSE toString(datetime({epochMillis: run.finished})) END AS finished
ORDER BY run.n DESC
