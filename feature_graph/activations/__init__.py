"""From text to recorded feature activations, and what a feature looks like: its label and its row in features.parquet."""

from feature_graph.activations.collect import collect_activations
from feature_graph.activations.errors import CollectError
from feature_graph.activations.labels import Decode, feature_labels
from feature_graph.activations.samples import ActiveRows, SampleRows, active_rows, document_priority, draw_samples
from feature_graph.activations.table import build_features_table, decoder_of, write_features

__all__ = [
    "ActiveRows",
    "CollectError",
    "Decode",
    "SampleRows",
    "active_rows",
    "build_features_table",
    "collect_activations",
    "decoder_of",
    "document_priority",
    "draw_samples",
    "feature_labels",
    "write_features",
]
