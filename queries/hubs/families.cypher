// Copy families
//
// family: hubs
// question: Which features of successive layers are copies of one another, and how many layers do they span?
// params:
//   run: {type: run}
//   method: {type: method}
//   feature: {type: feature, optional: true, about: "only the family that has this feature"}
//   min_lifetime: {type: int, min: 0, max: 10000, default: 0, about: "only families that span at least this many layers"}
//   limit: {type: int, min: 1, max: 10000, default: 20, about: "at most this many rows"}
// returns:
//   id: short id of the first member
//   first_layer: its layer
//   last_layer: layer of the last member
//   lifetime: layers from the first member to the last
//   size: members, one per site
//   copy_share: mean share of the copy in the total effect of one member on the next
//   members: short ids, in the order of their sites
//   label: top activating tokens of the first member
// example: {limit: 5}
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (x:Family {run: run.n, method: $method})
WHERE x.lifetime >= $min_lifetime AND ($feature IS NULL OR EXISTS { (:Feature)-[:MEMBER_OF {id: $feature}]->(x) })
WITH run, x ORDER BY x.lifetime DESC, x.size DESC, x.first_layer, x.id LIMIT $limit
MATCH (:Feature)-[m:MEMBER_OF]->(x)
WITH run, x, m ORDER BY m.place
WITH run, x, collect(m.id) AS members
MATCH (o:Observation {run: run.n, id: x.id})
RETURN x.id AS id, x.first_layer AS first_layer, x.last_layer AS last_layer, x.lifetime AS lifetime, x.size AS size,
       x.copy_share AS copy_share, members, o.label AS label
ORDER BY lifetime DESC, size DESC, first_layer, id
