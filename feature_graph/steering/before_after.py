"""Changes with and without counter-steers, side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from feature_graph.artifacts import layer_of
from feature_graph.interventions import Perturbation, PerturbedRun
from feature_graph.stats import mean_test
from feature_graph.steering.counter_steers import CounterPlan
from feature_graph.steering.effects import Floats
from feature_graph.steering.experiment import SteeringExperiment
from feature_graph.steering.outputs import OutputChange, bootstrap


@dataclass(frozen=True)
class Ratio:
    """A share with its 95 % interval over documents; NaN where it is not known."""

    value: float = math.nan
    low: float = math.nan
    high: float = math.nan


#: How the parts of a share are called next to it.
ENDS = (("", "value"), ("_low", "low"), ("_high", "high"))


#: A perturbation is in float32; what is less than this of it is rounding.
_ROUNDING = 1e-6


def ratio(before: Floats, after: Floats, seed: int, *, signed: bool = False) -> Ratio:
    """Size of the mean change after over before, [documents, features] each; signed: of one feature, with its sign."""

    def figure(both: Floats, axis: int) -> float:
        one, two = np.split(both.mean(axis=axis), 2)
        whole = np.linalg.norm(one)
        if whole == 0:
            return math.nan
        return float(one @ two / whole**2) if signed else float(np.linalg.norm(two) / whole)

    both = np.concatenate([before, after], axis=1)
    return Ratio(figure(both, 0), *bootstrap(both, figure, seed))


def counter_frame(experiment: SteeringExperiment, plan: CounterPlan, after: PerturbedRun, counters: list[Perturbation]) -> pd.DataFrame:
    """``Compensation.counters``."""
    rows = []
    for counter, perturbation, added in zip(plan.counters, counters, after.amounts[1:], strict=True):
        amount = added.double().cpu().numpy()
        rows.append(
            {
                "feature": counter.feature,
                "label": experiment.labels[counter.feature],
                "layer": layer_of(perturbation.layer),
                "delta": counter.delta,
                "planned": counter.change,
                "realised": float(amount.mean()),
                "multiple": counter.delta / experiment.unit(counter.feature),
                "turned_off": float((amount > counter.delta * (1 - _ROUNDING)).mean()) if counter.delta < 0 else 0.0,
            }
        )
    return pd.DataFrame(rows, columns=["feature", "label", "layer", "delta", "planned", "realised", "multiple", "turned_off"])


def effect_frame(
    experiment: SteeringExperiment, plan: CounterPlan, watched: list[str], n: int, before: Floats, after: Floats
) -> pd.DataFrame:
    """``Compensation.effects``; the first ``n`` of ``watched`` are side effects, [documents, watched] changes before and after."""
    one, two = mean_test(before), mean_test(after)
    return pd.DataFrame(
        {
            "role": ["side effect"] * n + ["target"] * (len(watched) - n),
            "feature": watched,
            "label": [experiment.labels[j] for j in watched],
            "unit": [experiment.unit(j) for j in watched],
            "forecast_before": [plan.before[j] for j in watched],
            "forecast_after": [plan.after[j] for j in watched],
            "before": one.mean,
            "before_low": one.ci_low,
            "before_high": one.ci_high,
            "after": two.mean,
            "after_low": two.ci_low,
            "after_high": two.ci_high,
            "gain": np.abs(one.mean) - np.abs(two.mean),
        }
    )


def kl_frame(before: OutputChange, after: OutputChange, seed: int) -> pd.DataFrame:
    """``Compensation.output``."""
    rows = []
    for offset in range(before.kl.shape[1]):
        there = np.isfinite(before.kl[:, offset])
        if there.any():
            one, two = before.kl[there, offset], after.kl[there, offset]
            low, high = bootstrap(two - one, np.mean, seed)
            means = {"kl_before": float(one.mean()), "kl_after": float(two.mean()), "kl_change": float((two - one).mean())}
            rows.append(
                {"offset": offset, "measure": before.measure, "n_documents": int(there.sum()), **means, "kl_low": low, "kl_high": high}
            )
    return pd.DataFrame(rows)


def movement(experiment: SteeringExperiment, features: list[str], clean: PerturbedRun, run: PerturbedRun) -> float:
    """Summed |mean change|, each in units of the feature's mean activation; features that are never active are left out."""
    units = np.array([experiment.unit(j) for j in features])
    moved = np.abs((experiment.values(run, features) - experiment.values(clean, features)).mean(axis=0))
    return float((moved[units > 0] / units[units > 0]).sum())
