"""Cross-entropy of the next token with a tensor replaced: by the dictionary's reconstruction, by zero, by its mean.

recovered = (ablated − reconstructed) / (ablated − clean). Tokens that do not count keep their tensor; a prediction counts where the token
that it is made at and the token that it is of both count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from feature_graph.dictionaries import SiteCodec
from feature_graph.evaluation.quality.figures import Floats, QualityFigure, figure_of
from feature_graph.evaluation.quality.reconstruction import WrittenMoments
from feature_graph.evaluation.quality.text import contexts_together, tensors_of
from feature_graph.interventions import BlockTaps, ModelSlices, Where, predicts_tokens, read_at, tapped_run, write_at
from feature_graph.utils import progress as progress_over

_CLEAN, _RECONSTRUCTED, _ZERO, _MEAN = range(4)


@dataclass(frozen=True)
class Recovered:
    """Cross-entropy recovered by one dictionary; None where the model predicts no tokens, or loses nothing by the ablation.

    Attributes:
        zero: Compared with the tensor set to zero.
        mean: Compared with its mean, the harder comparison.
    """

    zero: QualityFigure | None
    mean: QualityFigure | None


@torch.no_grad()
def recovered(
    slices: ModelSlices,
    ids: Tensor,
    valid: Tensor,
    codecs: Mapping[str, SiteCodec],
    moments: Mapping[str, WrittenMoments],
    drawn: Floats,
    *,
    progress: bool = False,
) -> dict[str, Recovered]:
    """Name of the site → cross-entropy recovered.

    Args:
        slices: The model.
        ids: int64 [n_docs, context].
        valid: bool [n_docs, context], tokens that count.
        codecs: Name of the site → dictionary.
        moments: Means of what they write (:func:`feature_graph.evaluation.quality.reconstruction.written_moments`).
        drawn: Resamples of the documents.
        progress: Whether to show a progress bar.
    """
    if not predicts_tokens(slices.model):
        return dict.fromkeys(codecs, Recovered(None, None))
    sums = {name: np.zeros((len(ids), 4)) for name in codecs}
    rows = contexts_together(slices, codecs.values(), ids.shape[1])
    steps = [(start, name) for start in range(0, len(ids), rows) for name in codecs]
    for start, name in progress_over(steps, "cross-entropy") if progress else steps:
        if name == next(iter(codecs)):
            part = _CleanContexts(slices, ids[start : start + rows], valid[start : start + rows], codecs)
            clean = part.clean()
        sums[name][start : start + rows] = np.stack([clean, *part.replaced(codecs[name], moments[name].mean)], axis=1)
    n = int((valid[:, 1:] & valid[:, :-1]).sum())
    return {name: Recovered(*(figure_of(values, n, drawn, _share(k)) for k in (_ZERO, _MEAN))) for name, values in sums.items()}


class _CleanContexts:
    """Some contexts, run once as they are."""

    def __init__(self, slices: ModelSlices, ids: Tensor, valid: Tensor, codecs: Mapping[str, SiteCodec]) -> None:
        self._slices, self._ids, self._valid = slices, ids, valid
        self._wanted = valid[:, 1:] & valid[:, :-1]
        _, self._found = tapped_run(slices, ids, tensors_of(slices, codecs.values()))

    def clean(self) -> Floats:
        """Summed cross-entropy of each document, [n_docs]."""
        last = max(block for block, _ in self._found)
        return self._losses(self._slices.run(self._found[last, "resid_pre"], last, self._slices.n_blocks))

    def replaced(self, codec: SiteCodec, mean: Tensor) -> list[Floats]:
        """The same with what a dictionary writes replaced: reconstructed, zero, mean."""
        at = write_at(codec.site, self._slices.n_blocks)
        x, clean = self._found[read_at(codec.site, self._slices.n_blocks)], self._found[at]
        given = codec.reconstruct(x.to(codec.w_enc.dtype)).to(clean)
        return [self._with(at, clean, new) for new in (given, torch.zeros_like(clean), mean.to(clean).expand_as(clean))]

    def _with(self, at: Where, clean: Tensor, new: Tensor) -> Floats:
        put = torch.where(self._valid[..., None], new, clean)
        taps = BlockTaps(change={at: lambda _: put})
        return self._losses(self._slices.run(self._found[at[0], "resid_pre"], at[0], self._slices.n_blocks, taps=taps))

    def _losses(self, x: Tensor) -> Floats:
        """Of the last residual stream; one document's logits at a time."""
        found = []
        for stream, tokens, wanted in zip(x, self._ids, self._wanted, strict=True):
            logits = self._slices.logits(stream[:-1][wanted]).float()
            found.append(float(torch.nn.functional.cross_entropy(logits, tokens[1:][wanted], reduction="none").double().sum()))
        return np.array(found)


def _share(ablated: int) -> Callable[[Floats], Floats]:
    def share(sums: Floats) -> Floats:
        lost = sums[..., ablated] - sums[..., _CLEAN]
        return np.where(lost > 0, (sums[..., ablated] - sums[..., _RECONSTRUCTED]) / lost, np.nan)

    return share
