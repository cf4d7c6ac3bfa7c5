"""Attribution graphs of circuit-tracer and Neuronpedia, turned into a run directory that can be ingested.

``python -m ingest.attribution_graphs GRAPH.json OUT_DIR`` reads the JSON that circuit-tracer's ``create_graph_files`` writes and
Neuronpedia offers for download (``metadata``, ``nodes``, ``links``), and writes config.json, features.parquet, interactions.parquet,
behaviors.json and manifest.json of one run, whose edges have the method ``attribution``. docs/artifacts.md says what becomes of what.
"""

from ingest.attribution_graphs.convert import METHOD, Imported, Naming, import_graph
from ingest.attribution_graphs.read import AttributionGraph, GraphError, read_graph

__all__ = ["METHOD", "AttributionGraph", "GraphError", "Imported", "Naming", "import_graph", "read_graph"]
