// A feature in every run
//
// family: features
// question: What did each run see of this feature?
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
//   incoming: edges that end here
//   outgoing: edges that begin here
//   label: top activating tokens in context
// example: {feature: L5_F280}
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (:Observation {run: run.n, id: $feature})-[:OF]->(f:Feature)
MATCH (f)<-[:OF]-(o:Observation)
MATCH (r:Run {n: o.run, status: 'ready'})
RETURN r.id AS run_id, r.name AS name, o.id AS id, o.layer AS layer, o.density AS density, o.max_act AS max_act, o.importance AS importance,
       COUNT { (f)<-[e:AFFECTS]-() WHERE e.run = o.run AND e.method = $method } AS incoming,
       COUNT { (f)-[e:AFFECTS]->() WHERE e.run = o.run AND e.method = $method } AS outgoing, o.label AS label
ORDER BY r.n DESC
