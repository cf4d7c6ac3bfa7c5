"""Ways to draw edges, as edge lists that are scored like anybody's.

- ``cosine``: of the two decoder rows.
- ``coactivation``: correlation of "is active" at the same token.
- ``twera``: E[a_i a_j] / E[a_j] × V_ij, the virtual weight V weighted by how active both are (target-weighted expected residual
  attribution).
- ``placebo floor``: the rule that this library had before: the total effect of a clamp, tested against 0, and above what random
  directions have.
- ``feature-graph``: its rule today.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_graph import stats
from feature_graph.activations import collect_activations
from feature_graph.artifacts import ActivationStore, CandidateSet, feature_id
from feature_graph.config import Config
from feature_graph.dictionaries import SiteCodec
from feature_graph.evaluation.benchmark.models import BenchmarkModel, benchmark_model
from feature_graph.evaluation.benchmark.score import score_edges
from feature_graph.evaluation.calibration.pairs import all_pairs
from feature_graph.evaluation.calibration.schedule import errors_only
from feature_graph.interactions import leading_strength, measure_interactions
from feature_graph.interventions import AnalysedModel
from feature_graph.utils import progress, without_progress

Floats = NDArray[np.float64]


def compare_methods(names: Iterable[str]) -> pd.DataFrame:
    """Score every method of :data:`METHODS` on some models: the columns of ``score_edges``, and ``method``.

    Raises:
        BenchmarkError: If a model is not known.
    """
    found = []
    for name in progress(list(names), "scoring"):
        model = benchmark_model(name)
        truth = {name: model.truth()}
        analysed = AnalysedModel.of(model.model, model.saes, model.cfg)
        with without_progress(), errors_only():
            store = collect_activations(analysed, model.saes, model.cfg, tokens=model.tokens)
            for method, edges_of in METHODS.items():
                scored = score_edges(edges_of(model, analysed, store).assign(model=name), {name: model}, truth)
                found.append(scored.assign(method=method))
    return pd.concat(found, ignore_index=True)


@dataclass(frozen=True)
class TwoLayers:
    """What is known of two layers without measuring anything.

    Attributes:
        source: Dictionary of the earlier layer.
        target: Dictionary of the later one.
        source_acts: Activations, float64 [tokens, features].
        target_acts: Likewise, at the same tokens.
    """

    source: SiteCodec
    target: SiteCodec
    source_acts: Floats
    target_acts: Floats


def cosine(layers: TwoLayers) -> Floats:
    """Of the two decoder rows."""
    one, two = (_unit(codec.w_dec.double().cpu().numpy()) for codec in (layers.source, layers.target))
    return np.asarray(one @ two.T, dtype=np.float64)


def coactivation(layers: TwoLayers) -> Floats:
    """Correlation of "is active" over all tokens; 0 for a feature that is always or never active."""
    one, two = ((acts > 0).astype(np.float64) for acts in (layers.source_acts, layers.target_acts))
    one, two = one - one.mean(0), two - two.mean(0)
    spread = np.sqrt(np.outer((one**2).sum(0), (two**2).sum(0)))
    return np.divide(one.T @ two, spread, out=np.zeros(spread.shape), where=spread > 0)


def twera(layers: TwoLayers) -> Floats:
    """E[a_i a_j] / E[a_j] × ⟨decoder row, encoder column⟩."""
    one, two = layers.source_acts, layers.target_acts
    weight = (layers.source.w_dec.double() @ layers.target.w_enc.double()).cpu().numpy()
    sums = two.sum(0)
    return np.divide(one.T @ two, sums, out=np.zeros(weight.shape), where=sums > 0) * weight


def placebo_floor(model: BenchmarkModel, analysed: AnalysedModel, store: ActivationStore) -> pd.DataFrame:
    """The former rule: total effect, p of "the mean is 0", 1 below the floor of 32 random directions, Benjamini–Hochberg."""
    cfg = model.cfg.model_copy(update={"n_placebo": 32})
    frame = _measured(model, analysed, store, cfg)
    p = stats.t_p(frame["mean_strength"].to_numpy(), frame["se"].to_numpy(), frame["n_documents"].to_numpy())
    p = np.where(frame["mean_strength"].abs() >= frame["floor"], p, 1.0)
    passed = stats.adjust(p, cfg.correction_method) < cfg.significance_level
    return _claimed(frame, frame["mean_strength"].to_numpy(), passed)


def ours(model: BenchmarkModel, analysed: AnalysedModel, store: ActivationStore) -> pd.DataFrame:
    """What the interactions stage calls significant, without a placebo floor."""
    frame = _measured(model, analysed, store, model.cfg.model_copy(update={"n_placebo": 0}))
    return _claimed(frame, leading_strength(frame), frame["significant"].to_numpy(bool))


def _weighed(weigh: Callable[[TwoLayers], Floats]) -> Callable[[BenchmarkModel, AnalysedModel, ActivationStore], pd.DataFrame]:
    def edges(model: BenchmarkModel, analysed: AnalysedModel, store: ActivationStore) -> pd.DataFrame:
        parts = []
        for source, target in model.cfg.layer_pairs:
            layers = TwoLayers(analysed.codecs[source], analysed.codecs[target], _dense(store, source), _dense(store, target))
            parts.append(_listed(source, target, weigh(layers)))
        return pd.concat(parts, ignore_index=True)

    return edges


#: Name → edges of a model, without the column ``model``.
METHODS: dict[str, Callable[[BenchmarkModel, AnalysedModel, ActivationStore], pd.DataFrame]] = {
    "cosine": _weighed(cosine),
    "coactivation": _weighed(coactivation),
    "twera": _weighed(twera),
    "placebo floor": placebo_floor,
    "feature-graph": ours,
}


def _listed(source: int, target: int, weights: Floats) -> pd.DataFrame:
    i, j = (index.ravel() for index in np.indices(weights.shape))
    ids = {"source": [feature_id(source, k) for k in i.tolist()], "target": [feature_id(target, k) for k in j.tolist()]}
    return pd.DataFrame(ids | {"score": weights.ravel()})


def _measured(model: BenchmarkModel, analysed: AnalysedModel, store: ActivationStore, cfg: Config) -> pd.DataFrame:
    return measure_interactions(analysed, model.saes, CandidateSet(all_pairs(model, cfg), store), cfg, progress=False).frame


def _claimed(frame: pd.DataFrame, strength: Floats, passed: NDArray[np.bool_]) -> pd.DataFrame:
    """Edges that passed, with their strength and what of it is no copy; the others with 0."""
    computed, later = frame["computed_strength"].to_numpy(), np.nan_to_num(frame["later_strength"].to_numpy(np.float64))
    own = np.where(np.abs(computed) >= np.abs(later), computed, later)
    edges = pd.DataFrame({"source": frame["src_id"], "target": frame["tgt_id"], "score": np.where(passed, strength, 0.0)})
    return edges.assign(computed=np.where(passed, own, 0.0), significant=passed)


def _dense(store: ActivationStore, layer: int) -> Floats:
    return np.asarray(store.activations[layer].toarray(), dtype=np.float64)


def _unit(rows: Floats) -> Floats:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float64).tiny)
