"""What else moves when one feature is steered, and how the model's output changes.

1. The feature is pushed by an additive delta at one position at which it is active, in documents of the confirm split: no strength in the
   graph was measured there.
2. Every analysed feature at the later sites is read at that position, and held against the graph's forecast (:func:`predict_cascade`).
3. The distribution of the next token is compared at that position and at the later ones: KL(steered ‖ clean), the text's own next token,
   tokens gained and lost. Where outputs are not tokens, theirs is compared; one output by its absolute change.
4. Random directions of the same norm, pushed by the same delta at the same positions, show what any push
   does.

Averages and intervals are over documents, one position each. The push is not cut at zero: turned down by more than it is active,
a feature's direction goes negative, which its dictionary reads as 0 (``below_zero`` tells the share of documents).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import networkx as nx
import numpy as np
import pandas as pd

from feature_graph.artifacts import CONFIRM, ActivationStore, parse_feature_id
from feature_graph.config import Config
from feature_graph.stats import adjust, mean_test
from feature_graph.steering.agreement import Agreement, agreement
from feature_graph.steering.cascade import Cascade, predict_cascade
from feature_graph.steering.experiment import SteeringExperiment, check_steer, longest_path
from feature_graph.steering.outputs import output_frame, shifted, token_frame, token_namer
from feature_graph.steering.serialization import as_frame, frame_values, load_result, plain_value, save_result
from feature_graph.steering.text import LEVEL, side_effects_text
from feature_graph.steering.trials import Arm, Trials

KIND, VERSION = "side_effects", 1
_SHOWN = ["feature", "label", "hop", "forecast", "measured", "ci_low", "ci_high", "relative", "placebo", "on_before", "on_after", "q_value"]


@dataclass(frozen=True, eq=False)
class SideEffects:
    """What one steering does.

    Attributes:
        source: Id of the steered feature.
        label: Its label.
        delta: What is added to it, in activation units.
        unit: Its mean activation where active.
        n_documents: Documents steered, one position each.
        n_hops: Longest path that pictures list; the forecast sums over paths of any length.
        below_zero: Share of documents at which the push is larger than what the feature has there (only for a negative delta).
        features: One row a feature behind the source's site, largest |relative| change first: ``feature``, ``label``, ``layer``, ``hop``
            (first hop at which the graph reaches it, 0 if it does not), ``forecast`` (0 if not reached) with ``forecast_low`` and
            ``forecast_high``, ``unit`` (its mean activation where active), ``before`` (mean activation at these positions in the clean
            run), ``measured`` (mean change, activation units), ``se``, ``ci_low``, ``ci_high``, ``q_value`` (Benjamini-Hochberg over
            all rows), ``relative`` (``measured`` over ``unit``), ``placebo`` (root mean square of the mean changes under the random
            directions), and shares of documents: ``on_before``, ``on_after``, ``turned_on``, ``turned_off``.
        output: One row a position behind the pushed one: ``offset``, ``n_documents``, ``kl`` (nats) with ``kl_low``, ``kl_high``,
            ``kl_max``, ``placebo_kl``, ``next_before`` and ``next_change`` (log-probability of the text's own next token) with
            ``next_low``, ``next_high``, and ``top_changed`` (share of documents whose likeliest next token is another one). NaN in
            ``next_…`` where outputs are not tokens. ``measure`` says what the ``kl…`` columns hold: ``KL``, or ``|Δ output|`` for a model
            with one output, whose KL is 0 whatever happens.
        tokens: Tokens gained and lost: ``when`` (here, later), ``side`` (gained, lost), ``token``, ``text``, ``p_before``, ``p_after``,
            ``change``, ``log_change``, ``rose``, ``n_documents``; outputs, where they are not tokens; none where there is one output.
    """

    source: str
    label: str
    delta: float
    unit: float
    n_documents: int
    n_hops: int
    below_zero: float
    features: pd.DataFrame
    output: pd.DataFrame
    tokens: pd.DataFrame

    @property
    def measured(self) -> dict[str, float]:
        """Feature → mean change, of those that the graph reaches or that moved; for ``render_cascade_overlay``."""
        kept = self.features[(self.features["hop"] > 0) | (self.features["q_value"] < LEVEL)]
        return dict(zip(kept["feature"], kept["measured"], strict=True))

    @property
    def n_moved(self) -> int:
        """Features that moved (q < 0.05)."""
        return int((self.features["q_value"] < LEVEL).sum())

    @property
    def kl(self) -> float:
        """Mean KL(steered ‖ clean) in nats at the pushed position; |Δ output| for a model with one output."""
        return float(self.output["kl"].iloc[0])

    def table(self, top: int = 20, *, moved_only: bool = True) -> pd.DataFrame:
        """The largest side effects, forecast beside measured; only features that moved (q < 0.05) unless asked otherwise."""
        kept = self.features[self.features["q_value"] < LEVEL] if moved_only else self.features
        return kept[_SHOWN].head(top).reset_index(drop=True)

    def agreement(self, hop: int | None = None) -> Agreement:
        """Forecast against measurement over the features that the graph reaches (at one hop, or at any)."""
        reached = self.features["hop"] > 0 if hop is None else self.features["hop"] == hop
        return agreement(self.features[reached].assign(source=self.source))

    def summary(self, top: int = 8) -> str:
        """The result in words."""
        return side_effects_text(self, top)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        scalars = ("source", "label", "delta", "unit", "n_documents", "n_hops", "below_zero")
        return {k: plain_value(getattr(self, k)) for k in scalars} | {
            k: frame_values(getattr(self, k)) for k in ("features", "output", "tokens")
        }

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
        return cls(**(values | {k: as_frame(values[k]) for k in ("features", "output", "tokens")}))


def side_effects(
    model: Any,
    saes: Mapping[int, Any],
    G: nx.DiGraph,
    store: ActivationStore,
    source: str,
    delta: float,
    cfg: Config | None = None,
    *,
    n_hops: int | None = None,
    horizon: int = 4,
    max_documents: int = 24,
    min_documents: int = 6,
    n_placebo: int = 4,
    top_tokens: int = 10,
) -> SideEffects:
    """Steer one feature in the model and measure what else moves.

    Args:
        model: A HookedTransformer.
        saes: Layer → SAELens SAE.
        G: Interaction graph of the same run; its features are read, its edges give the forecast.
        store: Recorded activations of the same run.
        source: Id of the feature to steer.
        delta: Activation units added to it at one position (``store.mean_activations`` tells its usual size).
        cfg: Configuration of the run; gives the seed.
        n_hops: Longest path that pictures list, in edges; None lists those of any length. The forecast sums over all of them either way.
        horizon: Later positions at which the output is compared.
        max_documents: Documents it is steered in, one position each.
        min_documents: Fewer are refused.
        n_placebo: Random directions pushed for comparison.
        top_tokens: Tokens gained and lost to name.

    Raises:
        SteeringError: If the feature is unknown or active in too few documents, or a number makes no sense.
    """
    check_steer(G, store, source, delta)
    n_hops = longest_path(G, source) if n_hops is None else n_hops
    forecast = predict_cascade(G, source, delta, n_hops, min_effect=0.0)
    bench = SteeringExperiment(model, saes, G, store, cfg, source, horizon)
    trials = bench.trials(CONFIRM, max_documents, min_documents)
    arms = [[], [bench.push(source, delta)], *([push] for push in bench.placebos(delta, n_placebo))]
    clean, steered, *placebos = trials.run(arms, bench.features)
    base, after = trials.outputs(clean), trials.outputs(steered)
    others = [shifted(trials.outputs(arm), base, trials.there, trials.next_tokens).kl for arm in placebos]
    found = shifted(after, base, trials.there, trials.next_tokens)
    return SideEffects(
        source=source,
        label=bench.labels[source],
        delta=float(delta),
        unit=bench.unit(source),
        n_documents=len(trials),
        n_hops=n_hops,
        below_zero=float((bench.values(clean, [source]) < -delta).mean()),
        features=_features(bench, trials, forecast, clean, steered, placebos),
        output=output_frame(found, np.array(others).reshape(len(others), *found.kl.shape), bench.seed),
        tokens=token_frame(after, base, trials.there, token_namer(model), top_tokens),
    )


def _features(bench: SteeringExperiment, trials: Trials, forecast: Cascade, clean: Arm, steered: Arm, placebos: list[Arm]) -> pd.DataFrame:
    names = bench.downstream(trials)
    before, after = bench.values(clean, names), bench.values(steered, names)
    test, limits = mean_test(after - before), bench.thresholds(names)
    on, still = before > limits, after > limits
    units = np.array([bench.unit(name) for name in names])
    random = [(bench.values(arm, names) - before).mean(axis=0) for arm in placebos]
    ranges = [forecast.intervals.get(name) for name in names]
    frame = pd.DataFrame(
        {
            "feature": names,
            "label": [bench.labels[name] for name in names],
            "layer": [parse_feature_id(name)[0] for name in names],
            "hop": [forecast.hops.get(name, 0) for name in names],
            "forecast": [forecast.effects.get(name, 0.0) for name in names],
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
