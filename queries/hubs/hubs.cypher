// Hubs
//
// family: hubs
// question: Which features drive, receive or relay the most, in the whole graph or within their layer?
// params:
//   run: {type: run}
//   method: {type: method}
//   measure: {type: choice, of: [degree, in_degree, out_degree, strength, in_strength, out_strength, pagerank, reverse_pagerank, article_rank, reverse_article_rank, hits_hub, hits_authority, betweenness, closeness, reverse_closeness, harmonic, reverse_harmonic], default: degree, about: "degree counts edges, strength sums their magnitudes (target units per source unit, which differ from target to target); pagerank and article_rank (which trusts features with few outgoing edges less) follow the edges by magnitude; hits_authority: driven by good hubs, hits_hub: drives good authorities, both by count; betweenness: shortest paths through it, without sampling; closeness: over paths that end here, in edges, with the correction of Wasserman and Faust; harmonic: mean of 1 / distance over the same paths; reverse_ goes against the edges"}
//   edges: {type: choice, of: [structural, all], default: structural, about: "structural: edges without an analysed site in between, or with a direct effect that is itself significant; all: every edge"}
//   effect: {type: effect}
//   families: {type: bool, default: true, about: "whether a copy family counts as one feature, under its first member; of several edges between the same two, the strongest then counts"}
//   sign: {type: choice, of: [any, excitatory, inhibitory], default: any, about: "only edges of this sign; what attenuates or erases a copy is never inhibitory"}
//   layer: {type: int, min: 0, max: 1000, optional: true, about: "only features of this layer; scores are still those of the whole graph"}
//   site: {type: text, max: 60, optional: true, about: "only features of this site of their layer, as ids name it (mlp, attn, tc …); residual: of the residual stream"}
//   per_layer: {type: bool, default: false, about: "whether limit counts the rows of each layer instead of all rows"}
//   graph: {type: projection}
//   limit: {type: int, min: 1, max: 10000, default: 20, about: "at most this many rows"}
// returns:
//   id: short id
//   layer: layer
//   score: the measure
//   layer_rank: its rank within its layer, 1 = highest score
//   incoming: features that drive it, by the edges that count
//   outgoing: features that it drives, by the edges that count
//   label: top activating tokens in context
// requires: [gds]
// example: {measure: pagerank, limit: 5}
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
// Going against the edges is going along them with both ends exchanged.
WITH run,
     CASE WHEN $measure STARTS WITH 'reverse_' AND t IS NOT NULL THEN t ELSE s END AS source,
     CASE WHEN $measure STARTS WITH 'reverse_' AND t IS NOT NULL THEN s ELSE t END AS target,
     weight
