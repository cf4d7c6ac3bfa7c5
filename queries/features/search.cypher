// Features by label
//
// family: features
// question: Which features fire on this word?
// params:
//   run: {type: run}
//   text: {type: text, max: 200, about: "part of a label, upper or lower case"}
//   layer: {type: int, min: 0, max: 1000, optional: true, about: "only this layer"}
//   site: {type: text, max: 60, optional: true, about: "only features of this site of their layer, as ids name it (mlp, attn, tc …); residual: of the residual stream"}
//   limit: {type: int, min: 1, max: 10000, default: 50, about: "at most this many rows"}
// returns:
//   id: short id
//   layer: layer
//   label: top activating tokens in context
//   density: share of tokens at which it is active
//   max_act: largest activation
//   neuronpedia_url: its page, if there is one
// example: {text: paris}
MATCH (run:Run {id: $run, status: 'ready'})
MATCH (o:Observation)-[:OF]->(f:Feature)
USING INDEX o:Observation(run, layer)
WHERE o.run = run.n AND o.layer IS NOT NULL AND toLower(o.label) CONTAINS toLower($text) AND ($layer IS NULL OR o.layer = $layer)
  AND ($site IS NULL OR CASE $site WHEN 'residual' THEN NOT o.id CONTAINS '.' ELSE o.id CONTAINS '.' + $site + '_F' END)
RETURN o.id AS id, o.layer AS layer, o.label AS label, o.density AS density, o.max_act AS max_act, f.neuronpedia_url AS neuronpedia_url
ORDER BY o.max_act DESC, id
LIMIT $limit
