// A feature in every run
//
// family: features
// question: What did each run find about this feature?
// params:
//   run: {type: run}
//   method: {type: method}
//   feature: {type: feature}
// returns:
//   run_id: id of the run
//   name: name of its directory
//   id: short id there
//   layer: layer there
//   density: share of tokens at which it is active
//   max_act: largest activation
//   importance: frequency × causal effect on the output
//   method: method of the edges that are counted, which is the one asked for; if the run has no edges by it, its only other one; empty if it has several others
//   incoming: edges that end here; empty if method is empty
//   outgoing: edges that begin here; empty if method is empty
//   label: top activating tokens in context
// example: {feature: L5_F280}
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (:Observation {run: run.n, id: $feature})-[:OF]->(f:Feature)
MATCH (f)<-[:OF]-(o:Observation) WHERE o.layer IS NOT NULL
MATCH (r:Run {n: o.run, status: 'ready'})
WITH f, o, r, CASE WHEN $method IN r.methods OR size(r.methods) = 0 THEN $method WHEN size(r.methods) = 1 THEN r.methods[0] END AS method
RETURN r.id AS run_id, r.name AS name, o.id AS id, o.layer AS layer, o.density AS density, o.max_act AS max_act, o.importance AS importance,
       method, CASE WHEN method IS NOT NULL THEN COUNT { (f)<-[e:AFFECTS]-() WHERE e.run = o.run AND e.method = method } END AS incoming,
       CASE WHEN method IS NOT NULL THEN COUNT { (f)-[e:AFFECTS]->() WHERE e.run = o.run AND e.method = method } END AS outgoing, o.label AS label
ORDER BY r.n DESC
