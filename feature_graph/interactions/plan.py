"""What will be measured, decided before any forward pass: sources with their levels and samples, targets, and who is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_graph.activations import SampleRows, active_rows, document_priority, draw_samples
from feature_graph.artifacts import CONFIRM, SELECT, TEST, ActivationStore, feature_id, is_component_key
from feature_graph.config import Config
from feature_graph.dictionaries import SiteCodec
from feature_graph.interactions.directions import RandomDirections
from feature_graph.interactions.smallest import SmallestEffect
from feature_graph.utils import derived_seed

Ints = NDArray[np.int64]
#: Fields of the configuration that a source's levels, its samples and its effects' tests depend on.
SAMPLING = frozenset(
    {
        "layers",
        "layer_window",
        "n_intervention_samples",
        "clamp_high_quantile",
        "clamp_low",
        "position_horizon",
        "min_documents",
        "min_effect",
        "min_effect_sd",
        "n_placebo",
        "activity_threshold",
        "seed",
    }
)
#: A clamp shorter than this share of the mean residual norm is lost in rounding.
SMALLEST_CLAMP = 1e-4
#: Mark of documents that no sample may come from.
_NOWHERE = -1


@dataclass(frozen=True)
class Source:
    """One source: its clamp levels (activation units) and its samples."""

    layer: int
    index: int
    low: float
    high: float
    test: SampleRows
    confirm: SampleRows

    @property
    def id(self) -> str:
        """Short id."""
        return feature_id(self.layer, self.index)


@dataclass(frozen=True)
class Plan:
    """What is measured.

    Attributes:
        sources: Layer → sources, by index.
        asked: (source layer, source index) → {target layer → indices asked for, ascending}.
        left_out: Short id of a source that is not measured → why.
        n_pairs: Pairs that will be tested.
        smallest: The smallest effect that counts.
        part: Beginning of the names of its part files.
        random: Random directions that sources are compared with; None: they are not.
    """

    sources: dict[int, list[Source]]
    asked: dict[tuple[int, int], dict[int, Ints]]
    left_out: dict[str, str] = field(default_factory=dict)
    n_pairs: int = 0
    smallest: SmallestEffect = field(default_factory=SmallestEffect)
    part: str = ""
    random: RandomDirections | None = None

    def targets(self, layer: int) -> dict[int, Ints]:
        """Union of the targets asked for by the sources of a layer: target layer → indices, ascending."""
        union: dict[int, list[Ints]] = {}
        for source in self.sources.get(layer, []):
            for target, indices in self.asked[layer, source.index].items():
                union.setdefault(target, []).append(indices)
        return {target: np.unique(np.concatenate(parts)) for target, parts in sorted(union.items())}

    def window(self, layer: int, layers: Iterable[int]) -> list[int]:
        """Those of the analysed ``layers``, ascending, that lie between a source layer and its farthest target, both included."""
        targets = self.targets(layer)
        if is_component_key(layer):  # sites in between are no part of what is measured
            return [layer, *sorted(targets)]
        return [n for n in layers if layer <= n <= max(targets)]

    def reasons(self) -> dict[str, int]:
        """Why sources were left out → how many."""
        return dict(Counter(reason for reason in self.left_out.values()).most_common())


def make_plan(
    store: ActivationStore, pairs: pd.DataFrame, codecs: Mapping[int, SiteCodec], norms: Mapping[int, float], cfg: Config
) -> Plan:
    """Levels from the select documents, samples from the test and confirm documents.

    Args:
        store: Recorded activations.
        pairs: Columns src_layer, src_index, tgt_layer, tgt_index.
        codecs: Layer → dictionary.
        norms: Layer → mean residual norm.
        cfg: The configuration.
    """
    asked = _asked(pairs)
    sources: dict[int, list[Source]] = {}
    left_out: dict[str, str] = {}
    for layer in sorted({key[0] for key in asked}):
        indices = np.array(sorted(index for n, index in asked if n == layer), dtype=np.int64)
        found, refused = layer_sources(store, layer, indices, codecs[layer], norms[layer], cfg)
        left_out |= refused
        if found:
            sources[layer] = found
    n_pairs = sum(len(t) for (n, i), by in asked.items() if feature_id(n, i) not in left_out for t in by.values())
    return Plan(sources, asked, left_out, n_pairs, SmallestEffect.of(cfg, store))


def layer_sources(
    store: ActivationStore,
    layer: int,
    indices: Ints,
    codec: SiteCodec,
    norm: float,
    cfg: Config,
    among: NDArray[np.bool_] | None = None,
) -> tuple[list[Source], dict[str, str]]:
    """Levels and samples of some features of a layer.

    Args:
        store: Recorded activations.
        layer: The layer.
        indices: int64 [n], features, ascending.
        codec: Their dictionary.
        norm: Mean residual norm there.
        cfg: The configuration.
        among: bool [n_docs], documents that test and confirmation samples may come from; all if None.

    Returns:
        The sources, by index, and short id → why of those that cannot be measured.
    """
    sources: list[Source] = []
    left_out: dict[str, str] = {}
    priority = document_priority(store, cfg)
    for index, active in active_tokens(store, layer, indices, cfg, among):
        found = _source(layer, index, active, priority, cfg)
        reason = found if isinstance(found, str) else _too_small(found, codec, norm)
        if isinstance(found, Source) and reason is None:
            sources.append(found)
        else:
            left_out[feature_id(layer, index)] = str(reason)
    return sources, left_out


def without_broken(plan: Plan, rows: pd.DataFrame) -> Plan:
    """The plan without the sources that gave no rows, since the model overflowed under their clamp; they are counted."""
    measured = set(zip(rows["src_layer"], rows["src_index"], strict=True)) if len(rows) else set()
    sources = {n: [s for s in found if (n, s.index) in measured] for n, found in plan.sources.items()}
    broken = [s for n, found in plan.sources.items() for s in found if (n, s.index) not in measured]
    left_out = plan.left_out | {s.id: "the model gives NaN or infinity under its clamp" for s in broken}
    lost = sum(len(indices) for s in broken for indices in plan.asked[s.layer, s.index].values())
    return replace(plan, sources=sources, left_out=left_out, n_pairs=plan.n_pairs - lost)


def _asked(pairs: pd.DataFrame) -> dict[tuple[int, int], dict[int, Ints]]:
    asked: dict[tuple[int, int], dict[int, Ints]] = {}
    keys = ["src_layer", "src_index", "tgt_layer"]
    by_key: dict[Any, Any] = pairs.groupby(keys, sort=True).indices
    for (layer, index, target), where in by_key.items():
        asked.setdefault((int(layer), int(index)), {})[int(target)] = np.unique(pairs["tgt_index"].to_numpy(np.int64)[where])
    return asked


@dataclass(frozen=True)
class ActiveTokens:
    """Every token at which a feature is active; all [n].

    Attributes:
        documents: Of each.
        positions: Of each.
        values: Activations there.
        split: Part of the text that the document belongs to.
        order: In which positions of a document are drawn.
    """

    documents: Ints
    positions: Ints
    values: NDArray[np.float32]
    split: Ints
    order: NDArray[np.float64]

    def draw(self, part: int, n: int, priority: Ints) -> SampleRows:
        """Up to ``n`` samples of a part, distinct documents first; the first ones are the same for every ``n``."""
        rows = np.flatnonzero(self.split == part)
        return draw_samples(self.documents, self.positions, self.values, rows, priority, self.order, n)


def active_tokens(
    store: ActivationStore, layer: int, indices: Ints, cfg: Config, among: NDArray[np.bool_] | None = None
) -> Iterator[tuple[int, ActiveTokens]]:
    """Where some features of a layer are active, one after the other; the arguments are those of :func:`layer_sources`."""
    split = store.splits.astype(np.int64)
    if among is not None:
        split[~among & (split != SELECT)] = _NOWHERE
    for at in active_rows(store, layer, indices):
        order = np.random.default_rng(derived_seed(cfg.seed, "samples", layer, at.index)).random(len(at.rows))
        yield at.index, ActiveTokens(at.documents, at.positions, at.values, split[at.documents], order)


def half_of(n: int) -> int:
    """Samples of the confirmation part, which has half as many documents as the test part."""
    return (n + 1) // 2


def _source(layer: int, index: int, active: ActiveTokens, priority: Ints, cfg: Config) -> Source | str:
    """The source, or why it cannot be measured."""
    select = active.split == SELECT
    if not len(active.split):
        return "never active"
    if not select.any():
        return "never active on the select documents, so there is no high level"
    n = cfg.n_intervention_samples
    test, confirm = active.draw(TEST, n, priority), active.draw(CONFIRM, half_of(n), priority)
    if test.n_documents < cfg.min_documents:
        return f"active in fewer than {cfg.min_documents} test documents"
    high = float(np.quantile(active.values[select].astype(np.float64), cfg.clamp_high_quantile))
    if not high > cfg.clamp_low:
        return "its high level is not above clamp_low"
    return Source(layer, index, cfg.clamp_low, high, test, confirm)


def _too_small(source: Source, codec: SiteCodec, norm: float) -> str | None:
    length = (source.high - source.low) * float(codec.w_dec[source.index].norm())
    if length < SMALLEST_CLAMP * norm:
        return f"its clamp is shorter than {SMALLEST_CLAMP:g} of the mean residual norm"
    return None
