// Relays
//
// family: hubs
// question: Through which features does the most influence pass in two steps, and does it arrive with one sign?
// params:
//   run: {type: run}
//   method: {type: method}
//   layer: {type: int, min: 0, max: 1000, optional: true, about: "only relays of this layer"}
//   site: {type: text, max: 60, optional: true, about: "only relays of this site of their layer, as ids name it (mlp, attn, tc …); residual: of the residual stream"}
//   limit: {type: int, min: 1, max: 1000, default: 20, about: "at most this many rows"}
// returns:
//   id: short id of the feature in the middle; with dictionaries on components only features of MLPs pass influence on
//   layer: its layer
//   paths: two-step paths through it (sources times targets)
//   passed: sum of |first direct effect × second direct effect| over these paths
//   balance: the same sum with signs over the sum without; 1 if every product is positive, -1 if every one is negative, 0 if they cancel
//   unbridged: paths whose two ends have no edge of their own, so that only relays join them
//   label: top activating tokens in context
// example: {limit: 5}
MATCH (run:Run {id: $run, status: 'ready'})
// Where dictionaries sit on components, a direct effect holds the MLPs in between and nothing else: paths lead only through one dictionary per MLP.
WITH run, [(run)-[:COVERS]->(p:Site) WHERE $method IN ['clamping', 'jacobian'] AND p.name =~ 'L[0-9]+[.](mid|z|attn|mlpin|mlp|tc)' | p.name] AS parts
WITH run, CASE WHEN parts <> [] THEN [p IN parts WHERE p ENDS WITH '.tc' OR p ENDS WITH '.mlp' AND NOT split(p, '.')[0] + '.tc' IN parts
  OR p ENDS WITH '.mlpin' AND none(kind IN ['.tc', '.mlp'] WHERE split(p, '.')[0] + kind IN parts)] END AS passed
MATCH (:Feature)-[x:AFFECTS {run: run.n, method: $method}]->(m:Feature)
WHERE x.structural AND x.by <> 'later'
WITH run, passed, m, count(*) AS sources, sum(abs(x.direct)) AS arriving, sum(x.direct) AS net_arriving
MATCH (m)-[y:AFFECTS]->(:Feature)
WHERE y.run = run.n AND y.method = $method AND y.structural AND y.by <> 'later'
WITH run, passed, m, sources, arriving, net_arriving, count(*) AS targets, sum(abs(y.direct)) AS leaving, sum(y.direct) AS net_leaving
MATCH (m)<-[:OF]-(o:Observation {run: run.n})
WHERE (passed IS NULL OR split(o.id, '_F')[0] IN passed) AND ($layer IS NULL OR o.layer = $layer)
  AND ($site IS NULL OR CASE $site WHEN 'residual' THEN NOT o.id CONTAINS '.' ELSE o.id CONTAINS '.' + $site + '_F' END)
WITH run, m, o, sources * targets AS paths, arriving * leaving AS passed, net_arriving * net_leaving AS net
ORDER BY round(passed, 10) DESC, o.id
LIMIT $limit
CALL (run, m) {
  MATCH (a:Feature)-[x:AFFECTS]->(m)-[y:AFFECTS]->(b:Feature)
  WHERE x.run = run.n AND x.method = $method AND x.structural AND x.by <> 'later'
    AND y.run = run.n AND y.method = $method AND y.structural AND y.by <> 'later'
    AND NOT EXISTS { (a)-[z:AFFECTS]->(b) WHERE z.run = run.n AND z.method = $method }
  RETURN count(*) AS unbridged
}
RETURN o.id AS id, o.layer AS layer, paths, passed, CASE WHEN passed = 0 THEN 0.0 ELSE net / passed END AS balance, unbridged, o.label AS label
ORDER BY round(passed, 10) DESC, id
