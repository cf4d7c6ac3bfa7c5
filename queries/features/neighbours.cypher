// Neighbours of a feature
//
// family: features
// question: What drives this feature, and what does it drive?
// params:
//   run: {type: run}
//   method: {type: method}
//   feature: {type: feature}
//   direction: {type: choice, of: [both, in, out], default: both, about: "in: what drives it, out: what it drives"}
//   effect: {type: effect, of: [strength, direct, computed, specific, copy], about: "which effect the rows are ordered by, largest magnitude first: specific where the run measured it, else strength, if not given; edges for which it was not measured come last"}
//   limit: {type: int, min: 1, max: 10000, default: 50, about: "at most this many rows"}
// returns:
//   direction: in or out
//   id: the other feature
//   layer: its layer
//   strength: the effect of the edge, target units per source unit
//   direct: direct effect
//   later: effect on later positions
//   computed: total effect without the copy
//   specific: computed, without what the blocks compute from any direction; empty if not measured
//   span: analysed layers crossed; 0 within a layer
//   q: corrected p of the total effect
//   by: effects that passed the test
//   label: its top activating tokens in context
// example: {feature: L5_F280}
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (:Observation {run: run.n, id: $feature})-[:OF]->(f:Feature)
CALL (run, f) {
  WITH run, f WHERE $direction <> 'in'
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(x:Feature)
  RETURN 'out' AS direction, e, x
  UNION ALL
  WITH run, f WHERE $direction <> 'out'
  MATCH (f)<-[e:AFFECTS {run: run.n, method: $method}]-(x:Feature)
  RETURN 'in' AS direction, e, x
}
MATCH (x)<-[:OF]-(o:Observation {run: run.n})
RETURN direction, o.id AS id, o.layer AS layer, e.strength AS strength, e.direct AS direct, e.later AS later,
       e.computed AS computed, e.specific AS specific, e.span AS span, e.q AS q, e.by AS by, o.label AS label
ORDER BY coalesce(abs(e[$effect]), -1.0) DESC, id
LIMIT $limit
