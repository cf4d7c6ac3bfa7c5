// Features that act alike
//
// family: audit
// question: Which features of one site act on the same targets, so that they may be duplicates?
// params:
//   run: {type: run}
//   method: {type: method}
//   edges: {type: choice, of: [structural, all], default: structural, about: "structural: edges without an analysed site in between, or with a direct effect that is itself significant; all: every edge, by its total effect"}
//   layer: {type: int, min: 0, max: 1000, optional: true, about: "only this layer"}
//   min_shared: {type: int, min: 1, max: 1000, default: 2, about: "at least this many targets in common"}
//   min_overlap: {type: float, min: 0, max: 1, default: 0.5, about: "at least this overlap: targets in common divided by the targets of either"}
//   max_drivers: {type: int, min: 2, max: 10000, default: 200, about: "targets on which more features act say little, and are ignored"}
//   limit: {type: int, min: 1, max: 10000, default: 50, about: "at most this many rows"}
// returns:
//   first: short id
//   second: short id
//   layer: their layer
//   shared: targets in common
//   agree: of those, targets moved in the same direction
//   overlap: targets in common divided by the targets of either
//   first_label: top activating tokens of the first
//   second_label: top activating tokens of the second
// example: {min_overlap: 0.2}
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (o:Observation)
USING INDEX o:Observation(run, layer)
WHERE o.run = run.n AND o.layer IS NOT NULL AND ($layer IS NULL OR o.layer = $layer)
WITH run, o.layer AS layer, count(*) AS features
// layer by layer: pairs are counted in memory
CALL (run, layer) {
  MATCH (o:Observation {run: run.n, layer: layer})-[:OF]->(f:Feature)
  WITH run, o, f, COUNT { (f)-[e:AFFECTS]->() WHERE e.run = run.n AND e.method = $method AND ($edges = 'all' OR e.structural) } AS targets
  MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
  WHERE $edges = 'all' OR e.structural
  // Of one dictionary, sites of a layer read different things. Its name is what stands before the last _F.
  WITH run, t, left(o.id, size(o.id) - size(split(o.id, '_F')[-1]) - 2) AS dictionary, o, targets, e.sign AS direction ORDER BY f.uid
  WITH run, t, dictionary, collect(o) AS seen, collect(targets) AS targets, collect(direction) AS directions
  WHERE size(seen) > 1 AND COUNT { (t)<-[x:AFFECTS]-() WHERE x.run = run.n AND x.method = $method } <= $max_drivers
  UNWIND range(0, size(seen) - 2) AS i
  UNWIND range(i + 1, size(seen) - 1) AS j
  // who has so many more targets cannot share enough of them
  WITH seen, directions, targets, i, j WHERE targets[i] >= $min_overlap * targets[j] AND targets[j] >= $min_overlap * targets[i]
  WITH seen[i] AS o, seen[j] AS p, count(*) AS shared, sum(CASE WHEN directions[i] = directions[j] THEN 1 ELSE 0 END) AS agree,
       max(targets[i] + targets[j]) AS of_both
  WHERE shared >= $min_shared
  WITH o, p, shared, agree, toFloat(shared) / (of_both - shared) AS overlap
  WHERE overlap >= $min_overlap
  RETURN o, p, shared, agree, overlap
}
RETURN o.id AS first, p.id AS second, o.layer AS layer, shared, agree, overlap, o.label AS first_label, p.label AS second_label
ORDER BY overlap DESC, shared DESC, first, second
LIMIT $limit
