"""What was found about one behaviour."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import networkx as nx

from feature_graph.terminal import percent
from ingest import counted


@dataclass(frozen=True)
class BehaviorScore:
    """How well the model does the behaviour, in units of its metric, on the held-out prompts.

    Attributes:
        metric: Name of the metric.
        clean: Mean over groups on the clean prompts.
        ci_low: Lower end of its 95 % interval over groups.
        ci_high: Upper end.
        corrupted: The same answers' mean metric on the corrupted prompts.
        ablated: Mean on the clean prompts with all seeds ablated together; None without seeds.
        accuracy: Share of clean prompts with a metric above 0: a right answer is preferred.
        answer_probability: Mean probability that the model gives to the right answers.
        follows_prompt: Whether clean − corrupted is above 0 with its whole interval.
        prompts: Held-out prompts used.
        groups: Held-out groups of prompts.
        floor: Smallest |effect| of an ablation that counts: what random directions of the same size do.
        dropped: Reason → pairs that could not be used with this model.
    """

    metric: str
    clean: float
    ci_low: float
    ci_high: float
    corrupted: float
    ablated: float | None
    accuracy: float
    answer_probability: float
    follows_prompt: bool
    prompts: int
    groups: int
    floor: float
    dropped: dict[str, int]

    @property
    def measure(self) -> str:
        """The metric in words."""
        return self.metric.replace("_", " ")

    @property
    def able(self) -> bool:
        """Whether the model does it: the intervals of the metric and of clean − corrupted lie above 0."""
        return self.ci_low > 0 and self.follows_prompt


@dataclass(frozen=True)
class BehaviorSubgraph:
    """The part of the graph around the features that carry a behaviour.

    Attributes:
        behavior: Name of the behaviour.
        description: What it is.
        seed_features: One dict per seed, largest effect first: ``feature_id``, ``effect_size`` (mean of clean − ablated metric on held-out
            prompts), ``ci_low``, ``ci_high`` (95 %, over groups), ``p_value``, ``q_value`` (Holm over the seeds), ``attribution`` (on the
            other half), ``selection_effect`` (ablation there), ``confirmed``, ``rank``, ``layer``, ``index``, ``label``, ``uid``,
            ``in_graph``.
        subgraph: Seeds, every feature from which a seed is reached or which a seed reaches within the hops, and the edges among them.
            Nodes carry ``seed``, ``effect_size`` (0 for others) and ``hops`` to the nearest seed.
        score: How well the model does it.
        confirmed: Whether the model does it and most of the seeds are confirmed.
        warnings: What to know before believing it.
        prompts: The held-out prompts.
        uid: Model, its weights and the behaviour's name.
        outputs: What its features write straight into the metric (:mod:`feature_graph.subgraphs.outputs`).
    """

    behavior: str
    description: str
    seed_features: list[dict[str, Any]]
    subgraph: nx.DiGraph
    score: BehaviorScore | None
    confirmed: bool
    warnings: tuple[str, ...]
    prompts: tuple[str, ...]
    uid: str
    outputs: tuple[dict[str, Any], ...] = ()

    def summary(self, top: int = 10) -> str:
        """The result in words."""
        lines = [f"{self.behavior}: {'confirmed' if self.confirmed else 'NOT confirmed'}"]
        lines += [f"  warning: {warning}" for warning in self.warnings]
        if self.score is not None:
            lines += _score_lines(self.score)
        size = f"{counted(len(self.subgraph), 'feature')}, {counted(self.subgraph.size(), 'edge')}"
        lines.append(f"  {counted(len(self.seed_features), 'seed')}; subgraph of {size}")
        lines += [_seed_line(seed) for seed in self.seed_features[:top]]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as ``behaviors.json`` holds them."""
        score = {} if self.score is None else asdict(self.score)
        names = {"feature_id": "id", "effect_size": "effect"}
        return {
            "name": self.behavior,
            "uid": self.uid,
            "description": self.description,
            "prompts": list(self.prompts),
            "metric": score.pop("metric", "logit_difference"),
            "clean": score.pop("clean", None),
            "corrupted": score.pop("corrupted", None),
            "ablated": score.pop("ablated", None),
            "accuracy": score.pop("accuracy", None),
            "dropped": score.pop("dropped", {}),
            "score": {k: v for k, v in score.items() if k not in {"prompts"}},
            "confirmed": self.confirmed,
            "warnings": list(self.warnings),
            "seeds": [{names.get(key, key): value for key, value in seed.items()} for seed in self.seed_features],
            "members": list(self.subgraph),
            "outputs": [dict(edge) for edge in self.outputs],
        }


def _score_lines(score: BehaviorScore) -> list[str]:
    lines = [
        f"  {score.measure} {score.clean:+.2f} [{score.ci_low:+.2f}, {score.ci_high:+.2f}] on {score.prompts} held-out prompts "
        f"({score.groups} groups); {score.corrupted:+.2f} on the corrupted ones",
        f"  right answer preferred in {percent(score.accuracy)}; its mean probability {score.answer_probability:.2f}",
    ]
    if score.ablated is not None:
        lines.append(f"  with all seeds ablated together {score.ablated:+.2f}")
    if score.dropped:
        lines.append("  left out: " + ", ".join(f"{n} pairs: {reason}" for reason, n in score.dropped.items()))
    return lines


def _seed_line(seed: dict[str, Any]) -> str:
    mark = "confirmed" if seed["confirmed"] else "unconfirmed"
    outside = "" if seed["in_graph"] else ", not in the graph"
    label = f"  {seed['label']}" if seed["label"] else ""
    interval = f"[{seed['ci_low']:+.3f}, {seed['ci_high']:+.3f}]"
    return f"    {seed['feature_id']:>12} {seed['effect_size']:+.3f} {interval} {mark}{outside}{label}"
