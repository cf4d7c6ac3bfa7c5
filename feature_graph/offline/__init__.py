"""The embedded database while its server is stopped: filled at once, dumped, loaded, backed up.

    from feature_graph import offline

    offline.bulk_ingest(home, "outputs/bundled")    # into an empty database, by the importer
    offline.dump(home, "graph.dump")                # one file, with a note of what it holds
    offline.load(other_home, "graph.dump")
    offline.backup(home, "backups", keep=7)

A new store is made beside the old one, checked, and put in its place by a rename; whoever is killed on the way keeps the old one.
"""

from feature_graph.offline.bulk import BulkReport, bulk_ingest, bulk_refusals
from feature_graph.offline.errors import BulkRefused, DumpError, OfflineError

__all__ = ["BulkRefused", "BulkReport", "DumpError", "OfflineError", "bulk_ingest", "bulk_refusals"]
