"""Samples of several sources, and what a screen reduces them to beside the effects of each sample."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph import stats
from feature_graph.dictionaries import SiteCodec
from feature_graph.interventions import Clamps
from feature_graph.interventions.moments import Groups, Moments

SOURCES, SAMPLES = 5, 6


def samples(tokens: Tensor, codec: SiteCodec) -> tuple[Clamps, Groups]:
    """The first five features of a dictionary with six samples each, several in one document, some at the end of the context."""
    generator = torch.Generator().manual_seed(4)
    n = SOURCES * SAMPLES
    documents = torch.randint(0, len(tokens), (SOURCES, SAMPLES), generator=generator).sort(1).values.flatten()
    positions = torch.randint(0, tokens.shape[1], (n,), generator=generator)
    positions[0], positions[-1] = tokens.shape[1] - 1, 0
    source = torch.arange(SOURCES).repeat_interleave(SAMPLES)
    high, low = torch.rand(2, n, generator=generator) * 2
    clamps = Clamps(documents, positions, codec.w_dec[source], high, -low)
    return clamps, Groups.of(source.numpy(), documents.numpy())


def by_source(effects: Tensor, clamps: Clamps, k: int, keep: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Document means of one source, float64 [D, T]."""
    rows = slice(k * SAMPLES, (k + 1) * SAMPLES)
    values, documents = effects[rows].double().numpy(), clamps.documents[rows].numpy()
    keep = np.ones(SAMPLES, bool) if keep is None else keep[rows]
    return stats.document_means(values[keep], documents[keep]).values


def compare(moments: Moments, effects: Tensor, clamps: Clamps, keep: NDArray[np.bool_] | None = None) -> None:
    """Means and spreads over documents are those of the samples' effects."""
    scale = float(effects.abs().max())
    for k in range(SOURCES):
        means = by_source(effects, clamps, k, keep)
        if not len(means):
            assert not moments.mean[k].any()
            continue
        np.testing.assert_allclose(moments.mean[k], means.mean(0), atol=2e-6 * scale)
        np.testing.assert_allclose(moments.m2[k], ((means - means.mean(0)) ** 2).sum(0), atol=1e-5 * scale**2)
