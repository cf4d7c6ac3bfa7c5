"""How well a dictionary reconstructs the tensor that it is to write, how many of its features are on, and which never are.

Two walks over the text, in memory that does not grow with it beyond a few sums a document: the first gives the mean of what is to be
reconstructed and the length up to which a token is typical, the second the errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from feature_graph.dictionaries import SiteCodec, longest_typical
from feature_graph.evaluation.quality.figures import Floats, QualityFigure, figure_of, unseen_share
from feature_graph.evaluation.quality.text import contexts_together
from feature_graph.interventions import ModelSlices, read_at, tapped_run, write_at
from feature_graph.utils import progress as progress_over

_N, _ERROR, _SQUARE, _SUM = range(4)


@dataclass(frozen=True)
class WrittenMoments:
    """What a dictionary is to write, over the whole text.

    Attributes:
        mean: [d_out].
        longest: Length up to which a token is typical.
    """

    mean: Tensor
    longest: float


@dataclass(frozen=True)
class Reconstruction:
    """Figures of one dictionary.

    Attributes:
        explained_variance: 1 − squared error / variance over all counted tokens.
        explained_variance_typical: The same over those up to five times as long as the median.
        l0: Mean number of active features per token.
        dead: Share of features that were active on none of the tokens.
    """

    explained_variance: QualityFigure | None
    explained_variance_typical: QualityFigure | None
    l0: QualityFigure | None
    dead: QualityFigure | None


@torch.no_grad()
def written_moments(
    slices: ModelSlices, codecs: Mapping[str, SiteCodec], ids: Tensor, valid: Tensor, *, progress: bool = False
) -> dict[str, WrittenMoments]:
    """Name of the site → mean and typical length of what is to be reconstructed, on ``ids`` [n_docs, context] where ``valid``."""
    where = {name: write_at(codec.site, slices.n_blocks) for name, codec in codecs.items()}
    sums: dict[str, Tensor] = {}
    norms: dict[str, list[Tensor]] = {name: [] for name in codecs}
    rows = contexts_together(slices, codecs.values(), ids.shape[1])
    starts = range(0, len(ids), rows)
    for start in progress_over(starts, "lengths and means") if progress else starts:
        _, found = tapped_run(slices, ids[start : start + rows], set(where.values()))
        for name, at in where.items():
            x = found[at][valid[start : start + rows]]
            sums[name] = sums.get(name, 0) + x.double().sum(0)
            norms[name].append(x.norm(dim=1))
    n = max(1, int(valid.sum()))
    return {name: WrittenMoments((sums[name] / n).float(), float(longest_typical(torch.cat(norms[name])))) for name in codecs}


@torch.no_grad()
def reconstructions(
    slices: ModelSlices,
    codecs: Mapping[str, SiteCodec],
    moments: Mapping[str, WrittenMoments],
    ids: Tensor,
    valid: Tensor,
    drawn: Floats,
    *,
    progress: bool = False,
) -> dict[str, Reconstruction]:
    """Name of the site → figures.

    Args:
        slices: The model.
        codecs: Name of the site → dictionary.
        moments: From :func:`written_moments`, of the same text.
        ids: int64 [n_docs, context].
        valid: bool [n_docs, context], tokens that count.
        drawn: Resamples of the documents.
        progress: Whether to show a progress bar.
    """
    sums = {name: _SiteSums(codec, moments[name], len(ids)) for name, codec in codecs.items()}
    ends = {name: (read_at(codec.site, slices.n_blocks), write_at(codec.site, slices.n_blocks)) for name, codec in codecs.items()}
    rows = contexts_together(slices, codecs.values(), ids.shape[1])
    starts = range(0, len(ids), rows)
    for start in progress_over(starts, "reconstruction") if progress else starts:
        mask = valid[start : start + rows]
        _, found = tapped_run(slices, ids[start : start + rows], {where for both in ends.values() for where in both})
        owner = mask.nonzero()[:, 0].cpu() + start
        for name, (reads, writes) in ends.items():
            sums[name].add(owner, found[reads][mask], found[writes][mask])
    return {name: one.figures(drawn) for name, one in sums.items()}


class _SiteSums:
    """Running sums of one dictionary by document; squares and sums are of the deviation from the mean, which float32 keeps exact enough."""

    def __init__(self, codec: SiteCodec, moments: WrittenMoments, n_documents: int) -> None:
        self._codec, self._moments = codec, moments
        self._all = torch.zeros(n_documents, _SUM + len(moments.mean), dtype=torch.float64)
        self._typical, self._active = torch.zeros_like(self._all), torch.zeros(n_documents, 2, dtype=torch.float64)
        self._documents, self._last = torch.zeros(codec.d_sae, dtype=torch.long), torch.zeros(codec.d_sae, dtype=torch.long)

    def add(self, owner: Tensor, reads: Tensor, writes: Tensor) -> None:
        """Take in tokens of some documents: the document of each, int64 [n], what is read [n, d_in] and to be written [n, d_out]."""
        codec, dtype = self._codec, self._codec.w_enc.dtype
        x, y = reads.to(dtype), writes.to(dtype)
        acts = codec.record(x)
        error = (codec.decode(acts) + codec.skip(x) - y).double().square().sum(1)
        deviation = (y - self._moments.mean.to(y)).double()
        columns = torch.cat(
            [torch.ones_like(error)[:, None], error[:, None], deviation.square().sum(1, keepdim=True), deviation], dim=1
        ).cpu()
        kept = (writes.norm(dim=1) <= self._moments.longest).cpu()
        self._all.index_add_(0, owner, columns)
        self._typical.index_add_(0, owner[kept], columns[kept])
        active = codec.is_active(acts)
        count = active.sum(1).double().cpu()
        self._active.index_add_(0, owner, torch.stack([torch.ones_like(count), count], dim=1))
        for document in owner.unique().tolist():
            seen = active[(owner == document).to(active.device)].any(0).cpu()
            self._documents += seen
            self._last[seen] = document

    def figures(self, drawn: Floats) -> Reconstruction:
        """What the sums say."""
        n = int(self._active[:, 0].sum())
        return Reconstruction(
            explained_variance=figure_of(self._all.numpy(), n, drawn, _explained),
            explained_variance_typical=figure_of(self._typical.numpy(), int(self._typical[:, _N].sum()), drawn, _explained),
            l0=figure_of(self._active.numpy(), n, drawn, lambda s: s[..., 1] / s[..., 0]),
            dead=unseen_share(self._documents.numpy(), self._last.numpy(), int((self._active[:, 0] > 0).sum()), n),
        )


def _explained(sums: Floats) -> Floats:
    variance = sums[..., _SQUARE] - np.square(sums[..., _SUM:]).sum(-1) / sums[..., _N]
    return np.where(variance > 0, 1 - sums[..., _ERROR] / variance, np.nan)
