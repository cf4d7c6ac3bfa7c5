// Flow between sites
//
// family: hubs
// question: From which dictionary of a layer to which do effects run (residual stream, attention, MLP …), and with which sign?
// params:
//   run: {type: run}
//   method: {type: method}
//   edges: {type: choice, of: [structural, all], default: structural, about: "structural: edges without an analysed site in between, or with a direct effect that is itself significant; all: every edge, by its total effect"}
// returns:
//   source_site: what ids of its features begin with, such as L5 for the residual stream or L5.mlp
//   target_site: the same of the target
//   blocks: distance in blocks; 0 within a block
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
WITH left(a.id, size(a.id) - size(split(a.id, '_F')[-1]) - 2) AS source_site, left(b.id, size(b.id) - size(split(b.id, '_F')[-1]) - 2) AS target_site,
     a.layer AS low, b.layer AS high, a.id AS source, b.id AS target, effect, (e.type = 'erases_copy' OR e.type = 'attenuates_copy' AND effect < 0) AS taking
WITH source_site, target_site, low, high, count(*) AS count,
     sum(CASE WHEN effect > 0 AND NOT taking THEN 1 ELSE 0 END) AS excitatory,
     sum(CASE WHEN effect < 0 AND NOT taking THEN 1 ELSE 0 END) AS inhibitory, sum(CASE WHEN taking THEN 1 ELSE 0 END) AS from_copy,
     avg(abs(effect)) AS mean_strength, max(abs(effect)) AS largest, count(DISTINCT source) AS sources, count(DISTINCT target) AS targets
RETURN source_site, target_site, high - low AS blocks, count, excitatory, inhibitory, from_copy, mean_strength, largest, sources, targets
ORDER BY low, high, source_site, target_site
