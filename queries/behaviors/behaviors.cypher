// Behaviours
//
// family: behaviors
// question: Which behaviours of the model were studied, and what carries them?
// params:
//   run: {type: run}
// returns:
//   name: behaviour
//   metric: what is measured
//   clean: the metric without intervention
//   ablated: the metric with the seeds ablated
//   confirmed: the model shows it and the seeds carry it
//   prompts: how many prompts
//   seeds: short ids of the seeds, strongest first
//   effects: their effects on the metric
//   members: features of its subgraph, seeds included
//   outputs: short ids of the features that write into the answer themselves, strongest first
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (b:Behavior)
USING INDEX b:Behavior(run, name)
WHERE b.run = run.n AND b.name IS NOT NULL AND b.uid STARTS WITH toString(run.n) + '/'
OPTIONAL MATCH (b)-[s:SEEDED_BY]->(:Feature)
WITH b, s
ORDER BY s.rank
WITH b, collect(s.id) AS seeds, collect(s.effect) AS effects
OPTIONAL MATCH (:Feature)-[w:WRITES_TO]->(b)
WITH b, seeds, effects, w
ORDER BY abs(w.effect) DESC, w.id
WITH b, seeds, effects, collect(w.id) AS outputs
RETURN b.name AS name, b.metric AS metric, b.clean AS clean, b.ablated AS ablated, b.confirmed AS confirmed, size(b.prompts) AS prompts,
       seeds, effects, COUNT { (b)-[:HAS_MEMBER]->() } AS members, outputs
ORDER BY name
