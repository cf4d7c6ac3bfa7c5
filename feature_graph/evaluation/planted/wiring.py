"""What is planted: named directions, the wires between them, and the true effects that follow by linear algebra.

A wire of block b reads one direction and writes another. Where all wires are linear, the residual stream in the space of named
directions goes through T_b = I + Σ slope · write ⊗ read, so that the total effect over some blocks is a product of matrices,
and the direct effect the same product with the directions of every dictionary between taken out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FeatureKey = tuple[int, int]
Pair = tuple[FeatureKey, FeatureKey]


@dataclass(frozen=True)
class Wire:
    """What block ``block`` adds along ``write`` per unit along ``read``: at the same position, or one position later."""

    block: int
    read: str
    write: str
    slope: float
    by: Literal["mlp", "head"] = "mlp"


@dataclass(frozen=True)
class Gate:
    """An AND gate: ``write`` gets max(0, first + second − threshold)."""

    block: int
    first: str
    second: str
    write: str
    threshold: float


@dataclass(frozen=True)
class TrueEffect:
    """True effects of one (source, target) pair per unit of the source.

    Attributes:
        total: Same position, everything free.
        direct: With the dictionaries between holding their clean features.
        later: Summed over later positions.
        copy: Part of the total that the source's own direction gives, still there at the target's site.
    """

    total: float
    direct: float
    later: float
    copy: float = 0.0

    @property
    def computed(self) -> float:
        """Total less copy: what the blocks between do about it."""
        return self.total - self.copy

    @property
    def exists(self) -> bool:
        """Whether there is any effect at all."""
        return self.largest > 1e-9

    @property
    def largest(self) -> float:
        """Magnitude of the largest of the effects that are tested."""
        return max(abs(self.total), abs(self.direct), abs(self.later), abs(self.computed))


@dataclass(frozen=True)
class Wiring:
    """The plan of a planted transformer.

    Attributes:
        dictionaries: One list of direction names per site; site L lies after block L. A name may stand twice (a duplicate).
        wires: Linear connections.
        gates: AND gates.
        pushed: Wires that push their target below its threshold; not linear in the target's activation.
        base: Block → {direction: constant that the block adds}.
        driven: Directions that tokens write themselves.
        decoys: (source, target) names that are active together without a causal path.
        faint: Wires too weak to count as an effect: they are in the model and must not be reported.
        together: Driven directions that are written by the very same tokens.
    """

    dictionaries: tuple[tuple[str, ...], ...]
    wires: tuple[Wire, ...]
    gates: tuple[Gate, ...]
    pushed: tuple[Wire, ...]
    base: dict[int, dict[str, float]]
    driven: tuple[str, ...]
    decoys: tuple[tuple[str, str], ...]
    faint: tuple[Wire, ...] = ()
    together: tuple[str, ...] = ()

    @property
    def units(self) -> tuple[Wire, ...]:
        """Every wire, whatever its kind."""
        return (*self.wires, *self.pushed, *self.faint)

    @property
    def names(self) -> list[str]:
        """Every direction, sorted."""
        wired = [name for w in self.units for name in (w.read, w.write)]
        return sorted({*(n for d in self.dictionaries for n in d), *wired, *(g.write for g in self.gates), *self.driven})

    def keys(self, site: int, name: str) -> list[FeatureKey]:
        """Features of a site that stand for a direction."""
        return [(site, i) for i, n in enumerate(self.dictionaries[site]) if n == name]


def true_effects(wiring: Wiring, window: int) -> dict[Pair, TrueEffect]:
    """Effects of every linear pair inside the window that has one; pairs downstream of a gate or a push are left out."""
    names = wiring.names
    number = {name: i for i, name in enumerate(names)}
    found: dict[Pair, TrueEffect] = {}
    bent = set(nonlinear_pairs(wiring, window))
    for source in range(len(wiring.dictionaries)):
        for target in range(source + 1, min(source + window, len(wiring.dictionaries) - 1) + 1):
            total, direct, later = (_transfer(wiring, number, source, target, kind) for kind in ("total", "direct", "later"))
            for i, read in enumerate(wiring.dictionaries[source]):
                for j, write in enumerate(wiring.dictionaries[target]):
                    at = number[write], number[read]
                    effect = TrueEffect(float(total[at]), float(direct[at]), float(later[at]), float(read == write))
                    if effect.exists and "dead" not in (read, write) and ((source, i), (target, j)) not in bent:
                        found[(source, i), (target, j)] = effect
    return found


def _transfer(wiring: Wiring, number: dict[str, int], source: int, target: int, kind: str) -> NDArray[np.float64]:
    """Matrix [write, read] of one kind of effect from one site to another."""
    n = len(number)
    same, later = np.eye(n), np.zeros((n, n))
    for block in range(source + 1, target + 1):
        step, hop = np.eye(n), np.zeros((n, n))
        for wire in wiring.wires:
            if wire.block == block:
                (step if wire.by == "mlp" else hop)[number[wire.write], number[wire.read]] += wire.slope
        later = step @ (later + hop @ same)  # the head adds before the MLP of its block reads
        same = step @ same
        if kind == "direct" and block < target:
            same = _forget(wiring.dictionaries[block], number) @ same
    return later if kind == "later" else same


def _forget(dictionary: tuple[str, ...], number: dict[str, int]) -> NDArray[np.float64]:
    keep = np.ones(len(number))
    keep[[number[name] for name in dictionary if name != "dead"]] = 0
    return np.diag(keep)


def nonlinear_pairs(wiring: Wiring, window: int) -> list[Pair]:
    """Pairs with a true effect that no single slope describes: inputs of gates, and pushes below the threshold."""
    names = [(g.block, read, g.write) for g in wiring.gates for read in (g.first, g.second)]
    names += [(w.block, w.read, w.write) for w in wiring.pushed]
    pairs = []
    for block, read, write in names:
        for source in range(max(0, block - window), block):
            for target in range(block, min(source + window, len(wiring.dictionaries) - 1) + 1):
                pairs += [(s, t) for s in wiring.keys(source, read) for t in wiring.keys(target, write)]
    return pairs
