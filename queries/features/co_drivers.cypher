// Features that drive the same
//
// family: features
// question: Which features act on the same targets as this one, and in the same direction?
// params:
//   run: {type: run}
//   method: {type: method}
//   feature: {type: feature}
//   edges: {type: choice, of: [structural, all], default: structural, about: "structural: edges without an analysed site in between, or with a direct effect that is itself significant; all: every edge, by its total effect"}
//   min_shared: {type: int, min: 1, max: 1000, default: 1, about: "at least this many targets in common"}
//   limit: {type: int, min: 1, max: 10000, default: 20, about: "at most this many rows"}
// returns:
//   id: short id
//   layer: layer
//   shared: targets in common
//   agree: of those, targets moved in the same direction
//   targets: the targets in common
//   label: top activating tokens in context
// example: {feature: L5_F280, min_shared: 2}
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (:Observation {run: run.n, id: $feature})-[:OF]->(f:Feature)
MATCH (f)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
WHERE $edges = 'all' OR e.structural
MATCH (t)<-[x:AFFECTS {run: run.n, method: $method}]-(other:Feature)
WHERE other <> f AND ($edges = 'all' OR x.structural)
MATCH (t)<-[:OF]-(ot:Observation {run: run.n})
WITH run, other, e.sign = x.sign AS same, ot.id AS target
ORDER BY target
WITH run, other, count(*) AS shared, sum(CASE WHEN same THEN 1 ELSE 0 END) AS agree, collect(target) AS targets
WHERE shared >= $min_shared
MATCH (other)<-[:OF]-(o:Observation {run: run.n})
RETURN o.id AS id, o.layer AS layer, shared, agree, targets, o.label AS label
ORDER BY shared DESC, agree DESC, id
LIMIT $limit
