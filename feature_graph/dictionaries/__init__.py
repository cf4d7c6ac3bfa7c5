"""Dictionaries of features: where each sits in the model, its encoder and decoder in residual units, and how well it describes its site.

Public module in addition to this face: ``topk_transcoder`` (classes that SAELens lacks; importing it costs SAELens).
"""

from feature_graph.dictionaries.build import build_codecs
from feature_graph.dictionaries.codec import SiteCodec, stream_rows
from feature_graph.dictionaries.components import build_site_codecs
from feature_graph.dictionaries.derivative import DictionaryResponse, dictionary_response
from feature_graph.dictionaries.errors import LoadingError, QualityError, UnsupportedSAEError
from feature_graph.dictionaries.hook_names import block_in, hook_in, module_hook
from feature_graph.dictionaries.keys import ID_KEY, RELEASE_KEY
from feature_graph.dictionaries.kinds import TRANSCODERS, WHY_NOT, non_linearity, parse_hook
from feature_graph.dictionaries.models import Dictionaries, HookedModel
from feature_graph.dictionaries.placements import placements
from feature_graph.dictionaries.quality import check_quality, judge, measure_quality, published
from feature_graph.dictionaries.reconstruction import longest_typical
from feature_graph.dictionaries.recorded import refuse_cross_layer_names
from feature_graph.dictionaries.sites import describe_sites, model_name, weights_hash
from feature_graph.dictionaries.tensors import (
    POST_NORM,
    TensorHook,
    TensorName,
    is_parallel,
    output_weights,
    read_tensors,
    tensor_hook,
    width_of,
)
from feature_graph.dictionaries.tokens import counted_tokens, outlier_tokens, random_tokens, residual_norms, valid_mask

__all__ = [
    "ID_KEY",
    "POST_NORM",
    "RELEASE_KEY",
    "TRANSCODERS",
    "WHY_NOT",
    "Dictionaries",
    "DictionaryResponse",
    "HookedModel",
    "LoadingError",
    "QualityError",
    "SiteCodec",
    "TensorHook",
    "TensorName",
    "UnsupportedSAEError",
    "block_in",
    "build_codecs",
    "build_site_codecs",
    "check_quality",
    "counted_tokens",
    "describe_sites",
    "dictionary_response",
    "hook_in",
    "is_parallel",
    "judge",
    "longest_typical",
    "measure_quality",
    "model_name",
    "module_hook",
    "non_linearity",
    "outlier_tokens",
    "output_weights",
    "parse_hook",
    "placements",
    "published",
    "random_tokens",
    "read_tensors",
    "refuse_cross_layer_names",
    "residual_norms",
    "stream_rows",
    "tensor_hook",
    "valid_mask",
    "weights_hash",
    "width_of",
]
