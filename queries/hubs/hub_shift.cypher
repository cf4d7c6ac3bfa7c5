// Hubs in two runs
//
// family: hubs
// question: Are the hubs of this run also the hubs of the other?
// params:
//   run: {type: run}
//   other: {type: other_run, about: "id of the run to compare with, the beginning of it, or its name"}
//   method: {type: method}
//   other_method: {type: other_method}
//   measure: {type: choice, of: [degree, in_degree, out_degree, strength, in_strength, out_strength], default: strength, about: "degree counts edges, strength sums their magnitudes (target units per source unit, which differ from target to target)"}
//   edges: {type: choice, of: [structural, all], default: structural, about: "structural: edges without an analysed site in between, or with a direct effect that is itself significant; all: every edge"}
//   effect: {type: effect}
//   sign: {type: choice, of: [any, excitatory, inhibitory], default: any, about: "only edges of this sign; what attenuates or erases a copy is never inhibitory"}
//   limit: {type: int, min: 1, max: 10000, default: 20, about: "at most this many hubs of the first run"}
// returns:
//   id: short id in the first run
//   layer: layer in the first run
//   score: the measure in the first run
//   other_score: the measure in the other run; empty if it did not observe the feature
//   rank: rank among the features of the first run, 1 = highest
//   other_rank: rank among the features of the other run
//   label: top activating tokens in context
// example: {limit: 5}
MATCH (run:Run {id: $run, status: 'ready'})
WITH run, $other AS id
MATCH (second:Run {id: id, status: 'ready'})
UNWIND [{side: 1, run: run, method: $method}, {side: 2, run: second, method: $other_method}] AS one
WITH one.side AS side, one.run AS r, one.method AS method
MATCH (o:Observation)-[:OF]->(f:Feature)
USING INDEX o:Observation(run, layer)
WHERE o.run = r.n AND o.layer IS NOT NULL
CALL (r, method, f) {
  OPTIONAL MATCH (f)-[e:AFFECTS]-(:Feature)
  WHERE e.run = r.n AND e.method = method AND ($edges = 'all' OR e.structural)
    AND (NOT $measure STARTS WITH 'in_' OR endNode(e) = f) AND (NOT $measure STARTS WITH 'out_' OR startNode(e) = f)
  WITH e, CASE WHEN $effect <> 'strength' THEN e[$effect] WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct END AS signed
  WHERE signed IS NOT NULL AND ($effect = 'strength' OR (signed <> 0 AND abs(signed) >= coalesce(e.floor_computed, 0.0)))
    AND ($sign = 'any' OR ($sign = 'excitatory' AND signed > 0 OR $sign = 'inhibitory' AND signed < 0) AND NOT (e.type = 'erases_copy' OR e.type = 'attenuates_copy' AND ($effect IN ['computed', 'specific'] OR signed < 0)))
  RETURN CASE WHEN $measure ENDS WITH 'degree' THEN toFloat(count(*)) ELSE sum(abs(signed)) END AS score
}
WITH side, f, o, score, round(score, 10) AS rounded
ORDER BY rounded DESC, o.id
WITH side, collect({feature: f, seen: o, score: score}) AS ranked
UNWIND range(0, size(ranked) - 1) AS place
WITH side, place + 1 AS rank, ranked[place] AS row
WITH row.feature AS f,
     collect(CASE side WHEN 1 THEN {seen: row.seen, score: row.score, rank: rank} END)[0] AS first,
     collect(CASE side WHEN 2 THEN {score: row.score, rank: rank} END)[0] AS there
WHERE first IS NOT NULL
ORDER BY first.rank
LIMIT $limit
RETURN first.seen.id AS id, first.seen.layer AS layer, first.score AS score, there.score AS other_score,
       first.rank AS rank, there.rank AS other_rank, first.seen.label AS label
ORDER BY rank
