"""The embedded database while its server is stopped: filled at once, dumped, loaded, backed up.

    from feature_graph.database import offline

    offline.bulk_ingest(home, "outputs/bundled")    # into an empty database, by the importer
    offline.dump(home, "graph.dump")                # one file, with a note of what it holds
    offline.load(other_home, "graph.dump")
    offline.backup(home, "backups", keep=7)

A new store is made beside the old one, checked, and put in its place by a rename; whoever is killed on the way keeps the old one.
"""

from feature_graph.database.offline.bulk import BULK_FROM_EDGES, BulkReport, bulk_ingest, bulk_refusals, run_size
from feature_graph.database.offline.dumps import DumpNote, backup, backups, dump, load, read_note
from feature_graph.database.offline.errors import BulkRefused, DumpError, StoppedDatabaseError
from feature_graph.database.offline.stores import Contents, RunNote, contents

__all__ = [
    "BULK_FROM_EDGES",
    "BulkRefused",
    "BulkReport",
    "Contents",
    "DumpError",
    "DumpNote",
    "RunNote",
    "StoppedDatabaseError",
    "backup",
    "backups",
    "bulk_ingest",
    "bulk_refusals",
    "contents",
    "dump",
    "load",
    "read_note",
    "run_size",
]
