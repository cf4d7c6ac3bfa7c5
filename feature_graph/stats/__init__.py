"""Tests of effects over documents: arrays in, arrays out.

The unit is the document (one context row), not the token: tokens of one document share their text. So:

1. average the samples of a document (:func:`document_means`),
2. test whether the mean over documents is larger than the smallest effect that counts, |mean| ≤ ``min_effect`` being the null
   hypothesis: t, or, for up to 12 documents, the exact sign-flip test, which assumes only that a document's mean is as likely above
   as below (:func:`mean_test`),
3. correct over pairs, and over the effects of the pairs that pass (:func:`adjust_pairs`).

Whether an effect is larger than a random direction's is another question, with a test of its own (:func:`moderated_t`).
"""

from feature_graph.stats.documents import DocumentMeans, document_means
from feature_graph.stats.errors import StatisticsError
from feature_graph.stats.families import LARGE_FAMILY, adjust, adjust_pairs, chosen_effects, edges_needed, simes, within_pairs
from feature_graph.stats.means import SIGN_FLIP_MAX, MeanTest, mean_test, sign_flip_p, smallest_p, t_p, welch_p
from feature_graph.stats.moderated import ModeratedTest, moderated_t
from feature_graph.stats.placebos import placebo_floor, placebo_share

__all__ = [
    "LARGE_FAMILY",
    "SIGN_FLIP_MAX",
    "DocumentMeans",
    "MeanTest",
    "ModeratedTest",
    "StatisticsError",
    "adjust",
    "adjust_pairs",
    "chosen_effects",
    "document_means",
    "edges_needed",
    "mean_test",
    "moderated_t",
    "placebo_floor",
    "placebo_share",
    "sign_flip_p",
    "simes",
    "smallest_p",
    "t_p",
    "welch_p",
    "within_pairs",
]
