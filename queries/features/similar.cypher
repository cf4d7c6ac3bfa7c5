// Features like this one
//
// family: features
// question: Which features write in a direction like this one's, in its own layer and in others?
// params:
//   run: {type: run}
//   method: {type: method}
//   feature: {type: feature}
//   layers: {type: choice, of: [all, other, same], default: all, about: "all layers, all but the feature's own, or only its own"}
//   min_cosine: {type: float, min: -1, max: 1, default: 0.0, about: "at least this cosine"}
//   search: {type: choice, of: [index, exact], default: index, about: "index: the vector index, which may miss one that is near; exact: compare with every feature of the run. If the index gives too few, all are compared automatically"}
//   limit: {type: int, min: 1, max: 1000, default: 20, about: "at most this many rows"}
// returns:
//   id: short id
//   layer: its layer
//   cosine: cosine of the two decoder directions, 1 = the same, -1 = the opposite
//   drives: strength of the edge from the feature to this one; empty if there is none
//   driven_by: strength of the edge from this one to the feature; empty if there is none
//   label: its top activating tokens in context
// requires: [decoders]
// example: {feature: L5_F280, limit: 8}
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (here:Observation {run: run.n, id: $feature})-[:OF]->(f:Feature)
CALL (run, f, here) { // the nearest of the whole database, of them those of this run
  WITH run, f, here WHERE $search = 'index' AND f.decoder IS NOT NULL
  CALL db.index.vector.queryNodes('feature_decoder', 2000, f.decoder) YIELD node AS x
  MATCH (x)<-[:OF]-(o:Observation {run: run.n})
  WHERE x <> f AND ($layers = 'all' OR ($layers = 'same') = (o.layer = here.layer))
  RETURN collect(o)[..$limit] AS near
}
CALL (run, f, here, near) { // too few: every feature of the run
  WITH run, f, here, near WHERE size(near) < $limit AND f.decoder IS NOT NULL
  MATCH (o:Observation)-[:OF]->(x:Feature)
  WHERE o.run = run.n AND o.layer IS NOT NULL AND x <> f AND x.decoder IS NOT NULL AND size(x.decoder) = size(f.decoder)
    AND ($layers = 'all' OR ($layers = 'same') = (o.layer = here.layer))
  RETURN o
  UNION
  WITH near WHERE size(near) >= $limit
  UNWIND near AS o
  RETURN o
}
MATCH (o)-[:OF]->(x:Feature)
WITH run, f, o, x, 2 * vector.similarity.cosine(f.decoder, x.decoder) - 1 AS cosine
WHERE cosine >= $min_cosine
WITH run, f, o, x, cosine
ORDER BY cosine DESC, o.id
LIMIT $limit
OPTIONAL MATCH (f)-[out:AFFECTS {run: run.n, method: $method}]->(x)
OPTIONAL MATCH (f)<-[in:AFFECTS {run: run.n, method: $method}]-(x)
RETURN o.id AS id, o.layer AS layer, cosine, out.strength AS drives, in.strength AS driven_by, o.label AS label
ORDER BY cosine DESC, id
