"""All figures of all dictionaries of a model, on one text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from feature_graph.dictionaries import HookedModel, SiteCodec
from feature_graph.evaluation.errors import EvaluationError
from feature_graph.evaluation.quality.figures import QualityFigure, resamples
from feature_graph.evaluation.quality.losses import Recovered, recovered
from feature_graph.evaluation.quality.reconstruction import Reconstruction, reconstructions, written_moments
from feature_graph.evaluation.quality.response import DIRECTIONS, ResponseOptions, SiteResponse, response_ev
from feature_graph.evaluation.quality.text import counted
from feature_graph.interventions import ModelSlices
from feature_graph.utils import derived_seed


@dataclass(frozen=True)
class QualityOptions:
    """How much is measured.

    Attributes:
        loss_tokens: Cross-entropies are taken on about so many tokens of the text, whole contexts.
        response_documents: Responses are measured in so many contexts.
        response: Directions in each, seed, and resamples of every interval.
    """

    loss_tokens: int = 4096
    response_documents: int = 64
    response: ResponseOptions = field(default_factory=ResponseOptions)


@dataclass(frozen=True)
class DictionaryQuality:
    """Figures of one dictionary; each is None where it is not defined.

    Attributes:
        reconstruction: Of the tensor that it is to write.
        recovered: Cross-entropy recovered.
        response: Response EV and shares; None for dictionaries without a component (residual stream, MLP input).
    """

    reconstruction: Reconstruction
    recovered: Recovered
    response: SiteResponse | None

    def to_dict(self) -> dict[str, Any]:
        """By name, each ``{value, n, ci_low, ci_high}`` or None."""

        def plain(figure: QualityFigure | None) -> dict[str, Any] | None:
            return None if figure is None else asdict(figure)

        response, made = self.response, self.reconstruction
        figures = {name: plain(getattr(made, name)) for name in ("explained_variance", "explained_variance_typical", "l0", "dead")}
        return figures | {
            "ce_recovered_zero": plain(self.recovered.zero),
            "ce_recovered_mean": plain(self.recovered.mean),
            "response_ev": {kind: None if response is None else plain(response.explained[kind]) for kind in DIRECTIONS},
            "skip_share": None if response is None else plain(response.skip_share),
            "error_share": None if response is None else plain(response.error_share),
            "shares_along": None if response is None else response.shares_along,
        }


def dictionary_quality(
    model: HookedModel | ModelSlices,
    codecs: Mapping[str, SiteCodec],
    tokens: Any,
    *,
    sources: Mapping[str, SiteCodec] | None = None,
    options: QualityOptions | None = None,
    progress: bool = False,
) -> dict[str, DictionaryQuality]:
    """Which dictionaries are fit for a graph?

    Args:
        model: A HookedTransformer or TransformerBridge, or its slices.
        codecs: Name of the site → dictionary, as :func:`feature_graph.dictionaries.build_site_codecs` gives them.
        tokens: Text, int64 [n_docs, context], preferably one on which none of them was trained.
        sources: Dictionaries that are not measured but whose features' directions the responses are measured along; None: ``codecs``.
        options: How much is measured.
        progress: Whether to show progress bars.

    Returns:
        Name of the site → its figures. Special tokens, and the first token where the model treats it as an outlier, do not count.

    Raises:
        EvaluationError: If no token counts.
    """
    slices, options = model if isinstance(model, ModelSlices) else ModelSlices(model), options or QualityOptions()
    ids = slices.tokens(tokens)
    valid = counted(slices, codecs.values(), ids)
    if not bool(valid.any()):
        raise EvaluationError(f"the text of {len(ids)} contexts has no token that counts (special tokens and an outlying first one do not)")
    ids, valid = ids[valid.any(1)], valid[valid.any(1)]
    seed, n = options.response.seed, options.response.resamples
    drawn = resamples(len(ids), n, derived_seed(seed, "quality bootstrap"))
    moments = written_moments(slices, codecs, ids, valid, progress=progress)
    made = reconstructions(slices, codecs, moments, ids, valid, drawn, progress=progress)
    few = _enough(valid, options.loss_tokens)
    losses = recovered(
        slices, ids[:few], valid[:few], codecs, moments, resamples(few, n, derived_seed(seed, "loss bootstrap")), progress=progress
    )
    some = options.response_documents
    found = response_ev(
        slices, codecs, ids[:some], sources=sources, valid=valid[:some], options=options.response, progress=progress
    )  # fmt: skip
    return {name: DictionaryQuality(made[name], losses[name], found.get(name)) for name in codecs}


def _enough(valid: Tensor, n_tokens: int) -> int:
    """Documents, from the first on, that hold so many counted tokens; all where there are fewer."""
    before = torch.cat([torch.zeros(1, dtype=torch.long), valid.sum(1).cpu().cumsum(0)[:-1]])
    return max(1, int((before < n_tokens).sum()))
