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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import networkx as nx
import numpy as np
import pandas as pd

from feature_graph.artifacts import CONFIRM, SELECT, ActivationStore, parse_feature_id
from feature_graph.config import Config
from feature_graph.steering.before_after import ENDS, Ratio, counter_frame, effect_frame, movement, output_changes, ratio
from feature_graph.steering.counter_steers import DEFAULT_LIMITS, CounterLimits, CounterPlan, allowed, choose, find_candidates, responses
from feature_graph.steering.effects import DirectEffects
from feature_graph.steering.errors import SteeringError
from feature_graph.steering.experiment import SteeringExperiment, check_features, check_steer
from feature_graph.steering.outputs import shifted
from feature_graph.steering.serialization import as_frame, frame_values, load_result, plain_value, save_result
from feature_graph.steering.text import compensation_text
from feature_graph.steering.trials import Push, Trials

KIND, VERSION = "compensation", 1
#: Share of the target's change below which counter-steers count as weakening it.
_ENOUGH = 0.8
Aim = Literal["forecast", "measured"]


@dataclass(frozen=True, eq=False)
class Compensation:
    """A steer with and without counter-steers.

    Attributes:
        source: Id of the steered feature.
        delta: What is added to it, in activation units.
        target: Intended target, whose change is to stay.
        aim: What the counter-steers were fitted to: the graph's ``forecast`` of the side effects, or their ``measured`` size elsewhere.
        n_documents: Documents steered, one position each.
        counters: One row a counter-steer: ``feature``, ``label``, ``layer``, ``delta`` (activation units), ``planned`` (mean change counted
            on), ``realised`` (mean change really added), ``multiple`` (of its mean activation where active), ``turned_off`` (share of
            documents at which it was less active than −delta, so that it was turned off).
        effects: One row a named feature, and the target: ``role`` (side effect, target), ``feature``, ``label``, ``unit`` (mean activation
            where active), ``forecast_before``, ``forecast_after``, and mean changes against the clean run in activation units:
            ``before`` (steer alone) and ``after`` (with counter-steers) with their intervals ``…_low``, ``…_high``; ``gain``
            (|before| − |after|, positive: smaller than it was).
        output: One row a position behind the pushed one: ``offset``, ``n_documents``, ``kl_before``, ``kl_after`` (nats) and ``kl_change``
            with ``kl_low``, ``kl_high``; ``measure`` as in ``SideEffects.output``.
        remaining: Share of the named side effects that is left; NaN without counter-steers.
        remaining_low: Its 95 % interval.
        remaining_high: Its 95 % interval.
        kept: Share of the target's change that is left.
        kept_low: Its 95 % interval.
        kept_high: Its 95 % interval.
        others_before: Summed |mean change| of all other features, each in units of its mean activation, by the steer alone.
        others_after: The same with the counter-steers.
    """

    source: str
    delta: float
    target: str | None
    aim: str
    n_documents: int
    counters: pd.DataFrame
    effects: pd.DataFrame
    output: pd.DataFrame
    remaining: float
    remaining_low: float
    remaining_high: float
    kept: float
    kept_low: float
    kept_high: float
    others_before: float
    others_after: float

    @property
    def helped(self) -> bool:
        """Whether the named side effects are clearly smaller with the counter-steers."""
        return self.remaining_high < 1

    @property
    def verdict(self) -> str:
        """No counter-steers, made it worse, no clear change, or helped; and at what cost."""
        if self.counters.empty:
            return "no counter-steers"
        if not self.helped:
            return "made it worse" if self.remaining_low > 1 else "no clear change"
        return "helped, but " + " and ".join(self.costs) if self.costs else "helped"

    @property
    def costs(self) -> tuple[str, ...]:
        """What else is clearly changed: less than 80 % or more than 125 % of the target's change, or more KL at the pushed position."""
        found = (
            ("the target is weakened too", self.kept_high < _ENOUGH),
            ("the target moves further", self.kept_low > 1 / _ENOUGH),
            ("the output moves further", float(self.output["kl_low"].iloc[0]) > 0),
        )
        return tuple(text for text, true in found if true)

    def table(self) -> pd.DataFrame:
        """Named side effects and the target, before and after."""
        return self.effects[["role", "feature", "label", "forecast_before", "forecast_after", "before", "after", "gain"]]

    def summary(self) -> str:
        """The result in words."""
        return compensation_text(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        frames = ("counters", "effects", "output")
        scalars = [name for name in self.__dataclass_fields__ if name not in frames]
        return {k: plain_value(getattr(self, k)) for k in scalars} | {k: frame_values(getattr(self, k)) for k in frames}

    def save(self, path: str | Path) -> Path:
        """Write JSON."""
        return save_result(path, KIND, VERSION, self.to_dict())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            SteeringError: If the file holds something else.
        """
        values = load_result(path, KIND, VERSION)
        numbers = ("remaining", "remaining_low", "remaining_high", "kept", "kept_low", "kept_high")
        values |= {k: float("nan") for k in numbers if values[k] is None}
        return cls(**(values | {k: as_frame(values[k]) for k in ("counters", "effects", "output")}))


def compensate(
    model: Any,
    saes: Mapping[int, Any],
    G: nx.DiGraph,
    store: ActivationStore,
    source: str,
    delta: float,
    named: Sequence[str],
    cfg: Config | None = None,
    *,
    target: str | None = None,
    at_most: int = 3,
    ridge: float = 1e-3,
    reach: float = 1.0,
    aim: Aim = "forecast",
    themselves: bool = False,
    horizon: int = 4,
    max_documents: int = 24,
    min_documents: int = 6,
) -> Compensation:
    """Choose counter-steers that cancel named side effects of a steer, and measure before and after.

    Args:
        model: A HookedTransformer.
        saes: Layer → SAELens SAE.
        G: Interaction graph of the same run.
        store: Recorded activations of the same run.
        source: Id of the feature to steer.
        delta: Activation units added to it at one position.
        named: Ids of later features whose change is to be cancelled.
        cfg: Configuration of the run; gives the seed.
        target: Id of the feature whose change is intended and is to stay. None takes the largest forecast change, in units of the
            feature's mean activation, among those not named.
        at_most: Counter-steers at most.
        ridge: Weight of the ridge that keeps counter-steers small.
        reach: Largest counter-steer upwards, in units of the feature's mean activation where active.
        aim: ``forecast``: cancel what the graph forecasts. ``measured``: cancel what the steer does in documents of the select split.
        themselves: Whether the named features may be pushed back themselves, at their own sites.
        horizon: Later positions at which the output is compared.
        max_documents: Documents steered, one position each.
        min_documents: Fewer are refused.

    Raises:
        SteeringError: If a feature is unknown, not behind the source, or not reached by the graph, or a number makes no sense.
    """
    chosen, limits = list(dict.fromkeys(named)), CounterLimits(at_most, ridge, reach)
    check_steer(G, store, source, delta)
    check_compensation(G, source, chosen, target, aim, limits)
    effects = DirectEffects.of(G)
    forecast = {j: change * delta for j, change in responses(effects, source).items()}
    bench = SteeringExperiment(model, saes, G, store, cfg, source, horizon)
    goal = target or _largest(bench, forecast, chosen)
    watched = [*chosen, *([goal] if goal else [])]
    trials = bench.trials(CONFIRM, max_documents, min_documents)
    there = bench.trials(SELECT, max_documents, min_documents)
    steer = bench.push(source, delta)
    quiet, pushed = there.run([[], [steer]], bench.features)
    start = {j: forecast.get(j, 0.0) for j in watched}
    if aim == "measured":
        moved = (bench.values(pushed, watched) - bench.values(quiet, watched)).mean(axis=0)
        start = dict(zip(watched, moved.tolist(), strict=True))
    names = allowed(G, source, chosen, goal, themselves=themselves)
    activity = dict(zip(names, bench.values(quiet, names).T, strict=True))
    units = {name: bench.unit(name) for name in names}
    candidates = find_candidates(effects, names, watched, chosen, units, activity)
    plan = choose(candidates, start, chosen, goal, limits)
    return _measured(bench, trials, plan, chosen, goal, steer, aim)


def check_compensation(
    G: nx.DiGraph,
    source: str,
    named: Sequence[str],
    target: str | None = None,
    aim: Aim = "forecast",
    limits: CounterLimits = DEFAULT_LIMITS,
) -> None:
    """Refuse what cannot be compensated, before anything is loaded or run. Arguments as for :func:`compensate`.

    Raises:
        SteeringError: If a feature is unknown, not behind the source, or not reached by the graph, or a number makes no sense.
    """
    check_features(G, "named", list(named))
    check_features(G, "target", [] if target is None else [target])
    layer = parse_feature_id(source)[0]
    early = [j for j in (*named, *([target] if target else [])) if parse_feature_id(j)[0] <= layer]
    checks = (
        ("named", named, bool(named), "at least one feature whose change is to be cancelled"),
        ("named, target", early, not early, f"features of layers behind {source}, the steered one"),
        ("target", target, target not in named, "a feature that is not among those to be cancelled"),
        ("aim", aim, aim in ("forecast", "measured"), "forecast or measured"),
        ("at_most", limits.at_most, limits.at_most >= 1, "1 or more"),
        ("ridge", limits.ridge, 0 <= limits.ridge < math.inf, "0 or more"),
        ("reach", limits.reach, 0 < limits.reach < math.inf, "more than 0"),
    )
    for name, value, right, expected in checks:
        if not right:
            raise SteeringError(f"{name}: got {value!r}, expected {expected}")
    forecast = responses(DirectEffects.of(G), source)
    unreached = [j for j in named if not forecast.get(j)]
    if unreached and aim == "forecast":
        reached = ", ".join(sorted(forecast, key=lambda j: -abs(forecast[j]))[:5]) or "none"
        raise SteeringError(
            f"named: the graph forecasts no change of {', '.join(unreached)} by a steer of {source}, so nothing is there to cancel; "
            f"it reaches {reached}. Aim at what is measured instead (aim='measured', --measured)"
        )


def _largest(bench: SteeringExperiment, forecast: Mapping[str, float], named: Sequence[str]) -> str | None:
    """The feature that the steer is forecast to change most, in units of its own mean activation."""
    sizes = {j: abs(change) / bench.unit(j) for j, change in forecast.items() if j not in named and change and bench.unit(j) > 0}
    return max(sorted(sizes), key=lambda j: sizes[j], default=None)


def _measured(
    bench: SteeringExperiment, trials: Trials, plan: CounterPlan, named: list[str], target: str | None, steer: Push, aim: str
) -> Compensation:
    counters = [bench.push(c.feature, c.delta, floored=True) for c in plan.counters]
    clean, before, after = trials.run([[], [steer], [steer, *counters]], bench.features)
    watched = [*named, *([target] if target else [])]
    units = np.array([bench.unit(j) or 1.0 for j in watched])
    one, two = (bench.values(arm, watched) - bench.values(clean, watched) for arm in (before, after))
    n = len(named)
    ratios = {"remaining": ratio(one[:, :n] / units[:n], two[:, :n] / units[:n], bench.seed), "kept": Ratio()}
    if target:
        ratios["kept"] = ratio(one[:, n:], two[:, n:], bench.seed, signed=True)
    if not counters:
        ratios = dict.fromkeys(ratios, Ratio())
    rest = [j for j in bench.downstream(trials) if j not in {*watched, *(c.feature for c in plan.counters)}]
    base = trials.outputs(clean)
    outputs = [shifted(trials.outputs(arm), base, trials.there, trials.next_tokens) for arm in (before, after)]
    return Compensation(
        source=bench.source,
        delta=steer.delta,
        target=target,
        aim=aim,
        n_documents=len(trials),
        counters=counter_frame(bench, plan, after, counters),
        effects=effect_frame(bench, plan, watched, n, one, two),
        output=output_changes(outputs[0], outputs[1], bench.seed),
        **{f"{name}{end}": getattr(r, part) for name, r in ratios.items() for end, part in ENDS},
        others_before=movement(bench, rest, clean, before),
        others_after=movement(bench, rest, clean, after),
    )
