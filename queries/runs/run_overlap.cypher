// What two runs have in common
//
// family: runs
// question: How far do two runs agree in the features they observed, the edges they found, and the signs of these edges?
// params:
//   run: {type: run}
//   method: {type: method}
//   other: {type: other_run, about: "id of the other run, the beginning of it, or its name"}
//   other_method: {type: other_method}
// returns:
//   what: "features; edges; edges between features that both runs saw"
//   both: in both runs
//   here: in this run only
//   there: only in the other
//   jaccard: how many are in both runs, over how many are in either
//   same_sign: of the edges in both, the share with the same sign
MATCH (run:Run {id: $run, status: 'ready'})
WITH run, $other AS id
MATCH (second:Run {id: id, status: 'ready'})
CALL (run, second) {
  MATCH (o:Observation)-[:OF]->(f:Feature)
  USING INDEX o:Observation(run, layer)
  WHERE o.run = run.n AND o.layer IS NOT NULL
  WITH run, second, sum(CASE WHEN EXISTS { (f)<-[:OF]-(:Observation {run: second.n}) } THEN 1 ELSE 0 END) AS both
  RETURN 'features' AS what, both, run.nodes - both AS here, second.nodes - both AS there, null AS same_sign
  UNION ALL
  CALL (run, second) {
    MATCH (s:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
    OPTIONAL MATCH (s)-[x:AFFECTS {run: second.n, method: $other_method}]->(t)
    RETURN count(e) AS mine, count(x) AS both,
           avg(CASE WHEN x IS NULL THEN null WHEN e.sign = x.sign THEN 1.0 ELSE 0.0 END) AS same_sign
  }
  CALL (second) {
    MATCH (:Feature)-[x:AFFECTS {run: second.n, method: $other_method}]->(:Feature)
    RETURN count(x) AS theirs
  }
  RETURN 'edges' AS what, both, mine - both AS here, theirs - both AS there, same_sign
  UNION ALL
  CALL (run, second) {
    MATCH (s:Feature)-[e:AFFECTS {run: run.n, method: $method}]->(t:Feature)
    USING INDEX e:AFFECTS(run, method)
    WHERE EXISTS { (s)<-[:OF]-(:Observation {run: second.n}) } AND EXISTS { (t)<-[:OF]-(:Observation {run: second.n}) }
    OPTIONAL MATCH (s)-[x:AFFECTS {run: second.n, method: $other_method}]->(t)
    RETURN count(e) AS mine, count(x) AS both,
           avg(CASE WHEN x IS NULL THEN null WHEN e.sign = x.sign THEN 1.0 ELSE 0.0 END) AS same_sign
  }
  CALL (run, second) {
    MATCH (s:Feature)-[x:AFFECTS {run: second.n, method: $other_method}]->(t:Feature)
    USING INDEX x:AFFECTS(run, method)
    WHERE EXISTS { (s)<-[:OF]-(:Observation {run: run.n}) } AND EXISTS { (t)<-[:OF]-(:Observation {run: run.n}) }
    RETURN count(x) AS theirs
  }
  RETURN 'edges between features that both runs saw' AS what, both, mine - both AS here, theirs - both AS there, same_sign
}
RETURN what, both, here, there, CASE WHEN both + here + there = 0 THEN null ELSE toFloat(both) / (both + here + there) END AS jaccard, same_sign
ORDER BY what DESC
