"""Does the graph forecast what steering does? Steer features in the model, measure every feature in reach, and compare.

1. Sources: a random sample of the features that have structural edges, and the hubs (most structural edges out of them).
2. A source is steered by an additive delta, a multiple of its mean activation where active, at one position at which it is active, in
   documents of the confirm split: no strength in the graph was measured there, and no clamp that measured one had this size or sign.
3. Measured is the mean change, over documents, of EVERY feature that the forecast reaches within the hops, whether it changes or not.
4. Placebo: a random direction of the decoder row's norm is added by the same amounts at the same positions; the source's forecast should
   say nothing about that.
5. In addition to the forecast, on the same pairs: the cosine of the decoder rows (of what they add to the residual stream), the slope of
   target on source over the select documents (co-activation), and the gated Jacobian at samples of the select documents. All are times the
   delta.

Pairs are grouped by the hop at which the forecast first reaches them. Hop 1 repeats, in essence, the measurement of the edge itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import torch

from feature_graph.artifacts import CONFIRM, SELECT, ActivationStore, feature_id, feature_key
from feature_graph.config import Config
from feature_graph.dictionaries import Dictionaries, HookedModel
from feature_graph.graph import structural
from feature_graph.interventions import (
    AnalysedModel,
    Clamps,
    DirectionTokens,
    Perturber,
    Reading,
    SamplePositions,
    carry_site_directions,
    jacobian_effects,
    random_directions,
)
from feature_graph.steering.cascade import predict_cascade
from feature_graph.steering.changes import MeanChange, mean_changes
from feature_graph.steering.effects import Floats
from feature_graph.steering.errors import SteeringError
from feature_graph.steering.experiment import check_layers
from feature_graph.steering.propagation import NO_INTERVALS
from feature_graph.steering.results.cascade import Cascade
from feature_graph.steering.samples import SplitSamples, SteeringSamples, by_layer
from feature_graph.utils import derived_seed, progress

#: Multiples of a source's mean activation: the first is what figures are of; the others show where the forecast fails.
MULTIPLES = (-0.5, 0.5, 1.0, 2.0, 4.0)
#: A direct edge is dominated by copying where the identity path alone gives more than this share of it.
COPY_SHARE = 0.5
BASELINES = ("decoder_cosine", "coactivation", "jacobian")
#: The cosine of a direction that adds nothing to the stream is 0.
_NOTHING = 1e-12


@dataclass(frozen=True)
class CascadePairs:
    """Forecast and measurement of many steerings.

    Attributes:
        pairs: One row per kind of source, source, target and delta: ``kind`` (random, hub), ``source``, ``target``, ``hop``, ``multiple``,
            ``delta`` (activation units of the source), ``forecast``, ``forecast_computed`` (copy-dominated edges left out; NaN where the
            target is then not reached) and its ``hop_computed``, ``measured`` and ``se`` (activation units of the target),
            ``placebo`` and ``placebo_se``, ``decoder_cosine``, ``coactivation``, ``jacobian``, ``pass_through`` (change of the target if
            only the added direction itself arrived; for a target on the MLP's input through the norm before it, on average).
        unreached: For each source and delta, the summed |measured| of reached and of all other analysed features downstream of the source:
            ``source``, ``multiple``, ``reached``, ``others``.
    """

    pairs: pd.DataFrame
    unreached: pd.DataFrame

    def measured(self, source: str, multiple: float) -> dict[str, float]:
        """Target → measured change under one steer of one source; empty if it was not made.

        Args:
            source: Id.
            multiple: Of the source's mean activation.
        """
        chosen = self.pairs[(self.pairs["source"] == source) & (self.pairs["multiple"] == multiple)]
        return dict(zip(chosen["target"], chosen["measured"], strict=True))


def validate_cascade(
    model: HookedModel | AnalysedModel,
    saes: Dictionaries,
    G: nx.DiGraph,
    store: ActivationStore,
    cfg: Config | None = None,
    *,
    n_sources: int = 60,
    n_hubs: int = 10,
    multiples: Sequence[float] = MULTIPLES,
    max_documents: int = 24,
    min_documents: int = 6,
) -> CascadePairs:
    """Steer features of the graph in the model and compare with :func:`predict_cascade`.

    Args:
        model: A HookedTransformer, or the :class:`AnalysedModel` made of it and the SAEs.
        saes: Layer → SAELens SAE; or name of the site → SAELens SAE or transcoder.
        G: Interaction graph of the same run.
        store: Recorded activations of the same run.
        cfg: Configuration of the run; gives the seed.
        n_sources: Random sources; all that can be steered if there are fewer.
        n_hubs: Hubs besides, by structural edges out; they are not among the random sources.
        multiples: Deltas, in units of the source's mean activation where active.
        max_documents: Documents in which each source is steered, at one position each.
        min_documents: Sources active in fewer confirm documents are left out.

    Raises:
        SteeringError: If no feature of the graph can be steered, or the graph is of other layers.
    """
    seed = derived_seed(cfg.seed if cfg is not None else 0, "validate cascade")
    validation = _CascadeValidation(AnalysedModel.of(model, saes, cfg, components=True), store, G, seed)
    kinds = validation.sources(n_sources, n_hubs, max_documents, min_documents)
    if not kinds:
        raise SteeringError(
            f"no feature of the graph can be steered: none that has a structural edge out of it is active in {min_documents} documents of "
            "the confirm and of the select split; collect more text, or lower min_documents"
        )
    tables: list[pd.DataFrame] = []
    unreached: list[pd.DataFrame] = []
    for source, kind in progress(kinds.items(), "steering", len(kinds)):
        pairs, others = validation.compare(source, multiples)
        tables.append(pairs.assign(kind=kind))
        unreached.append(others)
    return CascadePairs(pd.concat(tables, ignore_index=True), pd.concat(unreached, ignore_index=True))


class _CascadeValidation:
    """One analysed model and graph; the clean runs over both splits' documents are made at first use."""

    def __init__(self, analysed: AnalysedModel, store: ActivationStore, G: nx.DiGraph, seed: int) -> None:
        check_layers(G, analysed.codecs)
        self.analysed, self.store, self.G = analysed, store, G
        self.rng = np.random.default_rng(seed)
        self.samples = SteeringSamples(store, self.rng)
        self.computed, self.features = _without_copies(G), by_layer(G, analysed.codecs)
        self._perturbers: dict[int, Perturber] = {}
        self._of_source: dict[str, SplitSamples] = {}

    def sources(self, n_random: int, n_hubs: int, most: int, least: int) -> dict[str, str]:
        """Source → random or hub, of those active in enough documents."""
        degree = {node: d for node, d in structural(self.G).out_degree() if d}
        for node in sorted(degree):
            found = self.samples.of_source(node, most, least)
            if found is not None:
                self._of_source[node] = found
        hubs = sorted(self._of_source, key=lambda node: (-degree[node], node))[:n_hubs]
        others = [node for node in self._of_source if node not in set(hubs)]
        drawn = self.rng.choice(len(others), min(n_random, len(others)), replace=False)
        return dict.fromkeys(hubs, "hub") | {others[i]: "random" for i in sorted(drawn)}

    def _perturber(self, split: int) -> Perturber:
        if split not in self._perturbers:
            self._perturbers[split] = Perturber(self.analysed, self.store.tokens[self.samples.documents[split]])
        return self._perturbers[split]

    def compare(self, source: str, multiples: Sequence[float]) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Rows of ``pairs`` and of ``unreached`` for one source."""
        layer, index = feature_key(source, self.analysed.codecs)
        deltas = [m * float(self.store.mean_activations[layer][index]) for m in multiples]
        one, computed = (
            predict_cascade(graph, source, 1.0, min_effect=0.0, top_paths=0, uncertainty=NO_INTERVALS, by="paths")
            for graph in (self.G, self.computed)
        )
        direction = self.analysed.codecs[layer].w_dec[index]
        random = random_directions(1, len(direction), self.rng, direction.norm())[0]
        samples, perturber = self._of_source[source], self._perturber(CONFIRM)
        steered, placebo = (mean_changes(perturber, layer, d, deltas, samples.confirm, self.features) for d in (direction, random))
        nodes = [feature_id(n, i) for n in perturber.analysed.later(layer) if n in steered for i in self.features[n]]
        moved, other = (_joined(part, len(deltas)) for part in (steered, placebo))
        reached = np.array([node in one.effects for node in nodes], dtype=bool)
        targets = [node for node in nodes if node in one.effects]
        baselines = self._baselines(source, targets, samples)
        frames = [
            _pairs(source, targets, one, computed, delta).assign(
                multiple=multiple,
                measured=moved.mean[k, reached],
                se=moved.se[k, reached],
                placebo=other.mean[k, reached],
                placebo_se=other.se[k, reached],
                **{name: values * delta for name, values in baselines.items()},
            )
            for k, (multiple, delta) in enumerate(zip(multiples, deltas, strict=True))
        ]
        return pd.concat(frames, ignore_index=True), _unreached(source, multiples, np.abs(moved.mean), reached)

    def _baselines(self, source: str, targets: Sequence[str], samples: SplitSamples) -> dict[str, Floats]:
        """Change of each target for one unit of the source, by other means; [targets]."""
        layer, index = feature_key(source, self.analysed.codecs)
        members = by_layer(targets, self.analysed.codecs)
        derived = self._derived(layer, index, members, samples.select)
        found: dict[str, list[float]] = {"decoder_cosine": [], "coactivation": [], "pass_through": [], "jacobian": []}
        written = self.analysed.codecs[layer].stream_directions([index])[0]
        for target in targets:
            n, i = feature_key(target, self.analysed.codecs)
            row = self.analysed.codecs[n].stream_directions([i])[0]
            found["decoder_cosine"].append(float(written @ row / (written.norm() * row.norm()).clamp(min=_NOTHING)))
            found["coactivation"].append(self.samples.slope(source, target))
            for name in ("pass_through", "jacobian"):
                found[name].append(derived[n][name][members[n].index(i)])
        return {name: np.array(values) for name, values in found.items()}

    def _derived(
        self, layer: int, index: int, members: Mapping[int, Sequence[int]], at: SamplePositions
    ) -> dict[int, dict[str, list[float]]]:
        """Later layer → of each of its members, per unit of the source: what arrives of the direction alone, and the gated derivative."""
        later = self.analysed.later(layer)
        device = self.analysed.slices.device
        path = [Reading(self.analysed.codecs[n], torch.as_tensor(members.get(n, []), dtype=torch.long, device=device)) for n in later]
        derive = self._between_sites if self.analysed.has_components else self._between_streams
        return dict(zip(later, derive(layer, index, path, at), strict=True))

    def _between_streams(self, layer: int, index: int, path: Sequence[Reading], at: SamplePositions) -> Iterator[dict[str, list[float]]]:
        perturber, codec, slices = self._perturber(SELECT), self.analysed.codecs[layer], self.analysed.slices
        direction = codec.w_dec[index]
        zero = torch.zeros(len(at), dtype=slices.dtype, device=slices.device)
        clamps = Clamps(*perturber.located(at), direction.to(slices.dtype).expand(len(at), -1), zero, zero)
        counted = torch.as_tensor(self.store.valid[self.samples.documents[SELECT]], device=slices.device)
        found = jacobian_effects(slices, perturber.clean, codec.site.point, clamps, path, 0, counted, mode="forward")
        for reading, effects in zip(path, found, strict=True):
            features = [] if reading.features is None else reading.features.tolist()
            straight = [float(direction.to(reading.codec.w_enc.dtype) @ reading.codec.w_enc[:, i]) for i in features]
            yield {"pass_through": straight, "jacobian": effects.total.double().mean(dim=0).tolist()}

    def _between_sites(self, layer: int, index: int, path: Sequence[Reading], at: SamplePositions) -> Iterator[dict[str, list[float]]]:
        perturber, codec = self._perturber(SELECT), self.analysed.codecs[layer]
        tokens = DirectionTokens(*perturber.located(at), torch.arange(len(at), device=codec.device))
        directions = codec.w_dec[index].expand(len(at), -1)
        sites = [reading.codec.site for reading in path]
        found = carry_site_directions(self.analysed.slices, perturber.clean, codec.site, tokens, directions, sites)
        for reading, arrivals in zip(path, found, strict=True):
            target, asked = reading.codec, reading.features
            readers = target.w_enc if asked is None else target.w_enc.T[asked].T
            gate = target.gate(target.preactivation(arrivals.clean.to(readers.dtype), asked), asked)
            straight, whole = (x.to(readers.dtype) @ readers for x in (arrivals.carried, arrivals.arrived))
            yield {name: x.double().mean(dim=0).tolist() for name, x in (("pass_through", straight), ("jacobian", gate * whole))}


def _joined(changes: Mapping[int, MeanChange], n: int) -> MeanChange:
    """The features of all layers side by side, for ``n`` deltas."""
    parts = list(changes.values())
    return MeanChange(*(np.concatenate([np.zeros((n, 0)), *(getattr(part, name) for part in parts)], axis=1) for name in ("mean", "se")))


def _pairs(source: str, targets: list[str], one: Cascade, computed: Cascade, delta: float) -> pd.DataFrame:
    """The forecast's columns of ``pairs``, from the forecasts for one unit of the source."""
    return pd.DataFrame(
        {
            "source": source,
            "target": targets,
            "hop": [one.hops[n] for n in targets],
            "hop_computed": [computed.hops.get(n, 0) for n in targets],
            "multiple": np.nan,
            "delta": delta,
            "forecast": [one.effects[n] * delta for n in targets],
            "forecast_computed": [computed.effects.get(n, np.nan) * delta for n in targets],
        }
    )


def _unreached(source: str, multiples: Sequence[float], size: Floats, reached: Any) -> pd.DataFrame:
    """``CascadePairs.unreached`` of one source; ``size`` is |measured change|, [deltas, features]."""
    return pd.DataFrame(
        {"source": source, "multiple": multiples, "reached": size[:, reached].sum(axis=1), "others": size[:, ~reached].sum(axis=1)}
    )


def _without_copies(G: nx.DiGraph) -> nx.DiGraph:
    """Without edges that the identity path alone gives more than half of, of the same sign."""
    made: nx.DiGraph = nx.DiGraph(**G.graph)
    made.add_nodes_from(G.nodes(data=True))
    made.add_edges_from((u, v, d) for u, v, d in G.edges(data=True) if not _copies(d))
    return made


def _copies(edge: Mapping[str, Any]) -> bool:
    strength, copied = float(edge.get("direct", np.nan)), float(edge.get("copy", np.nan))
    return bool(copied * strength > 0 and abs(copied) > COPY_SHARE * abs(strength))
