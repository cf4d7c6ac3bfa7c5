// Diamonds
//
// family: motifs
// question: Where does a feature act on another along two paths at once, and do the two agree?
// params:
//   run: {type: run}
//   method: {type: method}
//   feature: {type: feature, optional: true, about: "only motifs that begin at this feature"}
//   layer: {type: int, min: 0, max: 10000, optional: true, about: "only motifs that begin in this layer"}
//   kind: {type: choice, of: [any, coherent, incoherent, neither], default: any, about: "coherent: both paths act in the same direction; incoherent: they work against each other; neither: one of the edges takes from a copy, which has no sign"}
//   edges: {type: choice, of: [structural, all], default: structural, about: "structural: edges without an analysed site in between, or with a direct effect that is itself significant; all: every edge"}
//   effect: {type: effect}
//   min_strength: {type: float, min: 0, max: 1000000, default: 0, about: "each edge has at least this magnitude"}
//   limit: {type: int, min: 1, max: 10000, default: 20, about: "at most this many rows"}
// returns:
//   source: short id
//   middle: short id of one feature between
//   other_middle: short id of the other
//   target: short id
//   kind: coherent, incoherent or neither
//   through_middle: product of the two effects by way of middle
//   through_other: product of the two effects by way of other_middle
//   weakest: magnitude of the weakest of the four edges
// example: {kind: incoherent, limit: 5}
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
MATCH (a)-[ab:AFFECTS {run: run.n, method: $method}]->(b:Feature)
WHERE ($edges = 'all' OR ab.structural) AND abs(CASE WHEN $effect <> 'strength' THEN ab[$effect] WHEN $edges = 'all' OR ab.by = 'later' THEN ab.strength ELSE ab.direct END) >= $min_strength AND ($effect = 'strength' OR (ab[$effect] <> 0 AND abs(ab[$effect]) >= coalesce(ab.floor_computed, 0.0)))
MATCH (b)-[bd:AFFECTS {run: run.n, method: $method}]->(d:Feature)
WHERE ($edges = 'all' OR bd.structural) AND abs(CASE WHEN $effect <> 'strength' THEN bd[$effect] WHEN $edges = 'all' OR bd.by = 'later' THEN bd.strength ELSE bd.direct END) >= $min_strength AND ($effect = 'strength' OR (bd[$effect] <> 0 AND abs(bd[$effect]) >= coalesce(bd.floor_computed, 0.0)))
MATCH (a)-[ac:AFFECTS {run: run.n, method: $method}]->(c:Feature)
WHERE b.uid < c.uid AND ($edges = 'all' OR ac.structural) AND abs(CASE WHEN $effect <> 'strength' THEN ac[$effect] WHEN $edges = 'all' OR ac.by = 'later' THEN ac.strength ELSE ac.direct END) >= $min_strength AND ($effect = 'strength' OR (ac[$effect] <> 0 AND abs(ac[$effect]) >= coalesce(ac.floor_computed, 0.0)))
MATCH (c)-[cd:AFFECTS {run: run.n, method: $method}]->(d)
WHERE ($edges = 'all' OR cd.structural) AND abs(CASE WHEN $effect <> 'strength' THEN cd[$effect] WHEN $edges = 'all' OR cd.by = 'later' THEN cd.strength ELSE cd.direct END) >= $min_strength AND ($effect = 'strength' OR (cd[$effect] <> 0 AND abs(cd[$effect]) >= coalesce(cd.floor_computed, 0.0)))
WITH run, a, b, c, d, ab, bd, ac, cd, [CASE WHEN $effect <> 'strength' THEN ab[$effect] WHEN $edges = 'all' OR ab.by = 'later' THEN ab.strength ELSE ab.direct END, CASE WHEN $effect <> 'strength' THEN bd[$effect] WHEN $edges = 'all' OR bd.by = 'later' THEN bd.strength ELSE bd.direct END, CASE WHEN $effect <> 'strength' THEN ac[$effect] WHEN $edges = 'all' OR ac.by = 'later' THEN ac.strength ELSE ac.direct END, CASE WHEN $effect <> 'strength' THEN cd[$effect] WHEN $edges = 'all' OR cd.by = 'later' THEN cd.strength ELSE cd.direct END] AS x
WITH run, a, b, c, d, x, CASE WHEN (ab.type = 'erases_copy' OR ab.type = 'attenuates_copy' AND ($effect IN ['computed', 'specific'] OR x[0] < 0))
    OR (bd.type = 'erases_copy' OR bd.type = 'attenuates_copy' AND ($effect IN ['computed', 'specific'] OR x[1] < 0))
    OR (ac.type = 'erases_copy' OR ac.type = 'attenuates_copy' AND ($effect IN ['computed', 'specific'] OR x[2] < 0))
    OR (cd.type = 'erases_copy' OR cd.type = 'attenuates_copy' AND ($effect IN ['computed', 'specific'] OR x[3] < 0)) THEN 'neither'
  WHEN ((x[0] < 0) = (x[1] < 0)) = ((x[2] < 0) = (x[3] < 0)) THEN 'coherent' ELSE 'incoherent' END AS kind
WHERE $kind = 'any' OR kind = $kind
WITH run, a, b, c, d, x, kind, reduce(least = abs(x[0]), y IN x | CASE WHEN abs(y) < least THEN abs(y) ELSE least END) AS weakest
ORDER BY weakest DESC, a.uid, b.uid, c.uid, d.uid
LIMIT $limit
MATCH (a)<-[:OF]-(oa:Observation {run: run.n})
MATCH (b)<-[:OF]-(ob:Observation {run: run.n})
MATCH (c)<-[:OF]-(oc:Observation {run: run.n})
MATCH (d)<-[:OF]-(od:Observation {run: run.n})
RETURN oa.id AS source, ob.id AS middle, oc.id AS other_middle, od.id AS target, kind, x[0] * x[1] AS through_middle,
       x[2] * x[3] AS through_other, weakest
ORDER BY weakest DESC, source, middle, other_middle, target
