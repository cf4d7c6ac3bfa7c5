"""Is a set of features enough for a behaviour, and is it all there is?

With M the whole model, C a set of features, ∅ no feature at all and m(·) the mean metric over the held-out prompts:

    faithfulness(C) = (m(C) − m(∅)) / (m(M) − m(∅))          everything but C mean-ablated: 1 if C alone does what the model does
    completeness(C) = (m(M) − m(M∖C)) / (m(M) − m(∅))        only C mean-ablated: 1 if nothing is left without C

Mean-ablating a feature puts its mean over the choosing half (clean and corrupted prompts, all positions that may be edited) in the place
of its activation, at every analysed site in the order of the model, each time on what the earlier edits leave: a dictionary's features are
read where it reads, and changed where it writes. The error terms (what the dictionaries do not reconstruct), and what skip transcoders add
beside their features, stay as they come, so m(∅) is not chance: ``empty`` says what they carry alone. Position 0 is never edited.
After Marks et al. 2024, Sparse Feature Circuits, section 4; there completeness is the faithfulness of the complement, 1 − ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph.artifacts import indices_by_layer
from feature_graph.interventions import ablate
from feature_graph.stats import document_means
from feature_graph.subgraphs.effects import BehaviorModel, recorded
from feature_graph.subgraphs.tokens import PromptTokens, ReadPrompts
from feature_graph.utils import derived_seed

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]
#: Layer → bool [d_sae]: the features of a set.
FeatureSet = Mapping[int, Bool]

_RESAMPLES = 2000
_ENOUGH = 0.8


@dataclass(frozen=True)
class Share:
    """A share of the behaviour with its 95 % interval (bootstrap over groups of prompts, and over draws where there are several)."""

    value: float
    ci_low: float
    ci_high: float


@dataclass(frozen=True)
class CurvePoint:
    """The ``size`` features of largest attribution, and as many random ones with as many in each layer."""

    size: int
    faithfulness: Share
    completeness: Share
    random_faithfulness: Share


@dataclass(frozen=True)
class Faithfulness:
    """What a subgraph's features carry of a behaviour.

    Attributes:
        full: m(M), in units of the metric.
        empty: m(∅): what is left with every feature of every analysed site mean-ablated.
        size: Features of the subgraph.
        faithfulness: Of the subgraph.
        completeness: Of the subgraph.
        random_faithfulness: The same for random features that are active on the prompts, as many in each layer.
        random_completeness: The same.
        curve: Over the size, by falling attribution.
        size_for_80: Features of largest attribution that give 80 % of m(M) − m(∅), interpolated on the logarithm of the size; None where
            no size does, or where the features carry nothing to begin with.
        active: Features active on the prompts: the largest size.
        prompts: Held-out prompts.
        groups: Their groups.
    """

    full: float
    empty: float
    size: int
    faithfulness: Share
    completeness: Share
    random_faithfulness: Share
    random_completeness: Share
    curve: tuple[CurvePoint, ...]
    size_for_80: float | None
    active: int
    prompts: int
    groups: int


class FeatureKeeper:
    """Runs prompts with some features as they are and the others at their means.

    Args:
        model: The model and its dictionaries.
        choosing: Prompts that the means are taken over.
    """

    def __init__(self, model: BehaviorModel, choosing: ReadPrompts) -> None:
        self.model = model
        self.means = _means(model, (choosing.clean, choosing.corrupted))

    @torch.no_grad()
    def metric(self, prompts: PromptTokens, kept: FeatureSet) -> Float:
        """The metric of each prompt [n] with every feature outside ``kept`` mean-ablated.

        Args:
            prompts: Prompts.
            kept: Layer → bool [d_sae]; a layer that is not named keeps nothing.
        """
        codecs, removed = self.model.codecs, {layer: np.flatnonzero(out) for layer, out in self.all_but(kept).items()}
        named = {layer: index for layer, index in removed.items() if len(index)}
        logits = ablate(self.model.slices, codecs, prompts.tokens, named, prompts.last, prompts.mask(), self.means)
        return prompts.metric(logits).double().cpu().numpy()

    def all_but(self, kept: FeatureSet) -> dict[int, Bool]:
        """The complement of a set."""
        return {layer: ~kept.get(layer, np.zeros(codec.d_sae, bool)) for layer, codec in self.model.codecs.items()}


def measure_faithfulness(
    model: BehaviorModel,
    choosing: ReadPrompts,
    held_out: PromptTokens,
    members: Mapping[int, Sequence[int]],
    ranking: Mapping[int, Float],
    *,
    n_random: int = 6,
    n_sizes: int = 9,
    seed: int = 0,
    keeper: FeatureKeeper | None = None,
) -> Faithfulness:
    """Faithfulness and completeness of a subgraph, and of the strongest features by attribution over their number.

    Args:
        model: The model and its dictionaries.
        choosing: Prompts that means and ranking come from.
        held_out: Prompts that are measured on.
        members: Layer → indices of the subgraph's features.
        ranking: Layer → attribution [d_sae]; its magnitude orders the features of the curve.
        n_random: Random sets a size, for the subgraph; half as many for each size of the curve, at least two.
        n_sizes: Sizes of the curve, geometric up to all active features.
        seed: Seed of the random sets and of the intervals.
        keeper: The means over ``choosing``, if they are known.
    """
    keeper = keeper or FeatureKeeper(model, choosing)
    measure = _Shares(keeper, held_out, derived_seed(seed, "faithfulness"))
    chosen = _as_set(model, members)
    active = {layer: np.asarray(mean.cpu().numpy() > 0) for layer, mean in keeper.means.items()}
    order = _ordered(ranking, active)
    draws = [measure.random_like(chosen, active) for _ in range(n_random)]
    curve = tuple(measure.point(order[:size], active, max(2, n_random // 2)) for size in _sizes(len(order), n_sizes))
    return Faithfulness(
        full=float(measure.full.mean()),
        empty=float(measure.empty.mean()),
        size=int(sum(mask.sum() for mask in chosen.values())),
        faithfulness=measure.faithfulness([chosen]),
        completeness=measure.completeness([chosen]),
        random_faithfulness=measure.faithfulness(draws),
        random_completeness=measure.completeness(draws),
        curve=curve,
        size_for_80=size_for(_ENOUGH, [p.size for p in curve], [p.faithfulness.value for p in curve]),
        active=len(order),
        prompts=len(held_out),
        groups=len(measure.full),
    )


class _Shares:
    """Shares of one behaviour on its held-out prompts; everything is averaged within groups first."""

    def __init__(self, keeper: FeatureKeeper, prompts: PromptTokens, seed: int) -> None:
        self.keeper, self.prompts = keeper, prompts
        self.rng = np.random.default_rng(seed)
        everything = keeper.all_but({})
        self.full, self.empty = self._groups(everything), self._groups({})
        self._rows = self.rng.integers(len(self.full), size=(_RESAMPLES, len(self.full)))

    def _groups(self, kept: FeatureSet) -> Float:
        return document_means(self.keeper.metric(self.prompts, kept), self.prompts.groups).values

    def faithfulness(self, sets: Sequence[FeatureSet]) -> Share:
        return self._share(np.stack([self._groups(kept) for kept in sets]) - self.empty)

    def completeness(self, sets: Sequence[FeatureSet]) -> Share:
        return self._share(self.full - np.stack([self._groups(self.keeper.all_but(kept)) for kept in sets]))

    def _share(self, parts: Float) -> Share:
        """Mean of ``parts`` [draws, groups] over the mean of full − empty, with a bootstrap over both axes."""
        whole = self.full - self.empty
        drawn = self.rng.integers(len(parts), size=(_RESAMPLES, len(parts)))
        with np.errstate(divide="ignore", invalid="ignore"):
            resampled = np.stack([parts[d][:, r].mean() / whole[r].mean() for d, r in zip(drawn, self._rows, strict=True)])
            value = float(parts.mean() / whole.mean())
        low, high = np.nanquantile(resampled, (0.025, 0.975)) if np.isfinite(resampled).any() else (np.nan, np.nan)
        return Share(value, float(low), float(high))

    def point(self, features: Sequence[tuple[int, int]], active: FeatureSet, n_random: int) -> CurvePoint:
        kept = _as_set(self.keeper.model, indices_by_layer(features))
        draws = [self.random_like(kept, active) for _ in range(n_random)]
        return CurvePoint(len(features), self.faithfulness([kept]), self.completeness([kept]), self.faithfulness(draws))

    def random_like(self, like: FeatureSet, active: FeatureSet) -> dict[int, Bool]:
        """As many random features in each layer, of those that are active (of all, where these are too few)."""
        drawn = {}
        for layer, mask in like.items():
            n = int(mask.sum())
            pool = np.flatnonzero(active[layer])
            pool = pool if len(pool) >= n else np.arange(len(mask))
            drawn[layer] = np.zeros(len(mask), bool)
            drawn[layer][self.rng.choice(pool, n, replace=False)] = True
        return drawn


def size_for(share: float, sizes: Sequence[int], shares: Sequence[float]) -> float | None:
    """The size from which on the curve stays at ``share`` or above, interpolated on the logarithm of the size; None if it ends below."""
    below = [i for i, value in enumerate(shares) if not value >= share]
    if not sizes or (below and below[-1] == len(sizes) - 1):
        return None
    if not below:
        return float(sizes[0])
    i = below[-1]
    low, high = np.log(sizes[i]), np.log(sizes[i + 1])
    at = (share - shares[i]) / (shares[i + 1] - shares[i]) if np.isfinite(shares[i]) else 1.0
    return float(np.exp(low + at * (high - low)))


@torch.no_grad()
def _means(model: BehaviorModel, parts: Sequence[PromptTokens]) -> dict[int, Tensor]:
    """Layer → mean activation [d_sae] over the editable positions of all prompts."""
    sums: dict[int, Tensor] = {}
    n = 0
    for prompts in parts:
        mask, reads = prompts.mask().to(model.slices.device), model.clean(prompts).reads
        n += int(mask.sum())
        for layer, codec in model.codecs.items():
            found = recorded(codec, reads[layer][mask]).sum(dim=0)
            sums[layer] = sums[layer] + found if layer in sums else found
    return {layer: total / max(n, 1) for layer, total in sums.items()}


def _as_set(model: BehaviorModel, members: Mapping[int, Sequence[int]]) -> dict[int, Bool]:
    made = {layer: np.zeros(codec.d_sae, bool) for layer, codec in model.codecs.items()}
    for layer, indices in members.items():
        made[layer][np.asarray(indices, dtype=np.int64)] = True
    return made


def _ordered(ranking: Mapping[int, Float], active: FeatureSet) -> list[tuple[int, int]]:
    """(layer, index) of the active features by falling |attribution|."""
    found = [(-abs(values[i]), layer, int(i)) for layer, values in ranking.items() for i in np.flatnonzero(active[layer])]
    return [(layer, index) for _, layer, index in sorted(found)]


def _sizes(most: int, n: int) -> list[int]:
    return sorted({round(size) for size in np.geomspace(min(10, most), most, n)}) if most else []
