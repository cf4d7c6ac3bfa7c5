// One feature
//
// family: features
// question: What is known about this feature?
// params:
//   run: {type: run}
//   method: {type: method}
//   feature: {type: feature}
// returns:
//   id: short id
//   uid: what the feature is, the same in every run
//   layer: layer
//   hook: hook that is read
//   label: top activating tokens in context
//   density: share of tokens at which it is active
//   mean_act: mean activation where active
//   max_act: largest activation
//   importance: frequency × causal effect on the output
//   incoming: edges that end here
//   outgoing: edges that begin here
//   runs: ready runs that observed it
//   neuronpedia_url: its page, if there is one
// example: {feature: L5_F280}
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (o:Observation {run: run.n, id: $feature})-[:OF]->(f:Feature)
RETURN o.id AS id, f.uid AS uid, o.layer AS layer, f.hook AS hook, o.label AS label, o.density AS density, o.mean_act AS mean_act,
       o.max_act AS max_act, o.importance AS importance,
       COUNT { (f)<-[e:AFFECTS]-() WHERE e.run = run.n AND e.method = $method } AS incoming,
       COUNT { (f)-[e:AFFECTS]->() WHERE e.run = run.n AND e.method = $method } AS outgoing,
       COUNT { (f)<-[:OF]-(x:Observation) WHERE x.layer IS NOT NULL AND EXISTS { (r:Run {n: x.run, status: 'ready'}) } } AS runs,
       f.neuronpedia_url AS neuronpedia_url
