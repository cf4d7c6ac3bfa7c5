// Schema version 4: motifs.
CREATE CONSTRAINT motif_uid IF NOT EXISTS FOR (x:Motif) REQUIRE x.uid IS UNIQUE;
CREATE INDEX motif_run_name IF NOT EXISTS FOR (x:Motif) ON (x.run, x.name);
