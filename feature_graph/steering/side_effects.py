"""What else moves when one feature is steered, and how the model's output changes.

1. The feature is steered by an additive delta at one position at which it is active, in documents of the confirm split: no strength in the
   graph was measured there.
2. Every analysed feature at the later sites is read at that position, and compared with its forecast (:func:`predict_cascade`): from the
   source's measured response where the graph names one, else from paths.
3. The distribution of the next token is compared at that position and at the later ones: KL(steered ‖ clean), the text's own next token,
   tokens gained and lost. Where outputs are not tokens, theirs is compared; one output by its absolute change.
4. Random directions of the same norm, with the same delta at the same positions, show what any perturbation of that size does.

Averages and intervals are over documents, one position each. The delta is not cut at zero: turned down by more than it is active,
a feature's direction goes negative, which its dictionary reads as 0 (``below_zero`` tells the share of documents).
"""

from __future__ import annotations

from collections.abc import Sequence

import networkx as nx
import numpy as np
import pandas as pd

from feature_graph.artifacts import CONFIRM, ActivationStore, read_feature_id
from feature_graph.config import Config
from feature_graph.dictionaries import Dictionaries, HookedModel
from feature_graph.interventions import AnalysedModel, PerturbedRun
from feature_graph.stats import adjust, mean_test
from feature_graph.steering.cascade import predict_cascade
from feature_graph.steering.experiment import SteeringExperiment, check_steer, longest_path
from feature_graph.steering.options import SIDE_EFFECTS, SideEffectsOptions
from feature_graph.steering.outputs import output_change, output_frame, token_frame, token_namer
from feature_graph.steering.results.cascade import Cascade
from feature_graph.steering.results.side_effects import SideEffects


def side_effects(
    model: HookedModel | AnalysedModel,
    saes: Dictionaries,
    G: nx.DiGraph,
    store: ActivationStore,
    source: str,
    delta: float,
    cfg: Config | None = None,
    options: SideEffectsOptions = SIDE_EFFECTS,
) -> SideEffects:
    """Steer one feature in the model and measure what else moves.

    Args:
        model: A HookedTransformer, or the :class:`AnalysedModel` made of it and the SAEs.
        saes: Layer → SAELens SAE; or name of the site → SAELens SAE or transcoder.
        G: Interaction graph of the same run; its features are read, its edges, or the responses that it names, give the forecast.
        store: Recorded activations of the same run.
        source: Id of the feature to steer.
        delta: Activation units added to it at one position (``store.mean_activations`` tells its usual size).
        cfg: Configuration of the run; gives the seed.
        options: Documents, later positions, random directions, tokens to name.

    Raises:
        SteeringError: If the feature is unknown or active in too few documents, or a number makes no sense.
    """
    check_steer(G, store, source, delta)
    n_hops = longest_path(G, source) if options.n_hops is None else options.n_hops
    forecast = predict_cascade(G, source, delta, n_hops, min_effect=0.0)
    experiment = SteeringExperiment(AnalysedModel.of(model, saes, cfg, components=True), G, store, cfg, source, options.horizon)
    return _measured(experiment, forecast, options)


def _measured(experiment: SteeringExperiment, forecast: Cascade, options: SideEffectsOptions) -> SideEffects:
    source, delta = experiment.source, forecast.steer_delta
    batch = experiment.batch(CONFIRM, options.max_documents, options.min_documents)
    random = experiment.random_perturbations(delta, options.n_placebo)
    clean, steered, *placebos = batch.run([[], [experiment.perturbation(source, delta)], *([p] for p in random)], experiment.features)
    base, after = batch.outputs(clean), batch.outputs(steered)
    others = [output_change(batch.outputs(run), base, batch.there, batch.next_tokens).kl for run in placebos]
    found = output_change(after, base, batch.there, batch.next_tokens)
    return SideEffects(
        source=source,
        label=experiment.labels[source],
        delta=delta,
        unit=experiment.unit(source),
        n_documents=len(batch),
        n_hops=forecast.n_hops,
        below_zero=float((experiment.values(clean, [source]) < -delta).mean()),
        features=_features(experiment, forecast, clean, steered, placebos),
        output=output_frame(found, np.array(others).reshape(len(others), *found.kl.shape), experiment.seed),
        tokens=token_frame(after, base, batch.there, token_namer(experiment.analysed.model), options.top_tokens),
        based_on=forecast.based_on,
    )


def _features(
    experiment: SteeringExperiment, forecast: Cascade, clean: PerturbedRun, steered: PerturbedRun, placebos: Sequence[PerturbedRun]
) -> pd.DataFrame:
    """``SideEffects.features``."""
    names = experiment.downstream()
    before, after = experiment.values(clean, names), experiment.values(steered, names)
    test, limits = mean_test(after - before), experiment.thresholds(names)
    on, still = before > limits, after > limits
    units = np.array([experiment.unit(name) for name in names])
    random = [(experiment.values(run, names) - before).mean(axis=0) for run in placebos]
    ranges = [forecast.intervals.get(name) for name in names]
    frame = pd.DataFrame(
        {
            "feature": names,
            "label": [experiment.labels[name] for name in names],
            "layer": [read_feature_id(name).layer for name in names],
            "hop": [forecast.hops.get(name, 0) for name in names],
            "forecast": [forecast.effects.get(name, 0.0) for name in names],
            "by_paths": [forecast.path_sums.get(name, 0.0) for name in names],
            "forecast_low": [np.nan if r is None else r.low for r in ranges],
            "forecast_high": [np.nan if r is None else r.high for r in ranges],
            "unit": units,
            "before": before.mean(axis=0),
            "measured": test.mean,
            "se": test.se,
            "ci_low": test.ci_low,
            "ci_high": test.ci_high,
            "q_value": adjust(test.p, "fdr_bh"),
            "relative": np.divide(test.mean, units, out=np.full(len(names), np.nan), where=units > 0),
            "placebo": np.sqrt(np.mean(np.square(random), axis=0)) if random else np.full(len(names), np.nan),
            "on_before": on.mean(axis=0),
            "on_after": still.mean(axis=0),
            "turned_on": (~on & still).mean(axis=0),
            "turned_off": (on & ~still).mean(axis=0),
        }
    )
    return frame.sort_values("relative", key=np.abs, ascending=False, na_position="last", kind="stable", ignore_index=True)
