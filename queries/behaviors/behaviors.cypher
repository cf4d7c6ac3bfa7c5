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
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (b:Behavior)
USING INDEX b:Behavior(run, name)
WHERE b.run = run.n AND b.name IS NOT NULL
OPTIONAL MATCH (b)-[s:SEEDED_BY]->(:Feature)
WITH b, s
ORDER BY s.rank
WITH b, collect(s.id) AS seeds, collect(s.effect) AS effects
RETURN b.name AS name, b.metric AS metric, b.clean AS clean, b.ablated AS ablated, b.confirmed AS confirmed, size(b.prompts) AS prompts,
       seeds, effects
ORDER BY name
