// Skips with compensation
//
// family: motifs
// question: Where does a direct effect that skips a site oppose what reaches the target through the features in between, so that the two cancel?
// params:
//   run: {type: run}
//   method: {type: method}
//   feature: {type: feature, optional: true, about: "only skips that begin at this feature"}
//   layer: {type: int, min: 0, max: 10000, optional: true, about: "only skips that begin in this layer"}
//   min_compensation: {type: float, min: 0, max: 1, default: 0.5, about: "at least this share of the larger of the two is cancelled by the other"}
//   min_strength: {type: float, min: 0, max: 1000000, default: 0, about: "each edge has at least this magnitude"}
//   limit: {type: int, min: 1, max: 10000, default: 20, about: "at most this many rows"}
// returns:
//   source: short id
//   target: short id
//   direct: effect of the source on the target that bypasses the features between
//   through: sum over the features between of the product of direct effects
//   net: direct + through
//   total: measured total effect, to compare with net
//   type: of the edge from source to target; what attenuates or erases a copy takes from it, and is no inhibition
//   compensation: 1 if the two cancel exactly, near 0 if one is far larger
//   between: the features between, largest product first; with dictionaries on components only features of MLPs
// example: {min_compensation: 0.2, limit: 5}
MATCH (run:Run {id: $run, status: 'ready'})
// Where dictionaries sit on components, a direct effect holds the MLPs in between and nothing else: paths lead only through one dictionary per MLP.
WITH run, [(run)-[:COVERS]->(p:Site) WHERE $method IN ['clamping', 'jacobian'] AND p.name =~ 'L[0-9]+[.](mid|z|attn|mlpin|mlp|tc)' | p.name] AS parts
WITH run, CASE WHEN parts <> [] THEN [p IN parts WHERE p ENDS WITH '.tc' OR p ENDS WITH '.mlp' AND NOT split(p, '.')[0] + '.tc' IN parts
  OR p ENDS WITH '.mlpin' AND none(kind IN ['.tc', '.mlp'] WHERE split(p, '.')[0] + kind IN parts)] END AS passed
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
WHERE ac.by CONTAINS 'direct' AND abs(ac.direct) >= $min_strength AND ac.direct <> 0
MATCH (a)-[ab:AFFECTS {run: run.n, method: $method}]->(b:Feature)
WHERE ab.structural AND ab.by <> 'later' AND abs(ab.direct) >= $min_strength
MATCH (b)-[bc:AFFECTS {run: run.n, method: $method}]->(c)
WHERE bc.structural AND bc.by <> 'later' AND abs(bc.direct) >= $min_strength
MATCH (b)<-[:OF]-(ob:Observation {run: run.n})
WHERE passed IS NULL OR split(ob.id, '_F')[0] IN passed
WITH run, a, c, ac, ob.id AS middle, ab.direct * bc.direct AS product
ORDER BY abs(product) DESC, middle
WITH run, a, c, ac, collect(middle) AS between, sum(product) AS through
WHERE through <> 0 AND (through < 0) <> (ac.direct < 0)
WITH run, a, c, ac.direct AS direct, through, ac.direct + through AS net, coalesce(ac.total, ac.strength) AS total, ac.type AS type, between
WITH *, 1 - abs(net) / CASE WHEN abs(direct) > abs(through) THEN abs(direct) ELSE abs(through) END AS compensation
WHERE compensation >= $min_compensation
MATCH (a)<-[:OF]-(oa:Observation {run: run.n})
MATCH (c)<-[:OF]-(oc:Observation {run: run.n})
RETURN oa.id AS source, oc.id AS target, direct, through, net, total, type, compensation, between
ORDER BY compensation DESC, source, target
LIMIT $limit
