"""Cancel named side effects of a steer by counter-steers that the graph names, and measure whether that works.

1. The graph forecasts how the steer changes the named features and the intended target (or the changes are measured, in documents of the
   select split: ``aim="measured"``).
2. :mod:`feature_graph.steering.counter_steers` chooses at most k counter-steers.
3. The model is run clean, steered, and steered with the counter-steers, in documents of the confirm split, which nothing was chosen on.
4. ``remaining`` is how much of the named side effects is left: the root of the summed squared mean changes, each in units of the feature's
   mean activation, over the same for the steer alone, with a bootstrap interval over documents. Only an interval below 1 counts as help.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import networkx as nx
import numpy as np

from feature_graph.artifacts import CONFIRM, SELECT, ActivationStore, read_feature_id
from feature_graph.config import Config
from feature_graph.dictionaries import Dictionaries, HookedModel
from feature_graph.interventions import AnalysedModel, Perturbation, PerturbedRun
from feature_graph.steering.batch import SteeredBatch
from feature_graph.steering.before_after import ENDS, Ratio, counter_frame, effect_frame, kl_frame, movement, ratio
from feature_graph.steering.counter_steers import CounterPlan, allowed, choose, find_candidates, responses
from feature_graph.steering.effects import DirectEffects, Floats
from feature_graph.steering.errors import SteeringError
from feature_graph.steering.experiment import SteeringExperiment, check_steer
from feature_graph.steering.names import check_features, site_places
from feature_graph.steering.options import COMPENSATION, CompensationOptions
from feature_graph.steering.outputs import output_change
from feature_graph.steering.results.compensation import Compensation
from ingest.site_kinds import ID_SITES

#: Ids of the sites that write what the MLP adds to the stream.
_ADDED = (ID_SITES["mlp_out"], ID_SITES["transcoder"])


def compensate(
    model: HookedModel | AnalysedModel, saes: Dictionaries, G: nx.DiGraph, store: ActivationStore, source: str, delta: float,
    named: Sequence[str], cfg: Config | None = None, options: CompensationOptions = COMPENSATION,
) -> Compensation:  # fmt: skip  # the first six are those of side_effects, on lines of their own there
    """Choose counter-steers that cancel named side effects of a steer, and measure before and after.

    The first arguments and ``cfg`` are those of :func:`side_effects`.

    Args:
        named: Ids of later features whose change is to be cancelled.
        options: The intended target, how counter-steers are chosen, documents and later positions.

    Raises:
        SteeringError: If a feature is unknown, not downstream of the source, or not reached by the graph, or a number makes no sense.
    """
    chosen = list(dict.fromkeys(named))
    check_steer(G, store, source, delta)
    check_compensation(G, source, chosen, options)
    experiment = SteeringExperiment(AnalysedModel.of(model, saes, cfg, components=True), G, store, cfg, source, options.horizon)
    effects = DirectEffects.of(G)
    forecast = {j: change * delta for j, change in responses(effects, source).items()}
    target = options.target or _largest(experiment, forecast, chosen)
    early = set(_watched(chosen, target)) - set(experiment.from_here(_watched(chosen, target)))
    if early:  # a graph alone need not tell on which side of a block's components its residual stream is read
        raise SteeringError(f"named, target: {', '.join(sorted(early))} lie before {source} in the model")
    confirm, select = (experiment.batch(split, options.max_documents, options.min_documents) for split in (CONFIRM, SELECT))
    steer = experiment.perturbation(source, delta)
    clean, steered = select.run([[], [steer]], experiment.features)
    start = {j: forecast.get(j, 0.0) for j in _watched(chosen, target)}
    if options.aim == "measured":
        start = _changes(experiment, clean, steered, list(start))
    names = experiment.from_here(allowed(G, source, chosen, target, themselves=options.themselves))
    activity = dict(zip(names, experiment.values(clean, names).T, strict=True))
    units = {name: experiment.unit(name) for name in names}
    plan = choose(find_candidates(effects, names, list(start), chosen, units, activity), start, chosen, target, options)
    return _measured(experiment, confirm, plan, chosen, target, steer, options.aim)


def _watched(named: Sequence[str], target: str | None) -> list[str]:
    return [*named, *([target] if target else [])]


def _changes(experiment: SteeringExperiment, clean: PerturbedRun, steered: PerturbedRun, features: list[str]) -> dict[str, float]:
    """Feature → mean change under the steer."""
    moved = (experiment.values(steered, features) - experiment.values(clean, features)).mean(axis=0)
    return dict(zip(features, moved.tolist(), strict=True))


def check_compensation(G: nx.DiGraph, source: str, named: Sequence[str], options: CompensationOptions = COMPENSATION) -> None:
    """Refuse what cannot be compensated, before anything is loaded or run. Arguments as for :func:`compensate`.

    Raises:
        SteeringError: If a feature is unknown, not downstream of the source, or not reached by the graph, or a number makes no sense.
    """
    target = options.target
    check_features(G, "source", [source])
    check_features(G, "named", named)
    check_features(G, "target", [] if target is None else [target])
    places = site_places(G)
    early = [j for j in _watched(named, target) if places[j] <= places[source]]
    checks = (
        ("named", named, bool(named), "at least one feature whose change is to be cancelled"),
        ("named, target", early, not early, f"features of layers after that of {source}, the steered one"),
        ("target", target, target not in named, "a feature that is not among those to be cancelled"),
        ("aim", options.aim, options.aim in ("forecast", "measured"), "forecast or measured"),
        ("at_most", options.at_most, options.at_most >= 1, "1 or more"),
        ("ridge", options.ridge, 0 <= options.ridge < math.inf, "0 or more"),
        ("reach", options.reach, 0 < options.reach < math.inf, "more than 0"),
    )
    for name, value, right, expected in checks:
        if not right:
            raise SteeringError(f"{name}: got {value!r}, expected {expected}")
    if options.aim == "forecast":
        _check_reached(G, source, named)


def _check_reached(G: nx.DiGraph, source: str, named: Sequence[str]) -> None:
    forecast = responses(DirectEffects.of(G), source)
    unreached = [j for j in named if not forecast.get(j)]
    if unreached:
        reached = ", ".join(sorted(forecast, key=lambda j: -abs(forecast[j]))[:5]) or "none"
        raise SteeringError(
            f"named: the graph forecasts no change of {', '.join(unreached)} by a steer of {source}, so nothing is there to cancel; "
            f"it reaches {reached}. Aim at what is measured instead (CompensationOptions(aim='measured'), --measured)"
            + _of_weights(source, unreached)
        )


def _of_weights(source: str, unreached: Sequence[str]) -> str:
    """What to say where features may be reached by a weight alone, which the graph has on request; as far as ids tell."""
    written = read_feature_id(source)
    read = [one for one in map(read_feature_id, unreached) if one.layer == written.layer and not one.site]
    if written.site not in _ADDED or not read:
        return ""
    return (
        f". If {read[0].site_name} reads the stream right after {written.site_name} writes into it, that pair is a weight, and an edge "
        "only with weight_pairs: true in the run's configuration"
    )


def _largest(experiment: SteeringExperiment, forecast: Mapping[str, float], named: Sequence[str]) -> str | None:
    """The feature that the steer is forecast to change most, in units of its own mean activation."""
    units = {j: experiment.unit(j) for j in forecast}
    sizes = {j: abs(change) / units[j] for j, change in forecast.items() if j not in named and change and units[j] > 0}
    return max(sorted(sizes), key=lambda j: sizes[j], default=None)


def _measured(
    experiment: SteeringExperiment,
    batch: SteeredBatch,
    plan: CounterPlan,
    named: list[str],
    target: str | None,
    steer: Perturbation,
    aim: str,
) -> Compensation:
    counters = [experiment.perturbation(c.feature, c.delta, floored=True) for c in plan.counters]
    clean, before, after = batch.run([[], [steer], [steer, *counters]], experiment.features)
    watched = _watched(named, target)
    one, two = (experiment.values(run, watched) - experiment.values(clean, watched) for run in (before, after))
    ratios = _ratios(experiment, watched, len(named), one, two) if counters else {"remaining": Ratio(), "kept": Ratio()}
    rest = [j for j in experiment.downstream() if j not in {*watched, *(c.feature for c in plan.counters)}]
    base = batch.outputs(clean)
    outputs = [output_change(batch.outputs(run), base, batch.there, batch.next_tokens) for run in (before, after)]
    return Compensation(
        source=experiment.source,
        delta=steer.delta,
        target=target,
        aim=aim,
        n_documents=len(batch),
        counters=counter_frame(experiment, plan, after, counters),
        effects=effect_frame(experiment, plan, watched, len(named), one, two),
        output=kl_frame(outputs[0], outputs[1], experiment.seed),
        **{f"{name}{end}": getattr(r, part) for name, r in ratios.items() for end, part in ENDS},
        others_before=movement(experiment, rest, clean, before),
        others_after=movement(experiment, rest, clean, after),
    )


def _ratios(experiment: SteeringExperiment, watched: list[str], n: int, before: Floats, after: Floats) -> dict[str, Ratio]:
    """``remaining`` of the first ``n`` watched features, and ``kept`` of the target that may follow them."""
    units = np.array([experiment.unit(j) or 1.0 for j in watched])
    return {
        "remaining": ratio(before[:, :n] / units[:n], after[:, :n] / units[:n], experiment.seed),
        "kept": ratio(before[:, n:], after[:, n:], experiment.seed, signed=True) if len(watched) > n else Ratio(),
    }
