// Flow between layers
//
// family: hubs
// question: From which layer to which do effects run, and with which sign?
// params:
//   run: {type: run}
//   method: {type: method}
//   edges: {type: choice, of: [structural, all], default: structural, about: "structural: edges without an analysed site in between, or with a direct effect that is itself significant; all: every edge, by its total effect"}
// returns:
//   source_layer: layer
//   target_layer: layer
//   count: edges
//   excitatory: edges that raise the target
//   inhibitory: edges that lower it
//   from_copy: edges that take from a copy, which is neither; they erase one, or attenuate one and do not raise the target
//   mean_strength: mean magnitude, target units per source unit
//   largest: largest magnitude, in the same unit
//   sources: distinct sources
//   targets: distinct targets
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (s:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
WHERE $edges = 'all' OR e.structural
MATCH (s)<-[:OF]-(a:Observation {run: run.n})
MATCH (t)<-[:OF]-(b:Observation {run: run.n})
WITH a, b, e, CASE WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct END AS effect
WITH a, b, effect, (e.type = 'erases_copy' OR e.type = 'attenuates_copy' AND effect < 0) AS taking
RETURN a.layer AS source_layer, b.layer AS target_layer, count(*) AS count,
       sum(CASE WHEN effect > 0 AND NOT taking THEN 1 ELSE 0 END) AS excitatory,
       sum(CASE WHEN effect < 0 AND NOT taking THEN 1 ELSE 0 END) AS inhibitory, sum(CASE WHEN taking THEN 1 ELSE 0 END) AS from_copy,
       avg(abs(effect)) AS mean_strength, max(abs(effect)) AS largest, count(DISTINCT a.id) AS sources, count(DISTINCT b.id) AS targets
ORDER BY source_layer, target_layer
