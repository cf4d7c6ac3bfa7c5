"""The truth by simulation: the planted transformer once more, in float64 NumPy, written from the plan alone.

It shares no code with the engine and reads no weight of the model. A residual stream is kept as its coordinates c along the named
directions and places (x = Σ c_k v_k), so that ⟨v_r, x⟩ = (G c)_r with the Gram matrix G, and ‖x‖² = cᵀ G c. That makes overlap
and normalisation exact:

1. Run every context; note where each feature is active (after the competition, for TopK).
2. For each source: its high level from the select documents; every active position of the test documents is a sample.
3. Clamp high and low at the sample's position, run positions p..p+h on, and compare every feature of the later sites in the window.
4. The direct effect: the same with each passed site's features held at their clean values, by brute force.
5. The copy: what the clamp's own direction does at the target's clean site, at the same two levels.
6. Average within documents, then over them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_graph.config import Config
from feature_graph.evaluation.errors import EvaluationError
from feature_graph.evaluation.planted.dictionaries import Dictionary
from feature_graph.evaluation.planted.model import PlantedModel
from feature_graph.evaluation.planted.wiring import FeatureKey, Pair, TrueEffect
from feature_graph.evaluation.planted.world import EPS

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
#: Activations in float64 below this are rounding, not activity, where the configuration has no threshold of its own.
TINY = 1e-5
#: Features count as held when none is moved by more; and how often they are pushed back at most.
_HELD, _PUSHES = 1e-12, 1000


def simulated_effects(
    planted: PlantedModel,
    cfg: Config,
    select: Bools,
    test: Bools,
    *,
    population: NDArray[np.int64] | None = None,
    sources: Collection[FeatureKey] | None = None,
) -> dict[Pair, TrueEffect]:
    """True effects of every source that is active in both parts, on every target in the window.

    Args:
        planted: The model; its plan, vectors and tokens are read, not its weights.
        cfg: Levels, horizon and window.
        select: [n_docs], the documents that levels come from.
        test: [n_docs], the documents that effects are averaged over.
        population: int64 [n, context], other documents to average over: what a sample of test documents stands for.
        sources: Only these; None takes all.
    """
    world = Simulation(planted)
    clean = own = world.run(planted.tokens)
    if population is not None:
        clean, test = world.run(population), np.ones(len(population), dtype=bool)
    found: dict[Pair, TrueEffect] = {}
    for site in sorted(planted.dictionaries)[:-1]:
        levels, active = world.record(own[site][select], site), world.record(clean[site], site)
        for i in range(active.shape[-1]):
            wanted = sources is None or (site, i) in sources
            samples = clamp_samples(levels[..., i], active[..., i], test, cfg) if wanted else None
            if samples is not None:
                found |= _effects_of(world, clean, samples, (site, i), cfg)
    return found


@dataclass(frozen=True)
class ClampSamples:
    """Where a source is active, and how much.

    Attributes:
        documents: [S].
        positions: [S].
        values: [S], its activations there.
        high: Level of the clamp.
        low: The other one.
    """

    documents: NDArray[np.int64]
    positions: NDArray[np.int64]
    values: Floats
    high: float
    low: float


def clamp_samples(levels: Floats, active: Floats, test: Bools, cfg: Config) -> ClampSamples | None:
    """Every active position of the test documents; None if a feature is active in none of them, or in none of the others.

    Args:
        levels: Activations in the select documents [n, context].
        active: In all documents [n_docs, context].
        test: [n_docs], the test documents.
        cfg: Threshold of activity and levels.
    """
    limit = TINY if cfg.activity_threshold is None else cfg.activity_threshold
    documents, positions = np.nonzero((active > limit) & test[:, None])
    if not len(documents) or not (levels > limit).any():
        return None
    high = float(np.quantile(levels[levels > limit], cfg.clamp_high_quantile))
    return ClampSamples(documents, positions, active[documents, positions], high, cfg.clamp_low)


def _effects_of(
    world: Simulation, clean: list[Floats], samples: ClampSamples, source: tuple[int, int], cfg: Config
) -> dict[Pair, TrueEffect]:
    site = source[0]
    d, context = samples.documents, clean[0].shape[1]
    steps = samples.positions[:, None] + np.arange(cfg.position_horizon + 1)
    inside, steps = (steps < context)[:, 1:], np.minimum(steps, context - 1)
    levels = np.array([samples.high, samples.low])
    now = np.repeat(clean[site][d[:, None], steps][None], 2, axis=0)  # [level, sample, step, coordinate]
    now[:, :, 0, world.direction(source)] += levels[:, None] - samples.values
    held = now[:, :, 0].copy()
    found: dict[Pair, TrueEffect] = {}
    for target in range(site + 1, min(site + cfg.layer_window, len(clean) - 1) + 1):
        before = np.broadcast_to(clean[target - 1][d, samples.positions - 1], held.shape)
        now = world.block(now, np.concatenate([before[:, :, None], now[:, :, :-1]], axis=2), target)
        held = world.block(held, before, target)
        features, direct = world.encode(now, target), world.encode(held, target)
        change = (features[0] - features[1]) / (samples.high - samples.low)
        later = (change[:, 1:] * inside[..., None]).sum(1)
        moved = np.repeat(clean[target][d, samples.positions][None], 2, axis=0)
        moved[..., world.direction(source)] += levels[:, None] - samples.values
        carried = world.encode(moved, target)
        means = (
            document_means(change[:, 0], d),
            document_means((direct[0] - direct[1]) / (samples.high - samples.low), d),
            document_means(later[inside.any(1)], d[inside.any(1)]),
            document_means((carried[0] - carried[1]) / (samples.high - samples.low), d),
        )
        found |= {(source, (target, j)): TrueEffect(*values) for j, values in enumerate(np.stack(means, 1).tolist())}
        held = world.hold(held, clean[target][d, samples.positions], target)
    return found


def document_means(values: Floats, documents: NDArray[np.int64]) -> Floats:
    """Mean over documents of the mean within each; [samples, T] → [T], 0 without samples."""
    if not len(values):
        return np.zeros(values.shape[1:])
    _, at, counts = np.unique(documents, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), *values.shape[1:]))
    np.add.at(sums, at, values)
    return (sums / counts.reshape(-1, *[1] * (values.ndim - 1))).mean(0)


class Simulation:
    """The planted transformer in coordinates along its directions and places; every state is [..., coordinates]."""

    def __init__(self, planted: PlantedModel) -> None:
        self.plan, self.world, self.dictionaries = planted.wiring, planted.world, planted.dictionaries
        vectors = np.concatenate([self.world.directions, self.world.places])
        self.number = {name: i for i, name in enumerate(self.plan.names)}
        self.gram, self.mean, self.d_model = vectors @ vectors.T, vectors.mean(1), vectors.shape[1]
        self.columns = {site: np.array([self.number[n] for n in plan.names]) for site, plan in self.dictionaries.items()}

    def direction(self, feature: tuple[int, int]) -> int:
        """Coordinate that a feature writes."""
        return int(self.columns[feature[0]][feature[1]])

    def run(self, tokens: NDArray[np.int64]) -> list[Floats]:
        """The clean stream after each block, [n_docs, context, coordinates]."""
        state, kept = self.embedded(tokens), []
        for block in sorted(self.dictionaries):
            before = np.concatenate([state[:, :1], state[:, :-1]], axis=1)  # the first position sees only itself
            state = self.block(state, before, block)
            kept.append(state)
        return kept

    def embedded(self, tokens: NDArray[np.int64]) -> Floats:
        """The stream before the first block, [n_docs, context, coordinates]."""
        n_docs, context = tokens.shape
        places = np.broadcast_to(np.eye(context), (n_docs, context, context))
        return np.concatenate([self.world.values[tokens], places], axis=-1)

    def block(self, state: Floats, before: Floats, block: int) -> Floats:
        """One block; ``before`` is the stream of the position before, which the head reads."""
        mid = self.attend(state, before, block)
        return mid + self.mlp(mid, block)

    def attend(self, state: Floats, before: Floats, block: int) -> Floats:
        """The stream between the block's head and its MLP."""
        read, out = self.normalised(before), state.copy()
        for wire in (w for w in self.plan.units if w.block == block and w.by == "head"):
            out[..., self.number[wire.write]] += wire.slope / self.world.gain * read[..., self.number[wire.read]]
        return out

    def mlp(self, mid: Floats, block: int) -> Floats:
        """What the block's MLP adds to that stream."""
        plan, number, gain = self.plan, self.number, self.world.gain
        read, out = self.normalised(mid), np.zeros_like(mid)
        for wire in (w for w in plan.units if w.block == block and w.by == "mlp"):
            out[..., number[wire.write]] += wire.slope / gain * np.maximum(read[..., number[wire.read]], 0)
        for gate in (g for g in plan.gates if g.block == block):
            both = read[..., number[gate.first]] + read[..., number[gate.second]]
            out[..., number[gate.write]] += np.maximum(both / gain - gate.threshold, 0)
        for name, value in plan.base.get(block, {}).items():
            out[..., number[name]] += value
        return out

    def normalised(self, state: Floats) -> Floats:
        """⟨direction, normalised stream⟩ for every coordinate."""
        along = state @ self.gram
        if self.world.normalization is None:
            return along
        square = (along * state).sum(-1, keepdims=True)
        if self.world.normalization == "LN":
            mean = (state @ self.mean)[..., None]
            along, square = along - mean * self.d_model * self.mean, square - self.d_model * mean**2
        return along / np.sqrt(square / self.d_model + EPS)

    def preactivation(self, state: Floats, site: int) -> Floats:
        """Before the threshold, [..., features]."""
        plan: Dictionary = self.dictionaries[site]
        return np.asarray((state @ self.gram)[..., self.columns[site]] * plan.shares + plan.bias)

    def encode(self, state: Floats, site: int) -> Floats:
        """Activations before any competition, [..., features]."""
        pre = self.preactivation(state, site)
        return np.where(pre > self.dictionaries[site].threshold, pre, 0.0)

    def record(self, state: Floats, site: int) -> Floats:
        """Activations after the competition."""
        acts, k = self.encode(state, site), self.dictionaries[site].k
        if k is None:
            return acts
        limit = np.partition(acts, -k, axis=-1)[..., -k, None]
        return np.where(acts >= limit, acts, 0.0)

    def hold(self, state: Floats, clean: Floats, site: int) -> Floats:
        """The streams [V, samples, coordinates] with the site's features as in ``clean`` [samples, coordinates].

        No equation is solved. Every feature that is active in the clean stream or in a variant is pushed back along its own direction by
        what it has gained, all of them again and again, until none is moved any more; then those that this has switched on join them.

        Raises:
            EvaluationError: If that does not end.
        """
        members = (self.record(clean, site) > TINY) | (self.record(state, site) > TINY).any(0)
        before = self.preactivation(clean, site)
        for _ in range(_PUSHES):
            moved = np.where(members, self.preactivation(state, site) - before, 0.0)
            if np.abs(moved).max(initial=0.0) > _HELD:
                state = state - self.write(moved, site)
                continue
            joining = (self.record(state, site) > TINY).any(0) & ~members
            if not joining.any():
                return state
            members = members | joining
        raise EvaluationError(f"site {site}: after {_PUSHES} pushes features are still moved by up to {np.abs(moved).max():.2g}")

    def write(self, acts: Floats, site: int) -> Floats:
        """What activations write into the stream, in coordinates."""
        out = np.zeros((*acts.shape[:-1], len(self.gram)))
        for feature, column in enumerate(self.columns[site]):
            out[..., column] += acts[..., feature]
        return out