WITH run, gds.graph.project(
  $graph, source, target, {relationshipProperties: {weight: weight}},
  {inverseIndexedRelationshipTypes: CASE WHEN $measure STARTS WITH 'hits' THEN ['*'] ELSE [] END}
) AS g
CALL (g) {
  CALL gds.degree.mutate(g.graphName, {mutateProperty: 'received', orientation: 'REVERSE'}) YIELD nodePropertiesWritten AS first
  CALL gds.degree.mutate(g.graphName, {mutateProperty: 'sent'}) YIELD nodePropertiesWritten AS second
  RETURN first + second AS counted
}
CALL (g) {
  WITH g WHERE $measure ENDS WITH 'pagerank'
  CALL gds.pageRank.stream(g.graphName, {relationshipWeightProperty: 'weight', maxIterations: 200, tolerance: 1e-12, concurrency: 1})
  YIELD nodeId, score
  RETURN nodeId, score
  UNION ALL
  WITH g WHERE $measure ENDS WITH 'article_rank'
  CALL gds.articleRank.stream(g.graphName, {relationshipWeightProperty: 'weight', maxIterations: 200, tolerance: 1e-12, concurrency: 1})
  YIELD nodeId, score
  RETURN nodeId, score
  UNION ALL
  // Counted, not weighed: GDS does not read weights here. Without edges it fails; all are 0 then, as their degrees are.
  WITH g WHERE $measure STARTS WITH 'hits' AND g.relationshipCount > 0
  CALL gds.hits.stream(g.graphName, {hitsIterations: 200, authProperty: 'hits_authority', hubProperty: 'hits_hub', concurrency: 1})
  YIELD nodeId, values
  RETURN nodeId, values[$measure] AS score
  UNION ALL
  WITH g WHERE $measure = 'betweenness'
  CALL gds.betweenness.stream(g.graphName, {concurrency: 1}) YIELD nodeId, score
  RETURN nodeId, score
  UNION ALL
  WITH g WHERE $measure ENDS WITH 'closeness'
  CALL gds.closeness.stream(g.graphName, {useWassermanFaust: true, concurrency: 1}) YIELD nodeId, score
  RETURN nodeId, score
  UNION ALL
  WITH g WHERE $measure ENDS WITH 'harmonic'
  CALL gds.closeness.harmonic.stream(g.graphName, {concurrency: 1}) YIELD nodeId, score
  RETURN nodeId, score
  UNION ALL
  WITH g WHERE $measure ENDS WITH 'degree' OR ($measure STARTS WITH 'hits' AND g.relationshipCount = 0)
  CALL gds.degree.stream(g.graphName, {
    orientation: CASE $measure WHEN 'in_degree' THEN 'REVERSE' WHEN 'out_degree' THEN 'NATURAL' ELSE 'UNDIRECTED' END
  }) YIELD nodeId, score
  RETURN nodeId, score
  UNION ALL
  WITH g WHERE $measure ENDS WITH 'strength'
  CALL gds.degree.stream(g.graphName, {
    orientation: CASE $measure WHEN 'in_strength' THEN 'REVERSE' WHEN 'out_strength' THEN 'NATURAL' ELSE 'UNDIRECTED' END,
    relationshipWeightProperty: 'weight'
  }) YIELD nodeId, score
  RETURN nodeId, score
}
WITH run, g.graphName AS graph, collect({
  feature: gds.util.asNode(nodeId), score: score,
  received: toInteger(gds.util.nodeProperty(g.graphName, nodeId, 'received')), sent: toInteger(gds.util.nodeProperty(g.graphName, nodeId, 'sent'))
}) AS scores
CALL gds.graph.drop(graph) YIELD graphName
UNWIND scores AS row
WITH run, row, row.feature AS f, row.score AS score
MATCH (f)<-[:OF]-(o:Observation {run: run.n})
WHERE ($layer IS NULL OR o.layer = $layer)
  AND ($site IS NULL OR CASE $site WHEN 'residual' THEN NOT o.id CONTAINS '.' ELSE o.id CONTAINS '.' + $site + '_F' END)
// Scores that differ by rounding only are ties, in the order of their ids.
WITH o, row, score, round(score, 10) AS rounded
ORDER BY rounded DESC, o.id
WITH o.layer AS layer, collect({seen: o, score: score, rounded: rounded, received: row.received, sent: row.sent}) AS ranked
UNWIND range(0, size(ranked) - 1) AS place
WITH layer, place + 1 AS layer_rank, ranked[place] AS row
WHERE NOT $per_layer OR layer_rank <= $limit
WITH layer, layer_rank, row, row.seen AS o, row.rounded AS rounded
ORDER BY CASE WHEN $per_layer THEN layer ELSE 0 END, rounded DESC, o.id
LIMIT CASE WHEN $per_layer THEN 1000 * $limit ELSE $limit END
RETURN o.id AS id, layer, row.score AS score, layer_rank,
       CASE WHEN $measure STARTS WITH 'reverse_' THEN row.sent ELSE row.received END AS incoming,
       CASE WHEN $measure STARTS WITH 'reverse_' THEN row.received ELSE row.sent END AS outgoing,
       o.label AS label
ORDER BY CASE WHEN $per_layer THEN layer ELSE 0 END, rounded DESC, id
