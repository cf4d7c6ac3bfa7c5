// Hubs, a copy family counted as one
//
// family: hubs
// question: Which features drive or receive the most, where a family of copies counts as one feature?
// params:
//   run: {type: run}
//   method: {type: method}
//   measure: {type: choice, of: [degree, in_degree, out_degree, strength, in_strength, out_strength], default: degree, about: "degree counts edges, strength sums their magnitudes (target units per source unit, which differ from target to target)"}
//   edges: {type: choice, of: [structural, all], default: structural, about: "structural: edges without an analysed site in between, or with a direct effect that is itself significant; all: every edge"}
//   effect: {type: effect}
//   sign: {type: choice, of: [any, excitatory, inhibitory], default: any, about: "only edges of this sign; what attenuates or erases a copy is never inhibitory"}
//   limit: {type: int, min: 1, max: 10000, default: 20, about: "at most this many rows"}
// returns:
//   id: short id; of a family, that of its first member
//   layer: its layer
//   last_layer: layer of the family's last member
//   size: members of the family; 1 if the feature is in none
//   score: the measure; of several edges between the same two, the strongest counts, and edges inside a family do not
//   incoming: features and families that drive it
//   outgoing: features and families that it drives
//   label: top activating tokens in context
// example: {measure: out_degree, limit: 5}
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (s:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
WHERE $edges = 'all' OR e.structural
WITH run, s, t, e, CASE WHEN $effect <> 'strength' THEN e[$effect] WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct END AS signed
WHERE signed IS NOT NULL AND ($effect = 'strength' OR (signed <> 0 AND abs(signed) >= coalesce(e.floor_computed, 0.0)))
  AND ($sign = 'any' OR ($sign = 'excitatory' AND signed > 0 OR $sign = 'inhibitory' AND signed < 0) AND NOT (e.type = 'erases_copy' OR e.type = 'attenuates_copy' AND ($effect IN ['computed', 'specific'] OR signed < 0)))
// A family has no label here, so that no plan seeks it by its index at every edge, as it would while that index counts as empty.
OPTIONAL MATCH (s)-[:MEMBER_OF]->(x) WHERE x.run = run.n AND x.method = $method
OPTIONAL MATCH (t)-[:MEMBER_OF]->(y) WHERE y.run = run.n AND y.method = $method
WITH run, coalesce(x, s) AS source, coalesce(y, t) AS target, abs(signed) AS size
WHERE source <> target
WITH run, source, target, max(size) AS weight
UNWIND [[source, 0, 1, 0.0, weight], [target, 1, 0, weight, 0.0]] AS end
WITH run, end[0] AS node, sum(end[1]) AS incoming, sum(end[2]) AS outgoing, sum(end[3]) AS received, sum(end[4]) AS sent
OPTIONAL MATCH (node)<-[:OF]-(seen:Observation) WHERE seen.run = run.n
WITH run, node, coalesce(seen.id, node.id) AS id, incoming, outgoing, CASE $measure
  WHEN 'in_degree' THEN toFloat(incoming)
  WHEN 'out_degree' THEN toFloat(outgoing)
  WHEN 'strength' THEN received + sent
  WHEN 'in_strength' THEN received
  WHEN 'out_strength' THEN sent
  ELSE toFloat(incoming + outgoing)
END AS score
// Scores that differ by rounding only are ties, in the order of their ids.
ORDER BY round(score, 10) DESC, id
LIMIT $limit
MATCH (o:Observation {run: run.n, id: id})
RETURN id, o.layer AS layer, CASE WHEN node:Family THEN node.last_layer ELSE o.layer END AS last_layer,
       CASE WHEN node:Family THEN node.size ELSE 1 END AS size, score, incoming, outgoing, o.label AS label
ORDER BY round(score, 10) DESC, id
