// Edges between communities
//
// family: communities
// question: Which communities drive which others, with which sign, and through which edge most?
// params:
//   run: {type: run}
//   method: {type: method}
//   algorithm: {type: choice, of: [leiden, louvain, label_propagation, wcc], default: leiden, about: "algorithm that groups the features; edges are weighted by magnitude, and their direction is ignored"}
//   edges: {type: choice, of: [structural, all], default: structural, about: "structural: edges without an analysed site in between, or with a direct effect that is itself significant; all: every edge"}
//   effect: {type: effect}
//   families: {type: bool, default: true, about: "whether a copy family counts as one feature, under its first member; of several edges between the same two, the strongest then counts"}
//   sign: {type: choice, of: [any, excitatory, inhibitory], default: any, about: "only edges of this sign; what attenuates or erases a copy is never inhibitory"}
//   seed: {type: int, min: 0, max: 2147483647, default: 42, about: "seed of leiden; the others have none"}
//   min_size: {type: int, min: 1, max: 1000000, default: 2, about: "communities of at least this many features"}
//   graph: {type: projection}
//   limit: {type: int, min: 1, max: 10000, default: 50, about: "at most this many rows"}
// returns:
//   source_community: number as in communities, 1 = largest
//   target_community: the one that is driven
//   count: edges that cross from one to the other
//   excitatory: those that raise their target
//   inhibitory: those that lower it
//   from_copy: those that take from a copy, which is neither; they erase one, or attenuate one (by a computed, specific or negative effect)
//   strength: sum of their magnitudes
//   balance: sum with signs over sum of magnitudes
//   strongest_source: short id at the beginning of the strongest of them; of a family, that of its first member
//   strongest_target: short id at its end
//   largest: its strength
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
  WITH coalesce(a, s) AS s, coalesce(b, t) AS t, max(abs(signed)) AS weight
  WHERE s <> t
  RETURN s, t, weight
  UNION ALL
  MATCH (o:Observation)-[:OF]->(s:Feature)
  USING INDEX o:Observation(run, layer)
  WHERE o.run = run.n AND o.layer IS NOT NULL AND NOT s IN copies
  RETURN s, null AS t, 0.0 AS weight
}
// in a fixed order, so that a seed gives the same groups in every database
WITH run, s, t, weight ORDER BY s.uid, t.uid
WITH run, gds.graph.project($graph, s, t, {relationshipProperties: {weight: weight}}, {undirectedRelationshipTypes: ['*']}) AS g
CALL (g) {
  WITH g WHERE $algorithm = 'leiden' AND g.relationshipCount > 0
  CALL gds.leiden.mutate(g.graphName, {mutateProperty: 'community', relationshipWeightProperty: 'weight', randomSeed: $seed, concurrency: 1})
  YIELD nodePropertiesWritten
  RETURN nodePropertiesWritten AS written
  UNION ALL
  WITH g WHERE $algorithm = 'louvain' AND g.relationshipCount > 0
  CALL gds.louvain.mutate(g.graphName, {mutateProperty: 'community', relationshipWeightProperty: 'weight', concurrency: 1})
  YIELD nodePropertiesWritten
  RETURN nodePropertiesWritten AS written
  UNION ALL
  WITH g WHERE $algorithm = 'label_propagation' AND g.relationshipCount > 0
  CALL gds.labelPropagation.mutate(g.graphName, {mutateProperty: 'community', relationshipWeightProperty: 'weight', concurrency: 1})
  YIELD nodePropertiesWritten
  RETURN nodePropertiesWritten AS written
  UNION ALL
  WITH g WHERE $algorithm = 'wcc' OR g.relationshipCount = 0
  CALL gds.wcc.mutate(g.graphName, {mutateProperty: 'community', concurrency: 1})
  YIELD nodePropertiesWritten
  RETURN nodePropertiesWritten AS written
}
CALL gds.graph.nodeProperty.stream(g.graphName, 'community') YIELD nodeId, propertyValue
WITH run, g.graphName AS graph, collect({feature: gds.util.asNode(nodeId), community: propertyValue}) AS assigned
CALL gds.graph.drop(graph) YIELD graphName
OPTIONAL MATCH (copy:Feature)-[m:MEMBER_OF]->(:Family {run: run.n, method: $method})
WHERE $families AND m.place > 0
WITH run, assigned, collect(copy) AS copies
CALL (run, copies, assigned) {
  CALL (run, copies, assigned) {
    CALL (run, assigned) {
      UNWIND assigned AS row
      WITH run, row.feature AS f, row.community AS found
      MATCH (f)<-[:OF]-(o:Observation {run: run.n})
      WITH found, collect(o) AS seen, min(o.fid) AS first
      ORDER BY size(seen) DESC, first
      RETURN collect(seen) AS ranked
    }
    UNWIND range(0, size(ranked) - 1) AS rank
    UNWIND ranked[rank] AS o
    RETURN o.fid AS fid, rank + 1 AS community, size(ranked[rank]) AS size
    UNION ALL
    UNWIND copies AS f
    MATCH (f)<-[:OF]-(o:Observation {run: run.n})
    RETURN o.fid AS fid, 0 AS community, 0 AS size
  }
  // The fid of a run counts 0, 1, 2 …: it is the place in these lists.
  WITH fid, community, size ORDER BY fid
  RETURN collect(community) AS community_of, collect(size) AS size_of
}
CALL (run, copies) {
  MATCH (s:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
  WHERE $edges = 'all' OR e.structural
  WITH run, copies, s, t, e, CASE WHEN $effect <> 'strength' THEN e[$effect] WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct END AS signed
  WHERE signed IS NOT NULL AND ($effect = 'strength' OR (signed <> 0 AND abs(signed) >= coalesce(e.floor_computed, 0.0)))
    AND ($sign = 'any' OR ($sign = 'excitatory' AND signed > 0 OR $sign = 'inhibitory' AND signed < 0) AND NOT (e.type = 'erases_copy' OR e.type = 'attenuates_copy' AND ($effect IN ['computed', 'specific'] OR signed < 0)))
  OPTIONAL MATCH (s)-[:MEMBER_OF]->({run: run.n, method: $method})<-[:MEMBER_OF {place: 0}]-(a:Feature) WHERE s IN copies
  OPTIONAL MATCH (t)-[:MEMBER_OF]->({run: run.n, method: $method})<-[:MEMBER_OF {place: 0}]-(b:Feature) WHERE t IN copies
  WITH coalesce(a, s) AS s, coalesce(b, t) AS t, max([abs(signed), signed, (e.type = 'erases_copy' OR e.type = 'attenuates_copy' AND ($effect IN ['computed', 'specific'] OR signed < 0))]) AS strongest
  WHERE s <> t
  RETURN s, t, strongest[1] AS signed, strongest[2] AS taking
}
MATCH (s)<-[:OF]-(a:Observation {run: run.n})
MATCH (t)<-[:OF]-(b:Observation {run: run.n})
WITH a, b, signed, taking, community_of[a.fid] AS source_community, community_of[b.fid] AS target_community,
     size_of[a.fid] AS source_size, size_of[b.fid] AS target_size
WHERE source_community <> target_community AND source_size >= $min_size AND target_size >= $min_size
WITH a, b, source_community, target_community, signed, taking
ORDER BY abs(signed) DESC, a.fid, b.fid
WITH source_community, target_community, count(*) AS count, sum(CASE WHEN signed > 0 AND NOT taking THEN 1 ELSE 0 END) AS excitatory,
     sum(CASE WHEN signed < 0 AND NOT taking THEN 1 ELSE 0 END) AS inhibitory, sum(CASE WHEN taking THEN 1 ELSE 0 END) AS from_copy,
     sum(abs(signed)) AS strength, sum(CASE WHEN taking THEN 0.0 ELSE signed END) AS net, sum(CASE WHEN taking THEN 0.0 ELSE abs(signed) END) AS whole,
     collect({source: a.id, target: b.id, signed: signed})[0] AS top
RETURN source_community, target_community, count, excitatory, inhibitory, from_copy, strength,
       CASE WHEN whole = 0 THEN 0.0 ELSE net / whole END AS balance,
       top.source AS strongest_source, top.target AS strongest_target, top.signed AS largest
ORDER BY round(strength, 10) DESC, source_community, target_community
LIMIT $limit
