// Schema version 5: which features this program made. Until now every one that a run refers to and that has what a run writes on it was;
// what another program made, or nothing refers to, carries no mark and is never deleted.
MATCH (o:Observation)-[:OF]->(f:Feature) WHERE f.brought_by IS NULL AND f.hook IS NOT NULL AND f.index IS NOT NULL AND f.uid STARTS WITH f.model + '/' WITH f, min(o.run) AS n CALL (f, n) { SET f.brought_by = n } IN TRANSACTIONS OF 10000 ROWS;
MATCH (b:Behavior)-[:SEEDED_BY|HAS_MEMBER|WRITES_TO]-(f:Feature) WHERE f.brought_by IS NULL AND f.hook IS NOT NULL AND f.index IS NOT NULL AND f.uid STARTS WITH f.model + '/' WITH f, min(b.run) AS n CALL (f, n) { SET f.brought_by = n } IN TRANSACTIONS OF 10000 ROWS;
