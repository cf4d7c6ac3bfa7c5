"""Attribution graphs of circuit-tracer and Neuronpedia, turned into a run directory that can be ingested.

``feature-graph import attribution GRAPH.json… --out DIR`` (or ``python -m ingest.attribution_graphs GRAPH.json DIR``) reads the JSON that
circuit-tracer's ``create_graph_files`` writes and Neuronpedia offers for download (``metadata``, ``nodes``, ``links``), and writes
config.json, features.parquet, interactions.parquet, behaviors.json and manifest.json of one run, whose edges have the method
``attribution``. docs/artifacts.md says what becomes of what.
"""

from ingest.attribution_graphs.convert import import_graph, import_graphs
from ingest.attribution_graphs.edges import METHOD
from ingest.attribution_graphs.errors import GraphError
from ingest.attribution_graphs.names import Names, Naming, names_of
from ingest.attribution_graphs.read import AttributionGraph, read_graph
from ingest.attribution_graphs.tell import Imported, in_words

__all__ = [
    "METHOD",
    "AttributionGraph",
    "GraphError",
    "Imported",
    "Names",
    "Naming",
    "import_graph",
    "import_graphs",
    "in_words",
    "names_of",
    "read_graph",
]
