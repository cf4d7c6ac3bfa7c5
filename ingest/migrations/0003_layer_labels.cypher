// Schema version 3: a label per layer on the features that are there; later ones get it when they are made.
MATCH (f:Feature) WHERE f.layer IS NOT NULL AND f.hook IS NOT NULL AND f.uid STARTS WITH f.model + '/' CALL (f) { SET f:$('Layer' + toString(f.layer)) } IN TRANSACTIONS OF 10000 ROWS;
