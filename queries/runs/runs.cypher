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
//   finished: when it became ready (UTC)
MATCH (run:Run)
OPTIONAL MATCH (run)-[:OF_MODEL]->(m:Model)
RETURN run.id AS id, run.name AS name, run.status AS status, m.uid AS model, run.layers AS layers, run.methods AS methods, run.nodes AS nodes,
       run.edges AS edges, toString(datetime({epochMillis: run.finished})) AS finished
ORDER BY run.n DESC
