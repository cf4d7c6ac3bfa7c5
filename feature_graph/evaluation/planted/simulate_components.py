"""The truth between dictionaries on components, from the plan alone; see :mod:`feature_graph.evaluation.planted.simulate`.

What is clamped is the stream after the source's block, whatever the dictionary: transcoders and SAEs on an MLP's output write there, too.

1. Total and later: high and low are run on, and read where the target reads: the normalised stream before its MLP, what its MLP adds, or
   the stream after its block.
2. Copy: the clamp's change added to the clean stream where the target reads, through the norm for a transcoder; 0 for an SAE on what an MLP
   adds.
3. Direct: the outputs of all MLPs between held at their clean values, at the clamped position.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_graph.config import Config
from feature_graph.evaluation.planted.components import PlantedComponents
from feature_graph.evaluation.planted.simulate import Bools, ClampSamples, Floats, Simulation, clamp_samples, document_means
from feature_graph.evaluation.planted.wiring import Pair, TrueEffect


@dataclass(frozen=True)
class _Block:
    """A block's tensors in coordinates: the stream before its MLP, what the MLP adds, the stream after it."""

    mid: Floats
    added: Floats

    @property
    def after(self) -> Floats:
        return self.mid + self.added


def component_effects(planted: PlantedComponents, cfg: Config, select: Bools, test: Bools) -> dict[Pair, TrueEffect]:
    """True effects of every source that is active in both parts, on every target in the window.

    Args:
        planted: The model and its dictionaries; plan, vectors and tokens are read, no weights.
        cfg: Levels, horizon and window.
        select: [n_docs], the documents that levels come from.
        test: [n_docs], the documents that effects are averaged over.
    """
    world = _World(planted)
    clean = world.run(planted.tokens)
    found: dict[Pair, TrueEffect] = {}
    for site in world.sites:
        recorded = world.read(site, clean[world.block_of(site)])
        for index in range(recorded.shape[-1]):
            samples = clamp_samples(recorded[select][..., index], recorded[..., index], test, cfg)
            if samples is not None:
                found |= _effects_of(world, clean, samples, (site, index), cfg)
    return found


class _World:
    """The simulation, and the sites of all dictionaries."""

    def __init__(self, planted: PlantedComponents) -> None:
        self.planted, self.simulation = planted, Simulation(planted.base)
        self.blocks = sorted(planted.base.dictionaries)
        self.parts = {planted.key(block): block for block in planted.features}
        self.sites = [self.blocks[0], *self.parts, self.blocks[-1]]

    def block_of(self, site: int) -> int:
        """The block that a site is on."""
        return self.parts.get(site, site)

    def run(self, tokens: NDArray[np.int64]) -> dict[int, _Block]:
        """The clean tensors of every block, [n_docs, context, coordinates]."""
        state, kept = self.simulation.embedded(tokens), {}
        for block in self.blocks:
            kept[block] = self.step(state, np.concatenate([state[:, :1], state[:, :-1]], axis=1), block)
            state = kept[block].after
        return kept

    def step(self, state: Floats, before: Floats, block: int) -> _Block:
        """One block; ``before`` is the stream of the position before."""
        mid = self.simulation.attend(state, before, block)
        return _Block(mid, self.simulation.mlp(mid, block))

    def read(self, site: int, tensors: _Block) -> Floats:
        """Activations of a site's features."""
        if site not in self.parts:
            return self.simulation.record(tensors.after, site)
        if self.planted.kind == "mlp_out":
            return self._features(site, tensors.added @ self.simulation.gram)
        return self._features(site, self.simulation.normalised(tensors.mid))

    def carried(self, site: int, tensors: _Block, change: Floats) -> Floats:
        """Activations with a change of the stream as it was made, and nothing computed of it."""
        if site not in self.parts:
            return self.simulation.encode(tensors.after + change, site)
        if self.planted.kind == "mlp_out":
            return self.read(site, _Block(tensors.mid, np.broadcast_to(tensors.added, change.shape)))
        return self._features(site, self.simulation.normalised(tensors.mid + change))

    def direction(self, site: int, index: int) -> Floats:
        """What one unit of a feature writes, in coordinates."""
        out = np.zeros(len(self.simulation.gram))
        if site in self.parts:
            feature = self.planted.features[self.parts[site]][index]
            out[self.simulation.number[feature.writes]] = feature.sign
        else:
            out[self.simulation.direction((site, index))] = 1.0
        return out

    def _features(self, site: int, along: Floats) -> Floats:
        features = self.planted.features[self.parts[site]]
        read = [sum(along[..., self.simulation.number[name]] for name in f.reads) - f.threshold for f in features]
        return np.stack([np.maximum(values, 0) * f.scale for values, f in zip(read, features, strict=True)], axis=-1)


def _effects_of(
    world: _World, clean: dict[int, _Block], samples: ClampSamples, source: tuple[int, int], cfg: Config
) -> dict[Pair, TrueEffect]:
    start, d = world.block_of(source[0]), samples.documents
    context, span = world.planted.tokens.shape[1], samples.high - samples.low
    steps = samples.positions[:, None] + np.arange(cfg.position_horizon + 1)
    inside, steps = (steps < context)[:, 1:], np.minimum(steps, context - 1)
    change = (np.array([samples.high, samples.low])[:, None] - samples.values)[..., None] * world.direction(*source)
    now = np.repeat(clean[start].after[d[:, None], steps][None], 2, axis=0)  # [level, sample, step, coordinate]
    now[:, :, 0] += change
    held = now[:, :, 0].copy()
    found: dict[Pair, TrueEffect] = {}
    for block in (b for b in world.blocks if start < b <= start + cfg.layer_window):
        before = np.broadcast_to(clean[block - 1].after[d, samples.positions - 1], held.shape)
        moved = world.step(now, np.concatenate([before[:, :, None], now[:, :, :-1]], axis=2), block)
        alone = world.step(held, before, block)
        here = _Block(clean[block].mid[d, samples.positions], clean[block].added[d, samples.positions])
        without = _Block(alone.mid, np.broadcast_to(here.added, alone.mid.shape))
        for target in (site for site in world.sites if world.block_of(site) == block):
            own = alone if target in world.parts else without  # a reader of the MLP's output reads it before it is held
            total = _change(world.read(target, moved), span)
            later = (total[:, 1:] * inside[..., None]).sum(1)
            means = (
                document_means(total[:, 0], d),
                document_means(_change(world.read(target, own), span), d),
                document_means(later[inside.any(1)], d[inside.any(1)]),
                document_means(_change(world.carried(target, here, change), span), d),
            )
            found |= {(source, (target, j)): TrueEffect(*values) for j, values in enumerate(np.stack(means, 1).tolist())}
        now, held = moved.after, without.after
    return found


def _change(levels: Floats, span: float) -> Floats:
    """High less low, per unit."""
    return np.asarray((levels[0] - levels[1]) / span)
