// Strongest edges
//
// family: features
// question: Which effects of the whole run are the largest?
// params:
//   run: {type: run}
//   method: {type: method}
//   effect: {type: choice, of: [strength, direct, later, computed], default: strength, about: "which effect; computed is the total without what the residual stream only carries along"}
//   sign: {type: choice, of: [any, excitatory, inhibitory], default: any, about: "which edges"}
//   span: {type: int, min: 1, max: 100, optional: true, about: "edges that cross this many sites only"}
//   limit: {type: int, min: 1, max: 10000, default: 20, about: "rows at most"}
// returns:
//   source: short id
//   target: short id
//   value: the effect asked for, target units per source unit
//   type: excitatory, inhibitory or pass_through
//   span: analysed sites crossed
//   copy: part that the identity path alone gives
//   q: adjusted p of the total effect
//   replicated: found again on the confirmation documents
//   source_label: top activating tokens of the source
//   target_label: top activating tokens of the target
// example: {sign: inhibitory, limit: 5}
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (s:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
WHERE $span IS NULL OR e.span = $span
WITH run, s, e, t, CASE $effect
  WHEN 'direct' THEN e.direct
  WHEN 'later' THEN e.later
  WHEN 'computed' THEN coalesce(e.total, e.strength) - e.copy
  ELSE e.strength
END AS value
WHERE value IS NOT NULL AND ($sign = 'any' OR ($sign = 'excitatory' AND value > 0) OR ($sign = 'inhibitory' AND value < 0))
ORDER BY abs(value) DESC, s.uid, t.uid
LIMIT $limit
MATCH (s)<-[:OF]-(a:Observation {run: run.n})
MATCH (t)<-[:OF]-(b:Observation {run: run.n})
RETURN a.id AS source, b.id AS target, value, e.type AS type, e.span AS span, e.copy AS copy, e.q AS q, e.replicated AS replicated,
       a.label AS source_label, b.label AS target_label
ORDER BY abs(value) DESC, source, target
