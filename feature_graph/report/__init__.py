"""The report of a run for people: one self-contained HTML page, made from the files of the run directory."""

from feature_graph.report.write import write_report

__all__ = ["write_report"]
