"""Does the graph forecast what steering does? Steer features in the model, measure every feature in reach, and compare.

1. Sources: a random sample of the features that have structural edges, and the hubs (most structural edges out of them).
2. A source is pushed by an additive delta, a multiple of its mean activation where active, at one position at which it is active, in
   documents of the confirm split: no strength in the graph was measured there, and no clamp that measured one had this size or sign.
3. Measured is the mean change, over documents, of EVERY feature that the forecast reaches within the hops, whether it changes or not.
4. Placebo: a random direction of the decoder row's norm is pushed by the same amounts at the same positions; the source's forecast should
   say nothing about that.
5. Beside the forecast, on the same pairs: the cosine of the decoder rows, the slope of target on source over the select documents
   (co-activation), and the gated Jacobian at samples of the select documents. All are times the delta.

Pairs are grouped by the hop at which the forecast first reaches them. Hop 1 repeats, in essence, the measurement of the edge itself.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from feature_graph.artifacts import CONFIRM, SELECT, ActivationStore, feature_id, parse_feature_id
from feature_graph.config import Config
from feature_graph.dictionaries import SiteCodec, build_codecs
from feature_graph.graph import structural
from feature_graph.interventions import Clamps, ModelSlices, Reading, jacobian_effects
from feature_graph.steering.cascade import predict_cascade
from feature_graph.steering.errors import SteeringError
from feature_graph.steering.experiment import check_layers
from feature_graph.steering.ground import Places, SteeringSamples, by_layer
from feature_graph.steering.pushes import Pusher, Samples
from feature_graph.utils import derived_seed, progress

logger = logging.getLogger(__name__)

Float = NDArray[np.float64]

#: Multiples of a source's mean activation: the first is what figures are of; the others show where the forecast fails.
MULTIPLES = (-0.5, 0.5, 1.0, 2.0, 4.0)
#: A direct edge is dominated by copying where the identity path alone gives more than this share of it.
COPY_SHARE = 0.5
BASELINES = ("decoder_cosine", "coactivation", "jacobian")


@dataclass(frozen=True)
class CascadePairs:
    """Forecast and measurement of many steerings.

    Attributes:
        pairs: One row a (kind of source, source, target, delta): ``kind`` (random, hub), ``source``, ``target``, ``hop``, ``multiple``,
            ``delta`` (activation units of the source), ``forecast``, ``forecast_computed`` (copy-dominated edges left out; NaN where the
            target is then not reached) and its ``hop_computed``, ``measured`` and ``se`` (activation units of the target),
            ``placebo`` and ``placebo_se``, ``decoder_cosine``, ``coactivation``, ``jacobian``, ``pass_through`` (change of the target if
            only the pushed direction itself arrived).
        unreached: For each source and delta, the summed |measured| of reached and of all other analysed features behind the source:
            ``source``, ``multiple``, ``reached``, ``others``.
    """

    pairs: pd.DataFrame
    unreached: pd.DataFrame

    def measured(self, source: str, multiple: float) -> dict[str, float]:
        """Target → measured change under one push of one source; empty if it was not made.

        Args:
            source: Id.
            multiple: Of the source's mean activation.
        """
        chosen = self.pairs[(self.pairs["source"] == source) & (self.pairs["multiple"] == multiple)]
        return dict(zip(chosen["target"], chosen["measured"], strict=True))


def validate_cascade(
    model: Any,
    saes: Mapping[int, Any],
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
        model: A HookedTransformer.
        saes: Layer → SAELens SAE.
        G: Interaction graph of the same run.
        store: Recorded activations of the same run.
        cfg: Configuration of the run; gives the seed.
        n_sources: Random sources; all that can be steered if there are fewer.
        n_hubs: Hubs besides, by structural edges out; they are not among the random sources.
        multiples: Deltas, in units of the source's mean activation where active.
        max_documents: Documents a source is steered in, one position each.
        min_documents: Sources active in fewer confirm documents are left out.

    Raises:
        SteeringError: If no feature of the graph can be steered, or the graph is of other layers.
    """
    seed = cfg.seed if cfg is not None else 0
    analysed = _Bench(ModelSlices(model), build_codecs(model, saes, cfg), store, G, derived_seed(seed, "validate cascade"))
    kinds = analysed.sources(n_sources, n_hubs, max_documents, min_documents)
    if not kinds:
        raise SteeringError(
            f"no feature of the graph can be steered: none that has a structural edge out of it is active in {min_documents} documents of "
            "the confirm and of the select split; collect more text, or lower min_documents"
        )
    tables: list[pd.DataFrame] = []
    unreached: list[pd.DataFrame] = []
    for source, kind in progress(kinds.items(), "steering", len(kinds)):
        pairs, others = analysed.compare(source, multiples)
        tables.append(pairs.assign(kind=kind))
        unreached.append(others)
    return CascadePairs(pd.concat(tables, ignore_index=True), pd.concat(unreached, ignore_index=True))


