// Schema version 7: what the blocks compute, on every edge; its sign where the edge's own test says that it counts (the smallest effect that
// counts is in the files only); and families of copies, which loading a run again adds. Each statement passes over what is done already, so
// it can be cut off anywhere and repeated. Edges are taken by their sources, as in version 6.
CREATE CONSTRAINT family_uid IF NOT EXISTS FOR (x:Family) REQUIRE x.uid IS UNIQUE;
CREATE INDEX family_run_method IF NOT EXISTS FOR (x:Family) ON (x.run, x.method);
MATCH (f:Feature) CALL (f) { MATCH (f)-[e:AFFECTS]->() WHERE e.run IS NOT NULL AND e.computed IS NULL AND e.copy IS NOT NULL AND e.strength IS NOT NULL AND e.method IS NOT NULL AND e.span IS NOT NULL AND e.by IS NOT NULL WITH e, coalesce(e.total, e.strength) - e.copy AS computed SET e.computed = computed, e.sign_computed = CASE WHEN e.by CONTAINS 'computed' THEN sign(computed) END } IN TRANSACTIONS OF 50 ROWS;
