// Features without edges
//
// family: audit
// question: Which observed features have no edge, and are they dead, dense, or merely without effect?
// params:
//   run: {type: run}
//   method: {type: method}
//   edges: {type: choice, of: [structural, all], default: all, about: "structural: edges without an analysed site in between, or with a direct effect that is itself significant; all: every edge, by its total effect"}
//   members: {type: int, min: 1, max: 10000, default: 20, about: "number of features shown"}
// returns:
//   layer: layer
//   observed: features observed
//   orphans: of those, features without an edge
//   share: orphans over observed
//   dead: orphans that are never active
//   dense: orphans that are active at more than a fifth of the tokens
//   features: short ids of the first orphans
// example: {method: jacobian}
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (o:Observation)-[:OF]->(f:Feature)
USING INDEX o:Observation(run, layer)
WHERE o.run = run.n AND o.layer IS NOT NULL
WITH o, NOT EXISTS { (f)-[e:AFFECTS]-(:Feature) WHERE e.run = run.n AND e.method = $method AND ($edges = 'all' OR e.structural) } AS orphan
ORDER BY o.fid
WITH o.layer AS layer, count(*) AS observed, collect(CASE WHEN orphan THEN o END) AS alone
RETURN layer, observed, size(alone) AS orphans, toFloat(size(alone)) / observed AS share, size([o IN alone WHERE o.dead]) AS dead,
       size([o IN alone WHERE o.dense]) AS dense, [o IN alone[0..$members] | o.id] AS features
ORDER BY layer