class _Bench:
    """One model and graph; the clean runs over both splits' documents are made at first use."""

    def __init__(self, slices: ModelSlices, codecs: Mapping[int, SiteCodec], store: ActivationStore, G: nx.DiGraph, seed: int) -> None:
        check_layers(G, codecs)
        self.slices, self.codecs, self.store, self.G = slices, dict(codecs), store, G
        self.rng = np.random.default_rng(seed)
        self.ground = SteeringSamples(store, self.rng)
        self.computed, self.everyone = _without_copies(G), by_layer(G)
        self._pushers: dict[int, Pusher] = {}
        self._places: dict[str, Places] = {}

    def sources(self, n_random: int, n_hubs: int, most: int, least: int) -> dict[str, str]:
        """Source → random or hub, of those active in enough documents."""
        degree = {node: d for node, d in structural(self.G).out_degree() if d}
        for node in sorted(degree):
            found = self.ground.places(node, most, least)
            if found is not None:
                self._places[node] = found
        hubs = sorted(self._places, key=lambda node: (-degree[node], node))[:n_hubs]
        others = [node for node in self._places if node not in set(hubs)]
        drawn = self.rng.choice(len(others), min(n_random, len(others)), replace=False)
        return dict.fromkeys(hubs, "hub") | {others[i]: "random" for i in sorted(drawn)}

    def _pusher(self, split: int) -> Pusher:
        if split not in self._pushers:
            self._pushers[split] = Pusher(self.slices, self.codecs, self.store.tokens[self.ground.documents[split]])
        return self._pushers[split]

    def compare(self, source: str, multiples: Sequence[float]) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Rows of ``pairs`` and of ``unreached`` for one source."""
        layer, index = parse_feature_id(source)
        unit = float(self.store.mean_activations[layer][index])
        deltas = [m * unit for m in multiples]
        codec, where = self.codecs[layer], self._places[source]
        one = predict_cascade(self.G, source, 1.0, min_effect=0.0, top_paths=0, draws=0)
        computed = predict_cascade(self.computed, source, 1.0, min_effect=0.0, top_paths=0, draws=0)
        direction = codec.w_dec[index]
        random = torch.as_tensor(self.rng.standard_normal(len(direction)), dtype=direction.dtype, device=direction.device)
        random = random * (direction.norm() / random.norm())
        pusher = self._pusher(CONFIRM)
        moved = pusher.push(layer, direction, deltas, where.steered, self.everyone)
        placebo = pusher.push(layer, random, deltas, where.steered, self.everyone)
        ids = [feature_id(n, i) for n in moved for i in self.everyone[n]]
        measured, se, other, other_se = (
            np.concatenate([getattr(part[n], name) for n in moved], axis=1) if moved else np.zeros((len(deltas), 0))
            for part, name in ((moved, "mean"), (moved, "se"), (placebo, "mean"), (placebo, "se"))
        )
        reached = np.array([node in one.effects for node in ids], dtype=bool)
        nodes = [node for node in ids if node in one.effects]
        baselines = self._baselines(source, nodes, where)
        frames = []
        for k, (multiple, delta) in enumerate(zip(multiples, deltas, strict=True)):
            frames.append(
                pd.DataFrame(
                    {
                        "source": source,
                        "target": nodes,
                        "hop": [one.hops[n] for n in nodes],
                        "hop_computed": [computed.hops.get(n, 0) for n in nodes],
                        "multiple": multiple,
                        "delta": delta,
                        "forecast": [one.effects[n] * delta for n in nodes],
                        "forecast_computed": [computed.effects.get(n, np.nan) * delta for n in nodes],
                        "measured": measured[k, reached],
                        "se": se[k, reached],
                        "placebo": other[k, reached],
                        "placebo_se": other_se[k, reached],
                    }
                    | {name: values * delta for name, values in baselines.items()}
                )
            )
        size = np.abs(measured)
        others = pd.DataFrame(
            {"source": source, "multiple": multiples, "reached": size[:, reached].sum(axis=1), "others": size[:, ~reached].sum(axis=1)}
        )
        return pd.concat(frames, ignore_index=True), others

    def _baselines(self, source: str, targets: Sequence[str], where: Places) -> dict[str, Float]:
        """Change of each target for one unit of the source, by other means; [targets]."""
        layer, index = parse_feature_id(source)
        d = self.codecs[layer].w_dec[index]
        found: dict[str, list[float]] = {"decoder_cosine": [], "coactivation": [], "pass_through": []}
        for target in targets:
            n, i = parse_feature_id(target)
            codec = self.codecs[n]
            row = codec.w_dec[i]
            found["decoder_cosine"].append(float(d @ row / (d.norm() * row.norm())))
            found["pass_through"].append(float(d.to(codec.w_enc.dtype) @ codec.w_enc[:, i]))
            found["coactivation"].append(self.ground.slope(source, target))
        jacobian = dict(self._jacobian(layer, index, targets, where.chosen))
        return {name: np.array(values) for name, values in found.items()} | {"jacobian": np.array([jacobian[t] for t in targets])}

    def _jacobian(self, layer: int, index: int, targets: Sequence[str], samples: Samples) -> Iterator[tuple[str, float]]:
        pusher, codec = self._pusher(SELECT), self.codecs[layer]
        members = by_layer(targets)
        path = [
            Reading(self.codecs[n], torch.as_tensor(members.get(n, []), dtype=torch.long, device=self.slices.device))
            for n in pusher.later(layer)
        ]
        documents, positions = (torch.as_tensor(v, device=self.slices.device) for v in (samples.documents, samples.positions))
        zero = torch.zeros(len(samples), dtype=self.slices.dtype, device=self.slices.device)
        clamps = Clamps(documents, positions, codec.w_dec[index].to(self.slices.dtype).expand(len(samples), -1), zero, zero)
        counted = torch.as_tensor(self.store.valid[self.ground.documents[SELECT]], device=self.slices.device)
        found = jacobian_effects(self.slices, pusher.clean, codec.site.point, clamps, path, 0, counted, mode="forward")
        for n, effects in zip(pusher.later(layer), found, strict=True):
            means = effects.total.double().mean(dim=0).tolist()
            yield from ((feature_id(n, i), mean) for i, mean in zip(members.get(n, []), means, strict=True))


def _without_copies(G: nx.DiGraph) -> nx.DiGraph:
    """Without edges that the identity path alone gives more than half of, of the same sign."""
    made: nx.DiGraph = nx.DiGraph(**G.graph)
    made.add_nodes_from(G.nodes(data=True))
    made.add_edges_from((u, v, d) for u, v, d in G.edges(data=True) if not _copies(d))
    return made


def _copies(edge: Mapping[str, Any]) -> bool:
    strength, copied = float(edge.get("direct", np.nan)), float(edge.get("copy", np.nan))
    return bool(copied * strength > 0 and abs(copied) > COPY_SHARE * abs(strength))
