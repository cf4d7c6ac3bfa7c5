"""The report of a run for people: one HTML page, made from the files of the run directory, that needs nothing beside it."""

from feature_graph.report.write import write_report

__all__ = ["write_report"]
