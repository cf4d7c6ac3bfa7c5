"""A benchmark of edges between features: planted models and compiled programs to run on, and a score for anybody's edge list."""

from feature_graph.evaluation.benchmark.edges import COLUMNS, OPTIONAL, read_edges
from feature_graph.evaluation.benchmark.errors import BenchmarkError
from feature_graph.evaluation.benchmark.export import export_models
from feature_graph.evaluation.benchmark.methods import METHODS, compare_methods
from feature_graph.evaluation.benchmark.models import STANDARD, BenchmarkModel, benchmark_model
from feature_graph.evaluation.benchmark.score import score_edges

__all__ = [
    "COLUMNS",
    "METHODS",
    "OPTIONAL",
    "STANDARD",
    "BenchmarkError",
    "BenchmarkModel",
    "benchmark_model",
    "compare_methods",
    "export_models",
    "read_edges",
    "score_edges",
]
