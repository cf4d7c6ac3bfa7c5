"""One sentence for each dictionary: what its figures mean for a graph that is measured on it.

Effects on and of its features are the model's own whatever its quality, since what it does not reconstruct stays in the model; what is in
no feature is in no edge, and a path through a dictionary shows only what its features carry.
"""

from __future__ import annotations

from feature_graph.artifacts import SiteKind
from feature_graph.evaluation.quality.figures import QualityFigure
from feature_graph.evaluation.quality.measure import DictionaryQuality
from feature_graph.evaluation.quality.response import SiteResponse
from feature_graph.terminal import percent

#: Explained variance of typical tokens up to which a run refuses a dictionary on the residual stream; others, up to that of the mean.
LEAST_EXPLAINED = 0.5
#: Recovered cross-entropy (mean), and response EV, from which a dictionary is called fit.
LEAST_RECOVERED, LEAST_RESPONSE = 0.9, 0.2
#: Share of dead features from which it is told.
MANY_DEAD = 0.2
_COMPONENT: dict[SiteKind, str] = {"transcoder": "the MLP", "mlp_out": "the MLP", "attn_out": "attention", "hook_z": "attention"}


def verdict(kind: SiteKind, quality: DictionaryQuality) -> str:
    """What the figures of a dictionary of a site of this kind mean for a graph."""
    explained = quality.reconstruction.explained_variance_typical
    if explained is None:
        return "Nothing can be said: what it is to reconstruct does not vary on this text."
    if explained.value < (LEAST_EXPLAINED if kind == "residual" else 0):
        return (
            f"Not fit: it explains {explained.value:.2f} of the variance on this text, so that its features do not describe the site; "
            f"check the model, the hook, the BOS setting and the text{_dead(quality)}."
        )
    stream, recovered = quality.response is None, quality.recovered.mean
    told = (
        _of_stream(kind, explained, recovered) if quality.response is None else _of_component(_COMPONENT[kind], explained, quality.response)
    )
    able = recovered is None or recovered.value >= LEAST_RECOVERED or not stream
    return f"{'Fit' if able and told[0] else 'With care'}: {told[1]}{_dead(quality)}."


def _of_stream(kind: SiteKind, explained: QualityFigure, recovered: QualityFigure | None) -> tuple[bool, str]:
    where = "the MLP's input" if kind == "mlp_in" else "the residual stream"
    share = "" if recovered is None else percent(recovered.value, 1)
    kept = f"its reconstruction recovers {share} of the cross-entropy that its mean loses; " if share else ""
    lost = f"the {1 - explained.value:.0%} of the variance of {where} that is in no feature is in no edge"
    return True, f"{kept}edges that are found are the model's own, and {lost}"


def _of_component(component: str, variance: QualityFigure, response: SiteResponse) -> tuple[bool, str]:
    explained, error = response.explained[response.shares_along], response.error_share
    if explained is None or error is None:
        return True, f"{component} does not respond to the stream on this text"
    skip = 0.0 if response.skip_share is None else response.skip_share.value
    along = "what earlier features send it" if response.shares_along == "arrivals" else "random directions"
    by_skip = "" if response.skip_share is None else f"the skip {skip:.0%}, "
    shares = (
        f"it explains {variance.value:.0%} of what {component} writes, and of its response to {along} the features carry "
        f"{1 - skip - error.value:.0%}, {by_skip}the error {error.value:.0%}"
    )
    if explained.value < LEAST_RESPONSE:
        return False, f"{shares}; its edges are the model's own, but most of what {component} computes bypasses its features"
    return True, f"{shares}; its edges are the model's own, and paths through its features show their share of what {component} computes"


def _dead(quality: DictionaryQuality) -> str:
    dead = quality.reconstruction.dead
    many = dead is not None and dead.value >= MANY_DEAD
    return f"; {percent(dead.value)} of its features are on at none of the {dead.n:,} tokens" if dead is not None and many else ""
