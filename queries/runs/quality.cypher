// Quality of a run
//
// family: runs
// question: How much of what this run found is likely to replicate?
// params:
//   run: {type: run}
//   method: {type: method}
// returns:
//   span: analysed layers crossed; 0 within a layer
//   count: edges
//   excitatory: share that raise the target
//   from_copy: share that take from a copy, which is neither excitatory nor inhibitory; they erase one, or attenuate one and do not raise the target
//   computed: share at least as much computed as copied, |computed| ≥ |copy|
//   mostly_copy: share of which the identity path alone gives more than half, with the same sign
//   only_later: share that acts only on later positions
//   replicated: of the edges re-tested on the confirm documents, the share that replicates
//   median_strength: median magnitude
//   median_q: median corrected p of the total effect
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(:Feature)
WITH e, (e.type = 'erases_copy' OR e.type = 'attenuates_copy' AND e.strength < 0) AS taking
RETURN e.span AS span, count(*) AS count, avg(CASE WHEN e.strength > 0 AND NOT taking THEN 1.0 ELSE 0.0 END) AS excitatory,
       avg(CASE WHEN taking THEN 1.0 ELSE 0.0 END) AS from_copy,
       avg(CASE WHEN e.computed IS NULL OR e.copy IS NULL THEN null WHEN abs(e.computed) >= abs(e.copy) THEN 1.0 ELSE 0.0 END) AS computed,
       avg(CASE WHEN e.copy IS NULL THEN null WHEN e.copy * sign(coalesce(e.total, e.strength)) > abs(coalesce(e.total, e.strength)) / 2
           THEN 1.0 ELSE 0.0 END) AS mostly_copy,
       avg(CASE WHEN e.by = 'later' THEN 1.0 ELSE 0.0 END) AS only_later,
       avg(CASE WHEN e.replicated IS NULL THEN null WHEN e.replicated THEN 1.0 ELSE 0.0 END) AS replicated,
       percentileCont(abs(e.strength), 0.5) AS median_strength, percentileCont(e.q, 0.5) AS median_q
ORDER BY span
