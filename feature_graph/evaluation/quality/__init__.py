"""Which dictionaries are fit for a graph? Figures of each on text: reconstruction, sparsity, cross-entropy, and the component's response.

1. ``reconstruction``: explained variance, of all and of typical tokens, L0, dead features.
2. ``losses``: cross-entropy recovered with the reconstruction in the tensor's place, compared with zero and with the mean.
3. ``response``: does the dictionary of a component answer to a change of the stream as the component does?

Every figure has a 95 % interval over documents. Nothing but the text is needed: models and dictionaries are those that a caller names.
"""

from feature_graph.dictionaries import DictionaryResponse, dictionary_response
from feature_graph.evaluation.quality.figures import QualityFigure, figure_of, resamples
from feature_graph.evaluation.quality.losses import Recovered
from feature_graph.evaluation.quality.measure import DictionaryQuality, QualityOptions, dictionary_quality
from feature_graph.evaluation.quality.of_config import measure_config
from feature_graph.evaluation.quality.reconstruction import Reconstruction
from feature_graph.evaluation.quality.response import DIRECTIONS, ResponseOptions, SiteResponse, response_ev
from feature_graph.evaluation.quality.verdict import verdict

__all__ = [
    "DIRECTIONS",
    "DictionaryQuality",
    "DictionaryResponse",
    "QualityFigure",
    "QualityOptions",
    "Reconstruction",
    "Recovered",
    "ResponseOptions",
    "SiteResponse",
    "dictionary_quality",
    "dictionary_response",
    "figure_of",
    "measure_config",
    "resamples",
    "response_ev",
    "verdict",
]
