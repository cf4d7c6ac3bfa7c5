// The core of the graph
//
// family: communities
// question: Which features form the densely connected core, and which are at its periphery?
// params:
//   run: {type: run}
//   method: {type: method}
//   edges: {type: choice, of: [structural, all], default: structural, about: "structural: edges of span 1, or with a direct effect that is itself significant; all: every edge, by its total effect"}
//   effect: {type: choice, of: [strength, computed, specific, copy], default: strength, about: "what an edge weighs. strength: by edges, its direct or its total effect; computed: the total effect without the copy; specific: computed, without what the blocks compute of any direction; copy: what the residual stream carries on"}
//   sign: {type: choice, of: [any, excitatory, inhibitory], default: any, about: "only edges of this sign"}
//   min_core: {type: int, min: 0, max: 1000000, default: 1, about: "at least this core number"}
//   graph: {type: projection}
//   limit: {type: int, min: 1, max: 10000, default: 50, about: "at most this many rows"}
// returns:
//   id: short id
//   layer: layer
//   core: largest k such that it belongs to a part in which every feature has at least k edges to the others; the direction of edges is ignored
//   within: its edges to features of the same core or a deeper one
//   beyond: its edges to features further out
//   label: top activating tokens in context
// requires: [gds]
// example: {limit: 5}
MATCH (run:Run {id: $run, status: 'ready'})
CALL (run) {
  MATCH (s:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
  WHERE $edges = 'all' OR e.structural
  WITH s, t, CASE $effect WHEN 'computed' THEN e.computed WHEN 'specific' THEN e.specific WHEN 'copy' THEN e.copy
    ELSE CASE WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct END END AS signed
  WHERE signed IS NOT NULL AND ($sign = 'any' OR ($sign = 'excitatory' AND signed > 0) OR ($sign = 'inhibitory' AND signed < 0))
  RETURN s, t, abs(signed) AS weight
  UNION ALL
  MATCH (o:Observation)-[:OF]->(s:Feature)
  USING INDEX o:Observation(run, layer)
  WHERE o.run = run.n AND o.layer IS NOT NULL
  RETURN s, null AS t, 0.0 AS weight
}
// in a fixed order, so that the answer is the same in every database
WITH run, s, t, weight ORDER BY s.uid, t.uid
WITH run, gds.graph.project($graph, s, t, {relationshipProperties: {weight: weight}}, {undirectedRelationshipTypes: ['*']}) AS g
CALL gds.kcore.stream(g.graphName, {concurrency: 1}) YIELD nodeId, coreValue
WITH run, g.graphName AS graph, collect({feature: gds.util.asNode(nodeId), core: coreValue}) AS cores
CALL gds.graph.drop(graph) YIELD graphName
UNWIND cores AS row
WITH run, row.feature AS f, row.core AS core
MATCH (f)<-[:OF]-(o:Observation {run: run.n})
WITH run, f, o, core ORDER BY o.fid
// The fid of a run counts 0, 1, 2 …: it is the place in this list.
WITH run, collect(core) AS core_of, collect({feature: f, seen: o, core: core}) AS rows
UNWIND rows AS row
WITH run, core_of, row.feature AS f, row.seen AS o, row.core AS core
WHERE core >= $min_core
ORDER BY core DESC, o.fid
LIMIT $limit
CALL (run, core_of, f, core) {
  OPTIONAL MATCH (f)-[e:AFFECTS]-(:Feature)<-[:OF]-(b:Observation {run: run.n})
  WHERE e.run = run.n AND e.method = $method AND ($edges = 'all' OR e.structural)
  WITH core, core_of[b.fid] AS theirs, CASE $effect WHEN 'computed' THEN e.computed WHEN 'specific' THEN e.specific WHEN 'copy' THEN e.copy
    ELSE CASE WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct END END AS signed
  WHERE signed IS NOT NULL AND ($sign = 'any' OR ($sign = 'excitatory' AND signed > 0) OR ($sign = 'inhibitory' AND signed < 0))
  RETURN sum(CASE WHEN theirs >= core THEN 1 ELSE 0 END) AS within, sum(CASE WHEN theirs < core THEN 1 ELSE 0 END) AS beyond
}
RETURN o.id AS id, o.layer AS layer, core, within, beyond, o.label AS label
ORDER BY core DESC, o.fid
