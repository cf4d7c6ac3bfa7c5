// Do the methods agree?
//
// family: runs
// question: Where do finite clamps and derivatives agree, and where do they differ?
// params:
//   run: {type: run}
//   first: {type: method, default: clamping, about: "one method"}
//   second: {type: method, default: jacobian, about: "the other"}
//   limit: {type: int, min: 1, max: 10000, default: 20, about: "at most this many rows"}
// returns:
//   source: short id
//   target: short id
//   first_strength: strength by the first method
//   second_strength: strength by the other
//   same_sign: whether they have the same sign
//   gap: magnitude of the difference
// example: {limit: 5}
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (s:Feature)-[e:AFFECTS {run: run.n, method: $first}]->(t:Feature)
USING INDEX e:AFFECTS(run, method)
MATCH (s)-[x:AFFECTS {run: run.n, method: $second}]->(t)
MATCH (s)<-[:OF]-(a:Observation {run: run.n})
MATCH (t)<-[:OF]-(b:Observation {run: run.n})
RETURN a.id AS source, b.id AS target, e.strength AS first_strength, x.strength AS second_strength,
       e.sign = x.sign AS same_sign, abs(e.strength - x.strength) AS gap
ORDER BY gap DESC, source, target
LIMIT $limit
