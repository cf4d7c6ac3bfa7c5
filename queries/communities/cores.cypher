// The core of the graph
//
// family: communities
// question: Which features form the densely connected core, and which are at its periphery?
// params:
//   run: {type: run}
//   method: {type: method}
//   edges: {type: choice, of: [structural, all], default: structural, about: "structural: edges without an analysed site in between, or with a direct effect that is itself significant; all: every edge"}
//   effect: {type: effect}
//   families: {type: bool, default: true, about: "whether a copy family counts as one feature, under its first member; of several edges between the same two, the strongest then counts"}
//   sign: {type: choice, of: [any, excitatory, inhibitory], default: any, about: "only edges of this sign; what attenuates or erases a copy is never inhibitory"}
//   min_core: {type: int, min: 0, max: 1000000, default: 1, about: "at least this core number"}
//   graph: {type: projection}
//   limit: {type: int, min: 1, max: 10000, default: 50, about: "at most this many rows"}
// returns:
//   id: short id
//   layer: layer
//   core: largest k such that it belongs to a part in which every feature is tied to at least k others; the direction of edges is ignored
//   within: features of the same core or a deeper one that it is tied to
//   beyond: features further out that it is tied to
//   label: top activating tokens in context
// requires: [gds]
// example: {limit: 5}
MATCH (run:Run {id: $run, status: 'ready'})
OPTIONAL MATCH (copy:Feature)-[m:MEMBER_OF]->(:Family {run: run.n, method: $method})
WHERE $families AND m.place > 0
WITH run, collect(copy) AS copies
CALL (run, copies) {
  MATCH (s:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
  WHERE $edges = 'all' OR e.structural
  WITH run, copies, s, t, e, CASE WHEN $effect <> 'strength' THEN e[$effect] WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct END AS signed
  WHERE signed IS NOT NULL AND ($effect = 'strength' OR (signed <> 0 AND abs(signed) >= coalesce(e.floor_computed, 0.0)))
    AND ($sign = 'any' OR ($sign = 'excitatory' AND signed > 0 OR $sign = 'inhibitory' AND signed < 0) AND NOT (e.type = 'erases_copy' OR e.type = 'attenuates_copy' AND ($effect IN ['computed', 'specific'] OR signed < 0)))
  // A family has no label here, so that no plan seeks it by its index at every edge, as it would while that index counts as empty.
  OPTIONAL MATCH (s)-[:MEMBER_OF]->({run: run.n, method: $method})<-[:MEMBER_OF {place: 0}]-(a:Feature) WHERE s IN copies
  OPTIONAL MATCH (t)-[:MEMBER_OF]->({run: run.n, method: $method})<-[:MEMBER_OF {place: 0}]-(b:Feature) WHERE t IN copies
  WITH coalesce(a, s) AS s, coalesce(b, t) AS t
  WHERE s <> t
  // two families may act on each other: that is one tie
  WITH DISTINCT CASE WHEN s.uid < t.uid THEN s ELSE t END AS first, CASE WHEN s.uid < t.uid THEN t ELSE s END AS second
  RETURN first AS s, second AS t, 1.0 AS weight
  UNION ALL
  MATCH (o:Observation)-[:OF]->(s:Feature)
  USING INDEX o:Observation(run, layer)
  WHERE o.run = run.n AND o.layer IS NOT NULL AND NOT s IN copies
  RETURN s, null AS t, 0.0 AS weight
}
// in a fixed order, so that the answer is the same in every database
WITH run, s, t, weight ORDER BY s.uid, t.uid
WITH run, gds.graph.project($graph, s, t, {relationshipProperties: {weight: weight}}, {undirectedRelationshipTypes: ['*']}) AS g
CALL gds.kcore.stream(g.graphName, {concurrency: 1}) YIELD nodeId, coreValue
WITH run, g.graphName AS graph, collect({feature: gds.util.asNode(nodeId), core: coreValue}) AS cores
CALL gds.graph.drop(graph) YIELD graphName
OPTIONAL MATCH (copy:Feature)-[m:MEMBER_OF]->(:Family {run: run.n, method: $method})
WHERE $families AND m.place > 0
WITH run, cores, collect(copy) AS copies
CALL (run, copies, cores) {
  CALL (run, copies, cores) {
    UNWIND cores AS row
    WITH run, row.feature AS f, row.core AS core
    MATCH (f)<-[:OF]-(o:Observation {run: run.n})
    RETURN o.fid AS fid, core
    UNION ALL
    UNWIND copies AS f
    MATCH (f)<-[:OF]-(o:Observation {run: run.n})
    RETURN o.fid AS fid, 0 AS core
  }
  // The fid of a run counts 0, 1, 2 …: it is the place in this list.
  WITH fid, core ORDER BY fid
  RETURN collect(core) AS core_of
}
UNWIND cores AS row
WITH run, copies, core_of, row.feature AS f, row.core AS core
WHERE core >= $min_core
MATCH (f)<-[:OF]-(o:Observation {run: run.n})
WITH run, copies, core_of, f, o, core
ORDER BY core DESC, o.fid
LIMIT $limit
CALL (run, copies, core_of, f, core) {
  OPTIONAL MATCH (f)-[:MEMBER_OF {place: 0}]->(x {run: run.n, method: $method}) WHERE $families
  OPTIONAL MATCH (x)<-[:MEMBER_OF]-(member:Feature)
  WITH run, copies, core_of, f, core, coalesce(member, f) AS own
  OPTIONAL MATCH (own)-[e:AFFECTS {run: run.n, method: $method}]-(other:Feature)
  WHERE $edges = 'all' OR e.structural
  WITH run, copies, core_of, f, core, e, other, CASE WHEN $effect <> 'strength' THEN e[$effect] WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct END AS signed
  WHERE signed IS NOT NULL AND ($effect = 'strength' OR (signed <> 0 AND abs(signed) >= coalesce(e.floor_computed, 0.0)))
    AND ($sign = 'any' OR ($sign = 'excitatory' AND signed > 0 OR $sign = 'inhibitory' AND signed < 0) AND NOT (e.type = 'erases_copy' OR e.type = 'attenuates_copy' AND ($effect IN ['computed', 'specific'] OR signed < 0)))
  OPTIONAL MATCH (other)-[:MEMBER_OF]->({run: run.n, method: $method})<-[:MEMBER_OF {place: 0}]-(b:Feature) WHERE other IN copies
  WITH run, core_of, f, core, collect(DISTINCT coalesce(b, other)) AS others
  UNWIND others AS other
  MATCH (other)<-[:OF]-(o:Observation {run: run.n})
  WHERE other <> f
  WITH core, core_of[o.fid] AS theirs
  RETURN sum(CASE WHEN theirs >= core THEN 1 ELSE 0 END) AS within, sum(CASE WHEN theirs < core THEN 1 ELSE 0 END) AS beyond
}
RETURN o.id AS id, o.layer AS layer, core, within, beyond, o.label AS label
ORDER BY core DESC, o.fid
