"""Which forecast of steering is the best? Random features steered on documents that no forecast has seen, and every forecast scored.

1. Sources are drawn at random among all that have a response and are active in enough documents of the test and the confirm split, equally
   many per site.
2. The truth: each source is steered at tokens of the confirm documents, by a size and sign that no clamp and no derivative had
   (:mod:`feature_graph.evaluation.forecasts.truth`). Every later feature is read.
3. Forecasts: response, measured edge, paths, and baselines (:mod:`feature_graph.evaluation.forecasts.forecasters`).
4. Scores: Spearman correlation, pooled over pairs and within sources, by the number of sites crossed, of the total change, of the
   computed change (total minus what the copied direction alone does at the very same tokens), and of pairs with a cosine near 0; paired
   two-way bootstrap over sources and documents (:mod:`feature_graph.evaluation.forecasts.bootstrap`), and the split half of the truth
   (:mod:`feature_graph.evaluation.forecasts.scores`).
"""

from feature_graph.evaluation.forecasts.compare import BOOTSTRAP, ComparisonOptions, compare_forecasts, compare_run, recorded_on
from feature_graph.evaluation.forecasts.compared import ComparedForecasts
from feature_graph.evaluation.forecasts.forecasters import BASELINES, FORECASTERS
from feature_graph.evaluation.forecasts.scores import EFFECTS, forecast_scores
from feature_graph.evaluation.forecasts.tables import score_rows

__all__ = [
    "BASELINES",
    "BOOTSTRAP",
    "EFFECTS",
    "FORECASTERS",
    "ComparedForecasts",
    "ComparisonOptions",
    "compare_forecasts",
    "compare_run",
    "forecast_scores",
    "recorded_on",
    "score_rows",
]
