// Strongest edges
//
// family: features
// question: Which effects of the whole run are the largest, in standard deviations of the target?
// params:
//   run: {type: run}
//   method: {type: method}
//   effect: {type: effect, of: [strength, total, direct, later, computed, specific, copy]}
//   by: {type: choice, of: [standardised, value], default: standardised, about: "what the rows are ordered by: the effect in standard deviations of the target (edges for which that was not measured come last, by |value|), or |value|"}
//   edges: {type: choice, of: [all, structural], default: all, about: "structural: no analysed site in between, or with a significant direct effect; all: also total effects over several sites"}
//   sign: {type: choice, of: [any, excitatory, inhibitory], default: any, about: "only edges of this sign; what attenuates or erases a copy is never inhibitory"}
//   span: {type: int, min: 0, max: 100, optional: true, about: "only edges that cross this many layers"}
//   limit: {type: int, min: 1, max: 10000, default: 20, about: "at most this many rows"}
// returns:
//   source: short id
//   target: short id
//   value: the effect asked for, target units per source unit
//   standardised: change of the target by the effect asked for, under the source's whole clamp, in standard deviations of the target
//   structural: no analysed site in between, or with a significant direct effect; otherwise it is a total over several sites
//   type: excitatory, inhibitory, pass_through, attenuates_copy or erases_copy
//   span: analysed layers crossed; 0 within a layer
//   copy: the part that the identity path alone accounts for
//   q: corrected p of the total effect
//   replicated: whether it replicates on the confirm documents
//   source_label: top activating tokens of the source
//   target_label: top activating tokens of the target
// example: {sign: inhibitory, limit: 5}
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (s:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
WHERE ($span IS NULL OR e.span = $span) AND ($edges = 'all' OR e.structural)
WITH run, s, e, t, CASE $effect WHEN 'total' THEN coalesce(e.total, e.strength) ELSE e[$effect] END AS value
WHERE value IS NOT NULL AND ($effect = 'strength' OR (value <> 0 AND abs(value) >= coalesce(e.floor_computed, 0.0)))
  AND ($sign = 'any' OR ($sign = 'excitatory' AND value > 0 OR $sign = 'inhibitory' AND value < 0) AND NOT (e.type = 'erases_copy' OR e.type = 'attenuates_copy' AND ($effect IN ['computed', 'specific'] OR value < 0)))
WITH run, s, e, t, value, CASE coalesce(e.total, e.strength) WHEN 0.0 THEN null ELSE e.standardised * value / coalesce(e.total, e.strength) END AS standardised
ORDER BY CASE $by WHEN 'value' THEN 0.0 ELSE coalesce(abs(standardised), -1.0) END DESC, abs(value) DESC, s.uid, t.uid
LIMIT $limit
MATCH (s)<-[:OF]-(a:Observation {run: run.n})
MATCH (t)<-[:OF]-(b:Observation {run: run.n})
RETURN a.id AS source, b.id AS target, value, standardised, e.structural AS structural, e.type AS type,
       e.span AS span, e.copy AS copy, e.q AS q, e.replicated AS replicated, a.label AS source_label, b.label AS target_label
ORDER BY CASE $by WHEN 'value' THEN 0.0 ELSE coalesce(abs(standardised), -1.0) END DESC, abs(value) DESC, source, target
