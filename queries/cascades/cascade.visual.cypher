// Cascade: as a graph (the 300 strongest paths of at most 3 edges)
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (:Observation {run: run.n, id: $feature})-[:OF]->(start:Feature)
// Where dictionaries sit on components, a direct effect holds the MLPs in between and nothing else: paths lead only through one dictionary per MLP.
WITH run, start, [(run)-[:COVERS]->(p:Site) WHERE $method IN ['clamping', 'jacobian'] AND p.name =~ 'L[0-9]+[.](mid|z|attn|mlpin|mlp|tc)' | p.name] AS parts
WITH run, start, CASE WHEN parts <> [] THEN [p IN parts WHERE p ENDS WITH '.tc' OR p ENDS WITH '.mlp' AND NOT split(p, '.')[0] + '.tc' IN parts
  OR p ENDS WITH '.mlpin' AND none(kind IN ['.tc', '.mlp'] WHERE split(p, '.')[0] + kind IN parts)] END AS passed
MATCH path = (start)-[steps:AFFECTS*1..3]->(:Feature)
WHERE size(steps) <= $max_hops
  AND all(e IN steps WHERE e.run = run.n AND e.method = $method AND e.structural AND e.by <> 'later' AND abs(e.direct) >= $min_strength)
  AND (passed IS NULL OR all(x IN nodes(path)[1..-1] WHERE EXISTS { MATCH (x)<-[:OF]-(o:Observation {run: run.n}) WHERE split(o.id, '_F')[0] IN passed }))
WITH path, abs(reduce(effect = $delta, e IN steps | effect * e.direct)) * $decay ^ (size(steps) - 1) AS effect
WHERE effect >= $min_effect
RETURN path
ORDER BY effect DESC
LIMIT 300
