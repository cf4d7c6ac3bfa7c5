"""Dictionaries of features: where each sits in the model, its encoder and decoder in residual units, and how well it describes its site."""

from feature_graph.dictionaries.build import build_codecs
from feature_graph.dictionaries.codec import SiteCodec
from feature_graph.dictionaries.errors import LoadingError, QualityError, UnsupportedSAEError
from feature_graph.dictionaries.sites import describe_sites, model_name, weights_hash
from feature_graph.dictionaries.tokens import counted_tokens, random_tokens, residual_norms, valid_mask

__all__ = [
    "LoadingError",
    "QualityError",
    "SiteCodec",
    "UnsupportedSAEError",
    "build_codecs",
    "counted_tokens",
    "describe_sites",
    "model_name",
    "random_tokens",
    "residual_norms",
    "valid_mask",
    "weights_hash",
]
