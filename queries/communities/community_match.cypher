// Communities in two runs
//
// family: communities
// question: Which communities of this run reappear in the other?
// params:
//   run: {type: run}
//   other: {type: other_run, about: "id of the run to compare with, the beginning of it, or its name"}
//   method: {type: method}
//   other_method: {type: other_method}
//   algorithm: {type: choice, of: [leiden, louvain, label_propagation, wcc], default: leiden, about: "algorithm that groups the features; edges are weighted by magnitude, and their direction is ignored"}
//   edges: {type: choice, of: [structural, all], default: structural, about: "structural: edges without an analysed site in between, or with a direct effect that is itself significant; all: every edge"}
//   effect: {type: effect}
//   sign: {type: choice, of: [any, excitatory, inhibitory], default: any, about: "only edges of this sign; what attenuates or erases a copy is never inhibitory"}
//   seed: {type: int, min: 0, max: 2147483647, default: 42, about: "seed of leiden; the others have none"}
//   min_size: {type: int, min: 1, max: 1000000, default: 2, about: "communities of at least this many features"}
//   graph: {type: projection}
//   other_graph: {type: projection}
//   limit: {type: int, min: 1, max: 10000, default: 50, about: "at most this many rows"}
// returns:
//   community: number in the first run, 1 = largest
//   size: features in it
//   seen: how many of them the other run observed too
//   other_community: the community of the other run that overlaps it most, by number there; empty if none of its features was observed
//   other_size: features in that
//   shared: features that both have
//   jaccard: shared over those of either that both runs observed
// requires: [gds]
// example: {limit: 5}
MATCH (run:Run {id: $run, status: 'ready'})
WITH run, $other AS id
MATCH (second:Run {id: id, status: 'ready'})
// each run in a subquery of its own: rows that are sorted or grouped carry nothing else, which would count once per row
CALL (run) {
  CALL (run) {
    MATCH (s:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
    WHERE $edges = 'all' OR e.structural
    WITH s, t, e, CASE WHEN $effect <> 'strength' THEN e[$effect] WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct END AS signed
    WHERE signed IS NOT NULL AND ($effect = 'strength' OR (signed <> 0 AND abs(signed) >= coalesce(e.floor_computed, 0.0)))
      AND ($sign = 'any' OR ($sign = 'excitatory' AND signed > 0 OR $sign = 'inhibitory' AND signed < 0) AND NOT (e.type = 'erases_copy' OR e.type = 'attenuates_copy' AND ($effect IN ['computed', 'specific'] OR signed < 0)))
    RETURN s, t, abs(signed) AS weight
    UNION ALL
    MATCH (o:Observation)-[:OF]->(s:Feature)
    USING INDEX o:Observation(run, layer)
    WHERE o.run = run.n AND o.layer IS NOT NULL
    RETURN s, null AS t, 0.0 AS weight
  }
  // in a fixed order, so that a seed gives the same groups in every database
  WITH s, t, weight ORDER BY s.uid, t.uid
  WITH gds.graph.project($graph, s, t, {relationshipProperties: {weight: weight}}, {undirectedRelationshipTypes: ['*']}) AS g
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
  WITH g.graphName AS graph, collect({feature: gds.util.asNode(nodeId), community: propertyValue}) AS assigned
  CALL gds.graph.drop(graph) YIELD graphName
  RETURN assigned
}
CALL (second) {
  CALL (second) {
    MATCH (s:Feature)-[e:AFFECTS {run: second.n, method: $other_method}]->(t:Feature)
    WHERE $edges = 'all' OR e.structural
    WITH s, t, e, CASE WHEN $effect <> 'strength' THEN e[$effect] WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct END AS signed
    WHERE signed IS NOT NULL AND ($effect = 'strength' OR (signed <> 0 AND abs(signed) >= coalesce(e.floor_computed, 0.0)))
      AND ($sign = 'any' OR ($sign = 'excitatory' AND signed > 0 OR $sign = 'inhibitory' AND signed < 0) AND NOT (e.type = 'erases_copy' OR e.type = 'attenuates_copy' AND ($effect IN ['computed', 'specific'] OR signed < 0)))
    RETURN s, t, abs(signed) AS weight
    UNION ALL
    MATCH (o:Observation)-[:OF]->(s:Feature)
    USING INDEX o:Observation(run, layer)
    WHERE o.run = second.n AND o.layer IS NOT NULL
    RETURN s, null AS t, 0.0 AS weight
  }
  WITH s, t, weight ORDER BY s.uid, t.uid
  WITH gds.graph.project($other_graph, s, t, {relationshipProperties: {weight: weight}}, {undirectedRelationshipTypes: ['*']}) AS h
  CALL (h) {
    WITH h WHERE $algorithm = 'leiden' AND h.relationshipCount > 0
    CALL gds.leiden.mutate(h.graphName, {mutateProperty: 'community', relationshipWeightProperty: 'weight', randomSeed: $seed, concurrency: 1})
    YIELD nodePropertiesWritten
    RETURN nodePropertiesWritten AS written
    UNION ALL
    WITH h WHERE $algorithm = 'louvain' AND h.relationshipCount > 0
    CALL gds.louvain.mutate(h.graphName, {mutateProperty: 'community', relationshipWeightProperty: 'weight', concurrency: 1})
    YIELD nodePropertiesWritten
    RETURN nodePropertiesWritten AS written
    UNION ALL
    WITH h WHERE $algorithm = 'label_propagation' AND h.relationshipCount > 0
    CALL gds.labelPropagation.mutate(h.graphName, {mutateProperty: 'community', relationshipWeightProperty: 'weight', concurrency: 1})
    YIELD nodePropertiesWritten
    RETURN nodePropertiesWritten AS written
    UNION ALL
    WITH h WHERE $algorithm = 'wcc' OR h.relationshipCount = 0
    CALL gds.wcc.mutate(h.graphName, {mutateProperty: 'community', concurrency: 1})
    YIELD nodePropertiesWritten
    RETURN nodePropertiesWritten AS written
  }
  CALL gds.graph.nodeProperty.stream(h.graphName, 'community') YIELD nodeId, propertyValue
  WITH h.graphName AS other_graph, collect({feature: gds.util.asNode(nodeId), community: propertyValue}) AS other_assigned
  CALL gds.graph.drop(other_graph) YIELD graphName
  RETURN other_assigned
}
CALL (run, assigned) {
  UNWIND assigned AS row
  WITH run, row.feature AS f, row.community AS found
  MATCH (f)<-[:OF]-(o:Observation {run: run.n})
  WITH found, collect(f) AS members, min(o.fid) AS first
  ORDER BY size(members) DESC, first
  RETURN collect(members) AS first_groups
}
CALL (second, other_assigned) {
  UNWIND other_assigned AS row
  WITH second, row.feature AS f, row.community AS found
  MATCH (f)<-[:OF]-(o:Observation {run: second.n})
  WITH found, collect(f) AS members, min(o.fid) AS first
  ORDER BY size(members) DESC, first
  RETURN collect(members) AS second_groups
}
CALL (first_groups, second_groups) {
  CALL (first_groups, second_groups) {
    UNWIND range(0, size(first_groups) - 1) AS i
    UNWIND first_groups[i] AS f
    RETURN f, i + 1 AS mine, null AS yours
    UNION ALL
    UNWIND range(0, size(second_groups) - 1) AS j
    UNWIND second_groups[j] AS f
    RETURN f, null AS mine, j + 1 AS yours
  }
  WITH f, max(mine) AS mine, max(yours) AS yours
  RETURN collect({mine: mine, yours: yours}) AS pairs
}
WITH first_groups, second_groups, pairs, [p IN pairs WHERE p.mine IS NOT NULL AND p.yours IS NOT NULL] AS both
CALL (both) {
  UNWIND both AS p
  WITH p.mine AS mine, count(*) AS seen
  RETURN collect({community: mine, seen: seen}) AS mine_seen
}
CALL (both) {
  UNWIND both AS p
  WITH p.yours AS yours, count(*) AS seen
  RETURN collect({community: yours, seen: seen}) AS yours_seen
}
CALL (both) {
  UNWIND both AS p
  WITH p.mine AS mine, p.yours AS yours, count(*) AS shared
  ORDER BY mine, shared DESC, yours
  WITH mine, collect({yours: yours, shared: shared})[0] AS best
  RETURN collect({community: mine, yours: best.yours, shared: best.shared}) AS matches
}
UNWIND range(1, size(first_groups)) AS community
WITH community, size(first_groups[community - 1]) AS size, second_groups, yours_seen,
     [m IN mine_seen WHERE m.community = community | m.seen][0] AS found, [m IN matches WHERE m.community = community][0] AS best
WHERE size >= $min_size
RETURN community, size, coalesce(found, 0) AS seen, best.yours AS other_community,
       CASE WHEN best IS NULL THEN null ELSE size(second_groups[best.yours - 1]) END AS other_size, coalesce(best.shared, 0) AS shared,
       CASE WHEN best IS NULL THEN 0.0
            ELSE toFloat(best.shared) / (found + [m IN yours_seen WHERE m.community = best.yours | m.seen][0] - best.shared) END AS jaccard
ORDER BY community
LIMIT $limit
