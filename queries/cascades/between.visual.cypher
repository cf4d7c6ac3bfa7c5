// Between two features: as a graph (the 100 strongest paths of at most 4 edges)
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (:Observation {run: run.n, id: $source})-[:OF]->(a:Feature)
MATCH (:Observation {run: run.n, id: $target})-[:OF]->(b:Feature)
// Where dictionaries sit on components, a direct effect holds the MLPs in between and nothing else: paths lead only through one dictionary per MLP.
WITH run, a, b, [(run)-[:COVERS]->(p:Site) WHERE $method IN ['clamping', 'jacobian'] AND p.name =~ 'L[0-9]+[.](mid|z|attn|mlpin|mlp|tc)' | p.name] AS parts
WITH run, a, b, CASE WHEN parts <> [] THEN [p IN parts WHERE p ENDS WITH '.tc' OR p ENDS WITH '.mlp' AND NOT split(p, '.')[0] + '.tc' IN parts
  OR p ENDS WITH '.mlpin' AND none(kind IN ['.tc', '.mlp'] WHERE split(p, '.')[0] + kind IN parts)] END AS passed
MATCH path = (a)-[steps:AFFECTS*1..4]->(b)
WHERE size(steps) <= $max_hops AND all(e IN steps WHERE e.run = run.n AND e.method = $method AND e.structural
  AND e.by <> 'later' AND abs(e.direct) >= $min_strength)
  AND (passed IS NULL OR all(x IN nodes(path)[1..-1] WHERE EXISTS { MATCH (x)<-[:OF]-(o:Observation {run: run.n}) WHERE split(o.id, '_F')[0] IN passed }))
RETURN path
ORDER BY abs(reduce(effect = 1.0, e IN steps | effect * e.direct)) DESC
LIMIT 100
