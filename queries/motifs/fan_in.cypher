// Converging effects
//
// family: motifs
// question: Where do several features act on one target, and do they agree or compete?
// params:
//   run: {type: run}
//   method: {type: method}
//   feature: {type: feature, optional: true, about: "only this feature as the one that is acted on"}
//   layer: {type: int, min: 0, max: 10000, optional: true, about: "only targets in this layer"}
//   edges: {type: choice, of: [structural, all], default: structural, about: "structural: edges without an analysed site in between, or with a direct effect that is itself significant; all: every edge"}
//   effect: {type: effect}
//   sources: {type: int, min: 2, max: 1000, default: 3, about: "at least this many sources"}
//   min_strength: {type: float, min: 0, max: 1000000, default: 0, about: "each edge has at least this magnitude"}
//   limit: {type: int, min: 1, max: 10000, default: 20, about: "at most this many rows"}
// returns:
//   target: short id
//   layer: its layer
//   excitatory: sources that raise it
//   inhibitory: sources that lower it
//   from_copy: sources whose edge takes from a copy, which is neither; it erases one, or attenuates one (by a computed, specific or negative effect)
//   balance: sum of the effects that raise or lower, with its sign
//   competition: 0 if all agree, 1 if raising and lowering cancel
//   sources: the sources, strongest first
//   label: top activating tokens of the target
// example: {sources: 4, limit: 5}
MATCH (run:Run {id: $run, status: 'ready'})
// Where to begin: at the feature given, else at the layer given, else everywhere.
CALL (run) {
  MATCH (:Observation {run: run.n, id: $feature})-[:OF]->(t:Feature)
  RETURN t
  UNION
  MATCH (o:Observation {run: run.n, layer: $layer})-[:OF]->(t:Feature)
  WHERE $feature IS NULL
  RETURN t
  UNION
  MATCH (o:Observation)-[:OF]->(t:Feature)
  USING INDEX o:Observation(run, layer)
  WHERE o.run = run.n AND o.layer IS NOT NULL AND $feature IS NULL AND $layer IS NULL
  RETURN t
}
MATCH (s:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(t)
WHERE $edges = 'all' OR e.structural
WITH run, s, t, e, CASE WHEN $effect <> 'strength' THEN e[$effect] WHEN $edges = 'all' OR e.by = 'later' THEN e.strength ELSE e.direct END AS effect
WHERE abs(effect) >= $min_strength AND effect <> 0 AND ($effect = 'strength' OR abs(effect) >= coalesce(e.floor_computed, 0.0))
MATCH (s)<-[:OF]-(a:Observation {run: run.n})
WITH run, t, a.id AS source, effect, (e.type = 'erases_copy' OR e.type = 'attenuates_copy' AND ($effect IN ['computed', 'specific'] OR effect < 0)) AS taking
ORDER BY abs(effect) DESC, source
WITH run, t, collect(source) AS sources, sum(CASE WHEN taking THEN 0.0 ELSE effect END) AS balance, sum(CASE WHEN taking THEN 0.0 ELSE abs(effect) END) AS whole,
     sum(CASE WHEN effect > 0 AND NOT taking THEN 1 ELSE 0 END) AS excitatory, sum(CASE WHEN effect < 0 AND NOT taking THEN 1 ELSE 0 END) AS inhibitory,
     sum(CASE WHEN taking THEN 1 ELSE 0 END) AS from_copy
WHERE size(sources) >= $sources
MATCH (t)<-[:OF]-(o:Observation {run: run.n})
RETURN o.id AS target, o.layer AS layer, excitatory, inhibitory, from_copy, balance,
       CASE WHEN whole = 0 THEN 0.0 ELSE 1 - abs(balance) / whole END AS competition, sources, o.label AS label
ORDER BY size(sources) DESC, target
LIMIT $limit
