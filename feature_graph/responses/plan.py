"""Which features are measured at which tokens, decided before any forward pass."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from feature_graph.activations import SampleRows, active_rows, document_priority, draw_samples
from feature_graph.artifacts import SELECT, ResponseSources, feature_id, halve_documents
from feature_graph.interventions import CLEAN_BYTES, MeasureError, MeasurementContext
from feature_graph.utils import derived_seed

log = logging.getLogger(__name__)
Ints = NDArray[np.int64]
#: A decoder row shorter than this writes nothing.
_DEAD_ROW = 0.5


@dataclass(frozen=True)
class LayerSamples:
    """The sources of one site and their samples; the samples of source k are ``starts[k]`` to ``starts[k + 1]``.

    Attributes:
        index: int64 [n], features, ascending.
        starts: int64 [n + 1].
        documents: int64 [m].
        positions: int64 [m].
        half: int64 [m], half of the documents (0 or 1) that the sample's document belongs to.
        weight: float64 [m], share of the sample in the mean of its half: each document counts alike, and each token of a document.
    """

    index: Ints
    starts: Ints
    documents: Ints
    positions: Ints
    half: Ints
    weight: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.index)

    def part(self, first: int, stop: int) -> LayerSamples:
        """Sources ``first`` to ``stop - 1``."""
        rows = slice(int(self.starts[first]), int(self.starts[stop]))
        columns = (getattr(self, name)[rows] for name in ("documents", "positions", "half", "weight"))
        return LayerSamples(self.index[first:stop], self.starts[first : stop + 1] - self.starts[first], *columns)

    def owners(self) -> Ints:
        """The source of each sample, int64 [m]."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def counts(self) -> ResponseSources:
        """Tokens and documents of each source."""
        keys = np.unique(np.stack([self.owners(), self.half, self.documents]), axis=1)
        n_documents = np.zeros((len(self), 2), dtype=np.int32)
        np.add.at(n_documents, (keys[0], keys[1]), 1)
        return ResponseSources(self.index.astype(np.int32), np.diff(self.starts).astype(np.int32), n_documents)


@dataclass(frozen=True)
class ResponsePlan:
    """What is measured.

    Attributes:
        samples: Layer → its sources; layers without a later site, or without a source, are missing.
        later: Layer → later layers, in order.
        documents: int64 [n], documents of the clean run, ascending.
        left_out: Layer → reason → features that are not measured.
        next_only: Whether ``later`` holds the next layer alone.
    """

    samples: dict[int, LayerSamples]
    later: dict[int, list[int]]
    documents: Ints
    left_out: dict[int, dict[str, int]] = field(default_factory=dict)
    next_only: bool = False

    @property
    def n_sources(self) -> int:
        """Sources of all sites."""
        return sum(map(len, self.samples.values()))


def plan_responses(
    context: MeasurementContext,
    chosen: Mapping[int, Sequence[int]] | None = None,
    clean_bytes: int = CLEAN_BYTES,
    next_only: bool = False,
) -> ResponsePlan:
    """Draw the samples of every feature that can be measured.

    Args:
        context: Model, dictionaries and text.
        chosen: Layer → features to try; all if None.
        clean_bytes: Memory for the clean run. With more select documents than fit, samples come from the first of the order in which every
            source goes through them.
        next_only: Whether each source is followed to the next site alone.

    Raises:
        MeasureError: If ``chosen`` names features that do not exist, or no feature can be measured.
    """
    store, cfg, model = context.store, context.cfg, context.model
    later = {layer: model.later(layer) for layer in context.codecs}
    later = {layer: found[:1] if next_only else found for layer, found in later.items() if found}
    among = _documents(context, later, clean_bytes)
    order = np.random.default_rng(derived_seed(cfg.seed, "tokens")).random(store.tokens.size)
    samples: dict[int, LayerSamples] = {}
    left_out: dict[int, dict[str, int]] = {}
    for layer in later:
        wanted = _wanted(context, layer, chosen)
        found, left_out[layer] = _layer_samples(context, layer, wanted, among, order)
        if len(found):
            samples[layer] = found
    if not samples:
        raise MeasureError(
            f"responses: no feature is active in {cfg.response_documents} select documents; collect more text or lower response_documents"
        )
    return ResponsePlan(samples, later, np.unique(np.concatenate([s.documents for s in samples.values()])), left_out, next_only)


def _wanted(context: MeasurementContext, layer: int, chosen: Mapping[int, Sequence[int]] | None) -> Ints:
    width = context.codecs[layer].d_sae
    wanted = np.arange(width) if chosen is None else np.unique(np.asarray(chosen.get(layer, ()), dtype=np.int64))
    wrong = wanted[(wanted < 0) | (wanted >= width)]
    if len(wrong):
        raise MeasureError(f"sources: {feature_id(layer, int(wrong[0]))} does not exist; that SAE has {width} features")
    return wanted


def _documents(context: MeasurementContext, later: Mapping[int, list[int]], limit: int) -> NDArray[np.bool_]:
    """Select documents that samples may come from: as many as the clean run has memory for."""
    store = context.store
    room = max(1, limit // context.document_bytes([layer, *found] for layer, found in later.items()))
    mine = np.flatnonzero(store.splits == SELECT)
    first = mine[np.argsort(document_priority(store, context.cfg)[mine])][:room]
    if len(first) < len(mine):
        log.warning(
            "samples come from %d of %d select documents: the clean run of more does not fit into %.1f GB",
            len(first), len(mine), limit / 1e9,
        )  # fmt: skip
    among = np.zeros(len(store.tokens), dtype=bool)
    among[first] = True
    return among


def _layer_samples(
    context: MeasurementContext, layer: int, wanted: Ints, among: NDArray[np.bool_], order: NDArray[np.float64]
) -> tuple[LayerSamples, dict[str, int]]:
    store, cfg = context.store, context.cfg
    priority, written = document_priority(store, cfg), context.codecs[layer].w_dec.norm(dim=1).cpu().numpy() > _DEAD_ROW
    kept: dict[int, SampleRows] = {}
    reasons = {"its decoder row is 0": 0, f"active in fewer than {cfg.response_documents} select documents": 0}
    dead, rare = reasons
    for at in active_rows(store, layer, wanted):
        mine = np.flatnonzero(among[at.documents])
        drawn = draw_samples(at.documents, at.positions, at.values, mine, priority, order[at.rows], cfg.response_samples)
        reason = dead if not written[at.index] else rare if drawn.n_documents < cfg.response_documents else ""
        if reason:
            reasons[reason] += 1
        else:
            kept[at.index] = drawn
    return _together(kept, halve_documents(len(store.tokens), cfg.seed)), {r: n for r, n in reasons.items() if n}


def _together(drawn: Mapping[int, SampleRows], halves: NDArray[np.uint8]) -> LayerSamples:
    index = np.array(list(drawn), dtype=np.int64)
    starts = np.cumsum([0, *map(len, drawn.values())]).astype(np.int64)
    none = np.zeros(0, dtype=np.int64)
    documents, positions = (np.concatenate([none, *(getattr(d, name) for d in drawn.values())]) for name in ("documents", "positions"))
    half = halves[documents].astype(np.int64)
    owner = np.repeat(np.arange(len(index)), np.diff(starts))
    _, of, tokens = np.unique(owner * len(halves) + documents, return_inverse=True, return_counts=True)  # a source in a document
    each = 1.0 / tokens[of]
    in_half = np.bincount(2 * owner + half, weights=each, minlength=2 * len(index))  # documents of a source in a half
    return LayerSamples(index, starts, documents, positions, half, each / in_half[2 * owner + half])
