// Chains
//
// family: motifs
// question: Which features act on another only through a third one, without a direct effect of their own?
// params:
//   run: {type: run}
//   method: {type: method}
//   feature: {type: feature, optional: true, about: "only motifs with this feature in any role"}
//   layer: {type: int, min: 0, max: 10000, optional: true, about: "only chains that begin in this layer"}
//   signs: {type: choice, of: [any, excitation, inhibited_excitation, excited_inhibition, disinhibition], default: any, about: "excitation: both excite; inhibited_excitation: the source inhibits a feature that excites the target; excited_inhibition: it excites one that inhibits it; disinhibition: both inhibit; what takes from a copy does neither, and is in no chain of a sign"}
//   min_strength: {type: float, min: 0, max: 1000000, default: 0, about: "each edge has at least this magnitude"}
//   limit: {type: int, min: 1, max: 10000, default: 20, about: "at most this many rows"}
// returns:
//   source: short id
//   middle: short id; with dictionaries on components only features of MLPs are in the middle
//   target: short id
//   first: direct effect of the source on the middle
//   second: direct effect of the middle on the target
//   product: effect through the middle
//   total: measured total effect of the source on the target; empty if no such edge
// example: {limit: 5}
MATCH (run:Run {id: $run, status: 'ready'})
// Where dictionaries sit on components, a direct effect holds the MLPs in between and nothing else: paths lead only through one dictionary per MLP.
WITH run, [(run)-[:COVERS]->(p:Site) WHERE $method IN ['clamping', 'jacobian'] AND p.name =~ 'L[0-9]+[.](mid|z|attn|mlpin|mlp|tc)' | p.name] AS parts
WITH run, CASE WHEN parts <> [] THEN [p IN parts WHERE p ENDS WITH '.tc' OR p ENDS WITH '.mlp' AND NOT split(p, '.')[0] + '.tc' IN parts
  OR p ENDS WITH '.mlpin' AND none(kind IN ['.tc', '.mlp'] WHERE split(p, '.')[0] + kind IN parts)] END AS passed
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
WITH run, passed, a, ab, b, bc, c
WHERE ab.structural AND ab.by <> 'later' AND abs(ab.direct) >= $min_strength
  AND bc.structural AND bc.by <> 'later' AND abs(bc.direct) >= $min_strength
  AND (passed IS NULL OR EXISTS { MATCH (b)<-[:OF]-(o:Observation {run: run.n}) WHERE split(o.id, '_F')[0] IN passed })
  AND NOT EXISTS { (a)-[x:AFFECTS]->(c) WHERE x.run = run.n AND x.method = $method AND x.by CONTAINS 'direct' }
  AND ($layer IS NULL OR EXISTS { (a)<-[:OF]-(:Observation {run: run.n, layer: $layer}) })
  AND ($signs = 'any' OR NOT (ab.type = 'erases_copy' OR ab.type = 'attenuates_copy' AND ab.direct < 0) AND NOT (bc.type = 'erases_copy' OR bc.type = 'attenuates_copy' AND bc.direct < 0) AND $signs = CASE WHEN ab.direct >= 0 AND bc.direct >= 0 THEN 'excitation' WHEN bc.direct >= 0 THEN 'inhibited_excitation'
                                       WHEN ab.direct >= 0 THEN 'excited_inhibition' ELSE 'disinhibition' END)
WITH run, a, b, c, ab, bc
ORDER BY abs(ab.direct * bc.direct) DESC, a.uid, b.uid, c.uid
LIMIT $limit
OPTIONAL MATCH (a)-[whole:AFFECTS {run: run.n, method: $method}]->(c)
MATCH (a)<-[:OF]-(oa:Observation {run: run.n})
MATCH (b)<-[:OF]-(ob:Observation {run: run.n})
MATCH (c)<-[:OF]-(oc:Observation {run: run.n})
RETURN oa.id AS source, ob.id AS middle, oc.id AS target, ab.direct AS first, bc.direct AS second, ab.direct * bc.direct AS product,
       coalesce(whole.total, whole.strength) AS total
ORDER BY abs(product) DESC, source, middle, target
