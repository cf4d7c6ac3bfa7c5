// Feed-forward loops
//
// family: motifs
// question: Where does a feature act on another both directly and through a third, and do the two paths agree?
// params:
//   run: {type: run}
//   method: {type: method}
//   kind: {type: choice, of: [any, coherent, incoherent, neither], default: any, about: "coherent: both paths have the same sign; incoherent: they have opposite signs; neither: one of the edges takes from a copy, which has no sign"}
//   feature: {type: feature, optional: true, about: "only motifs with this feature in any role"}
//   layer: {type: int, min: 0, max: 10000, optional: true, about: "only loops that begin in this layer"}
//   edges: {type: choice, of: [structural, all], default: structural, about: "structural: edges without an analysed site in between, or with a direct effect that is itself significant; all: every edge"}
//   effect: {type: effect}
//   min_strength: {type: float, min: 0, max: 1000000, default: 0, about: "each edge has at least this magnitude"}
//   limit: {type: int, min: 1, max: 10000, default: 20, about: "at most this many rows"}
// returns:
//   source: short id
//   middle: short id
//   target: short id
//   kind: coherent, incoherent or neither
//   source_middle: the effect asked for along that edge; by strength the direct one, or the total one with edges = all
//   middle_target: the same
//   source_target: the same
//   weakest: magnitude of the weakest of the three
// example: {kind: incoherent, limit: 5}
MATCH (run:Run {id: $run, status: 'ready'})
// Where to begin: at the feature given, in each of its roles, else everywhere.
CALL (run) {
  MATCH (:Observation {run: run.n, id: $feature})-[:OF]->(a:Feature)
  MATCH (a)-[ab:AFFECTS {run: run.n, method: $method}]->(b:Feature)-[bc:AFFECTS {run: run.n, method: $method}]->(c:Feature)
  RETURN a, ab, b, bc, c
  UNION ALL
  MATCH (:Observation {run: run.n, id: $feature})-[:OF]->(b:Feature)
  MATCH (a:Feature)-[ab:AFFECTS {run: run.n, method: $method}]->(b)-[bc:AFFECTS {run: run.n, method: $method}]->(c:Feature)
  RETURN a, ab, b, bc, c
  UNION ALL
  MATCH (:Observation {run: run.n, id: $feature})-[:OF]->(c:Feature)
  MATCH (a:Feature)-[ab:AFFECTS {run: run.n, method: $method}]->(b:Feature)-[bc:AFFECTS {run: run.n, method: $method}]->(c)
  RETURN a, ab, b, bc, c
  UNION ALL
  WITH run WHERE $feature IS NULL
  MATCH (a:Feature)-[ab:AFFECTS {run: run.n, method: $method}]->(b:Feature)-[bc:AFFECTS {run: run.n, method: $method}]->(c:Feature)
  WHERE ($layer IS NULL OR EXISTS { (a)<-[:OF]-(:Observation {run: run.n, layer: $layer}) })
  RETURN a, ab, b, bc, c
}
WITH run, a, ab, b, bc, c
WHERE ($edges = 'all' OR ab.structural) AND abs(CASE WHEN $effect <> 'strength' THEN ab[$effect] WHEN $edges = 'all' OR ab.by = 'later' THEN ab.strength ELSE ab.direct END) >= $min_strength AND ($effect = 'strength' OR (ab[$effect] <> 0 AND abs(ab[$effect]) >= coalesce(ab.floor_computed, 0.0)))
  AND ($edges = 'all' OR bc.structural) AND abs(CASE WHEN $effect <> 'strength' THEN bc[$effect] WHEN $edges = 'all' OR bc.by = 'later' THEN bc.strength ELSE bc.direct END) >= $min_strength AND ($effect = 'strength' OR (bc[$effect] <> 0 AND abs(bc[$effect]) >= coalesce(bc.floor_computed, 0.0)))
MATCH (a)-[ac:AFFECTS {run: run.n, method: $method}]->(c)
WHERE ($edges = 'all' OR ac.structural) AND abs(CASE WHEN $effect <> 'strength' THEN ac[$effect] WHEN $edges = 'all' OR ac.by = 'later' THEN ac.strength ELSE ac.direct END) >= $min_strength AND ($effect = 'strength' OR (ac[$effect] <> 0 AND abs(ac[$effect]) >= coalesce(ac.floor_computed, 0.0)))
WITH run, a, b, c, ab AS first, bc AS second, ac AS across, CASE WHEN $effect <> 'strength' THEN ab[$effect] WHEN $edges = 'all' OR ab.by = 'later' THEN ab.strength ELSE ab.direct END AS ab,
     CASE WHEN $effect <> 'strength' THEN bc[$effect] WHEN $edges = 'all' OR bc.by = 'later' THEN bc.strength ELSE bc.direct END AS bc,
     CASE WHEN $effect <> 'strength' THEN ac[$effect] WHEN $edges = 'all' OR ac.by = 'later' THEN ac.strength ELSE ac.direct END AS ac
WITH run, a, b, c, ab, bc, ac, CASE WHEN (first.type = 'erases_copy' OR first.type = 'attenuates_copy' AND ($effect IN ['computed', 'specific'] OR ab < 0))
    OR (second.type = 'erases_copy' OR second.type = 'attenuates_copy' AND ($effect IN ['computed', 'specific'] OR bc < 0))
    OR (across.type = 'erases_copy' OR across.type = 'attenuates_copy' AND ($effect IN ['computed', 'specific'] OR ac < 0)) THEN 'neither'
  WHEN sign(ab) * sign(bc) = sign(ac) THEN 'coherent' ELSE 'incoherent' END AS kind
WHERE ($kind = 'any' OR kind = $kind)
  AND ($layer IS NULL OR EXISTS { (a)<-[:OF]-(:Observation {run: run.n, layer: $layer}) })
WITH run, a, b, c, ab, bc, ac, kind,
     reduce(least = abs(ab), x IN [abs(bc), abs(ac)] | CASE WHEN x < least THEN x ELSE least END) AS weakest
ORDER BY weakest DESC, a.uid, b.uid, c.uid
LIMIT $limit
MATCH (a)<-[:OF]-(oa:Observation {run: run.n})
MATCH (b)<-[:OF]-(ob:Observation {run: run.n})
MATCH (c)<-[:OF]-(oc:Observation {run: run.n})
RETURN oa.id AS source, ob.id AS middle, oc.id AS target, kind, ab AS source_middle, bc AS middle_target, ac AS source_target, weakest
ORDER BY weakest DESC, source, middle, target
