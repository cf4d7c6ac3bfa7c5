"""The errors of loading; those of dictionaries (:mod:`feature_graph.dictionaries.errors`) are of the same base."""

from feature_graph.dictionaries import LoadingError, QualityError, UnsupportedSAEError

__all__ = ["LoadingError", "OfflineError", "QualityError", "UnsupportedSAEError"]


class OfflineError(LoadingError):
    """Something is not on this machine and the hub cannot be reached."""
