// Reach
//
// family: cascades
// question: How much of the graph can this feature act on, or how much can act on it?
// params:
//   run: {type: run}
//   method: {type: method}
//   feature: {type: feature}
//   direction: {type: choice, of: [downstream, upstream], default: downstream, about: "downstream: what it acts on; upstream: what acts on it"}
//   max_hops: {type: int, min: 1, max: 6, default: 6, about: "at most this many steps; 6 goes as far as the graph does, or says that it cannot"}
//   edges: {type: choice, of: [structural, all], default: structural, about: "structural: edges without an analysed site in between, or with a direct effect that is itself significant; all: every edge, by its total effect"}
//   min_strength: {type: float, min: 0, max: 1000000, default: 0, about: "each edge has at least this magnitude"}
// returns:
//   hops: number of steps
//   count: features first met at that step
//   layers: their layers
//   share: features met up to this step, as a share of all features of the run
//   features: the first 20 of them
// example: {feature: L2_F28}
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (:Observation {run: run.n, id: $feature})-[:OF]->(start:Feature)
WITH run, [start] AS level0, [start] AS seen0
CALL (run, level0, seen0) {
  UNWIND CASE WHEN $max_hops >= 1 THEN level0 ELSE [] END AS f
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]-(x:Feature)
  WHERE ($edges = 'all' OR e.structural) AND abs(e.strength) >= $min_strength
    AND CASE $direction WHEN 'downstream' THEN startNode(e) = f ELSE endNode(e) = f END AND NOT x IN seen0
  RETURN collect(DISTINCT x) AS level1
}
WITH *, seen0 + level1 AS seen1
CALL (run, level1, seen1) {
  UNWIND CASE WHEN $max_hops >= 2 THEN level1 ELSE [] END AS f
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]-(x:Feature)
  WHERE ($edges = 'all' OR e.structural) AND abs(e.strength) >= $min_strength
    AND CASE $direction WHEN 'downstream' THEN startNode(e) = f ELSE endNode(e) = f END AND NOT x IN seen1
  RETURN collect(DISTINCT x) AS level2
}
WITH *, seen1 + level2 AS seen2
CALL (run, level2, seen2) {
  UNWIND CASE WHEN $max_hops >= 3 THEN level2 ELSE [] END AS f
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]-(x:Feature)
  WHERE ($edges = 'all' OR e.structural) AND abs(e.strength) >= $min_strength
    AND CASE $direction WHEN 'downstream' THEN startNode(e) = f ELSE endNode(e) = f END AND NOT x IN seen2
  RETURN collect(DISTINCT x) AS level3
}
WITH *, seen2 + level3 AS seen3
CALL (run, level3, seen3) {
  UNWIND CASE WHEN $max_hops >= 4 THEN level3 ELSE [] END AS f
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]-(x:Feature)
  WHERE ($edges = 'all' OR e.structural) AND abs(e.strength) >= $min_strength
    AND CASE $direction WHEN 'downstream' THEN startNode(e) = f ELSE endNode(e) = f END AND NOT x IN seen3
  RETURN collect(DISTINCT x) AS level4
}
WITH *, seen3 + level4 AS seen4
CALL (run, level4, seen4) {
  UNWIND CASE WHEN $max_hops >= 5 THEN level4 ELSE [] END AS f
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]-(x:Feature)
  WHERE ($edges = 'all' OR e.structural) AND abs(e.strength) >= $min_strength
    AND CASE $direction WHEN 'downstream' THEN startNode(e) = f ELSE endNode(e) = f END AND NOT x IN seen4
  RETURN collect(DISTINCT x) AS level5
}
WITH *, seen4 + level5 AS seen5
CALL (run, level5, seen5) {
  UNWIND CASE WHEN $max_hops >= 6 THEN level5 ELSE [] END AS f
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]-(x:Feature)
  WHERE ($edges = 'all' OR e.structural) AND abs(e.strength) >= $min_strength
    AND CASE $direction WHEN 'downstream' THEN startNode(e) = f ELSE endNode(e) = f END AND NOT x IN seen5
  RETURN collect(DISTINCT x) AS level6
}
WITH *, seen5 + level6 AS seen6
CALL (run, level6, seen6) {
  UNWIND level6 AS f
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]-(x:Feature)
  WHERE ($edges = 'all' OR e.structural) AND abs(e.strength) >= $min_strength
    AND CASE $direction WHEN 'downstream' THEN startNode(e) = f ELSE endNode(e) = f END AND NOT x IN seen6
  WITH e LIMIT 1
  RETURN count(e) > 0 AS deeper
}
// Too deep a run is an error, not a cut count; Cypher's own way to raise one is a function given what it refuses.
WITH run, [level1, level2, level3, level4, level5, level6] AS levels, CASE WHEN deeper THEN point({x: 0, y: 0, crs:
  'reach: more than 6 steps lead on from ' + $feature + ', and this template goes no further, so its shares would be wrong; in Python '
  + 'feature_graph.steering.reach(G, "' + $feature + '", "' + $direction + '") goes to the end (G: feature_graph.graph.load_graph of graph.json)'}) END AS refused
WHERE refused IS NULL
UNWIND range(1, 6) AS hops
UNWIND levels[hops - 1] AS f
MATCH (f)<-[:OF]-(o:Observation {run: run.n})
WITH run, levels, hops, o
ORDER BY o.fid
WITH run, levels, hops, collect(o) AS found
RETURN hops, size(found) AS count, reduce(layers = [], o IN found | CASE WHEN o.layer IN layers THEN layers ELSE layers + o.layer END) AS layers,
       toFloat(reduce(met = 0, i IN range(0, hops - 1) | met + size(levels[i]))) / run.nodes AS share, [o IN found[0..20] | o.id] AS features
ORDER BY hops
