// Bi-fans
//
// family: motifs
// question: Which two features both act on the same two others, and do they act in the same way?
// params:
//   run: {type: run}
//   method: {type: method}
//   feature: {type: feature, optional: true, about: "only motifs with this feature as one of the two that act"}
//   layer: {type: int, min: 0, max: 10000, optional: true, about: "only motifs with one of the two that act in this layer"}
//   kind: {type: choice, of: [any, alike, opposed, mixed, neither], default: any, about: "alike: both act on each target with the same sign; opposed: with opposite signs on both; mixed: alike on one, opposed on the other; neither: one of the edges takes from a copy, which has no sign"}
//   edges: {type: choice, of: [structural, all], default: structural, about: "structural: edges without an analysed site in between, or with a direct effect that is itself significant; all: every edge"}
//   effect: {type: effect}
//   min_strength: {type: float, min: 0, max: 1000000, default: 0, about: "each edge has at least this magnitude"}
//   limit: {type: int, min: 1, max: 10000, default: 20, about: "at most this many rows"}
// returns:
//   first: short id of one that acts; the one asked for, if any
//   second: short id of the other
//   target: short id of one that is acted on
//   other_target: short id of the other
//   kind: alike, opposed, mixed or neither
//   effects: first on target, first on other_target, second on target, second on other_target
//   weakest: magnitude of the weakest of the four
// example: {kind: opposed, limit: 5}
MATCH (run:Run {id: $run, status: 'ready'})
// Where to begin: at the feature given, else at the layer given, else everywhere.
CALL (run) {
  MATCH (:Observation {run: run.n, id: $feature})-[:OF]->(a:Feature)
  RETURN a
  UNION
  MATCH (o:Observation {run: run.n, layer: $layer})-[:OF]->(a:Feature)
  WHERE $feature IS NULL
  RETURN a
  UNION
  MATCH (o:Observation)-[:OF]->(a:Feature)
  USING INDEX o:Observation(run, layer)
  WHERE o.run = run.n AND o.layer IS NOT NULL AND $feature IS NULL AND $layer IS NULL
  RETURN a
}
MATCH (a)-[ac:AFFECTS {run: run.n, method: $method}]->(c:Feature)
WHERE ($edges = 'all' OR ac.structural) AND abs(CASE WHEN $effect <> 'strength' THEN ac[$effect] WHEN $edges = 'all' OR ac.by = 'later' THEN ac.strength ELSE ac.direct END) >= $min_strength AND ($effect = 'strength' OR (ac[$effect] <> 0 AND abs(ac[$effect]) >= coalesce(ac.floor_computed, 0.0)))
MATCH (c)<-[bc:AFFECTS {run: run.n, method: $method}]-(b:Feature)
WHERE b <> a AND ($feature IS NOT NULL OR a.uid < b.uid OR ($layer IS NOT NULL AND NOT EXISTS { (b)<-[:OF]-(:Observation {run: run.n, layer: $layer}) })) AND ($edges = 'all' OR bc.structural) AND abs(CASE WHEN $effect <> 'strength' THEN bc[$effect] WHEN $edges = 'all' OR bc.by = 'later' THEN bc.strength ELSE bc.direct END) >= $min_strength AND ($effect = 'strength' OR (bc[$effect] <> 0 AND abs(bc[$effect]) >= coalesce(bc.floor_computed, 0.0)))
MATCH (a)-[ad:AFFECTS {run: run.n, method: $method}]->(d:Feature)
WHERE c.uid < d.uid AND ($edges = 'all' OR ad.structural) AND abs(CASE WHEN $effect <> 'strength' THEN ad[$effect] WHEN $edges = 'all' OR ad.by = 'later' THEN ad.strength ELSE ad.direct END) >= $min_strength AND ($effect = 'strength' OR (ad[$effect] <> 0 AND abs(ad[$effect]) >= coalesce(ad.floor_computed, 0.0)))
MATCH (b)-[bd:AFFECTS {run: run.n, method: $method}]->(d)
WHERE ($edges = 'all' OR bd.structural) AND abs(CASE WHEN $effect <> 'strength' THEN bd[$effect] WHEN $edges = 'all' OR bd.by = 'later' THEN bd.strength ELSE bd.direct END) >= $min_strength AND ($effect = 'strength' OR (bd[$effect] <> 0 AND abs(bd[$effect]) >= coalesce(bd.floor_computed, 0.0)))
WITH run, a, b, c, d, ac, ad, bc, bd, [CASE WHEN $effect <> 'strength' THEN ac[$effect] WHEN $edges = 'all' OR ac.by = 'later' THEN ac.strength ELSE ac.direct END, CASE WHEN $effect <> 'strength' THEN ad[$effect] WHEN $edges = 'all' OR ad.by = 'later' THEN ad.strength ELSE ad.direct END, CASE WHEN $effect <> 'strength' THEN bc[$effect] WHEN $edges = 'all' OR bc.by = 'later' THEN bc.strength ELSE bc.direct END, CASE WHEN $effect <> 'strength' THEN bd[$effect] WHEN $edges = 'all' OR bd.by = 'later' THEN bd.strength ELSE bd.direct END] AS x
WITH run, a, b, c, d, x, (ac.type = 'erases_copy' OR ac.type = 'attenuates_copy' AND ($effect IN ['computed', 'specific'] OR x[0] < 0))
    OR (ad.type = 'erases_copy' OR ad.type = 'attenuates_copy' AND ($effect IN ['computed', 'specific'] OR x[1] < 0))
    OR (bc.type = 'erases_copy' OR bc.type = 'attenuates_copy' AND ($effect IN ['computed', 'specific'] OR x[2] < 0))
    OR (bd.type = 'erases_copy' OR bd.type = 'attenuates_copy' AND ($effect IN ['computed', 'specific'] OR x[3] < 0)) AS taking,
     (x[0] < 0) = (x[2] < 0) AS first, (x[1] < 0) = (x[3] < 0) AS second
WITH run, a, b, c, d, x, CASE WHEN taking THEN 'neither' WHEN first AND second THEN 'alike' WHEN first OR second THEN 'mixed' ELSE 'opposed' END AS kind
WHERE ($kind = 'any' OR kind = $kind)
WITH run, a, b, c, d, x, kind, reduce(least = abs(x[0]), y IN x | CASE WHEN abs(y) < least THEN abs(y) ELSE least END) AS weakest
ORDER BY weakest DESC, a.uid, b.uid, c.uid, d.uid
LIMIT $limit
MATCH (a)<-[:OF]-(oa:Observation {run: run.n})
MATCH (b)<-[:OF]-(ob:Observation {run: run.n})
MATCH (c)<-[:OF]-(oc:Observation {run: run.n})
MATCH (d)<-[:OF]-(od:Observation {run: run.n})
RETURN oa.id AS first, ob.id AS second, oc.id AS target, od.id AS other_target, kind, x AS effects, weakest
ORDER BY weakest DESC, first, second, target, other_target
