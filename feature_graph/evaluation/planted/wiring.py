"""What is planted: named directions, the wires between them, and the true effects that follow by linear algebra.

A wire of block b reads one direction and writes another. Where all wires are linear, the residual stream in the space of named
directions goes through T_b = I + Σ slope · write ⊗ read, so that the total effect over some blocks is a product of matrices,
and the direct effect the same product with the directions of every dictionary between taken out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
        direct: With the dictionaries between restored to their clean features.
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
        return max(abs(self.total), abs(self.direct), abs(self.later), abs(self.computed)) > 1e-9


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
    """

    dictionaries: tuple[tuple[str, ...], ...]
    wires: tuple[Wire, ...]
    gates: tuple[Gate, ...]
    pushed: tuple[Wire, ...]
    base: dict[int, dict[str, float]]
    driven: tuple[str, ...]
    decoys: tuple[tuple[str, str], ...]
    faint: tuple[Wire, ...] = ()

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


def standard_wiring(n_filler: int = 12) -> Wiring:
    """Four sites with one of each: excitation, inhibition, double inhibition, chain, branch, skip, carry, gate, push and decoys.

    ``hidden`` and ``bypass`` are in no dictionary: what passes along them is what a direct effect over two sites measures.
    """
    filler = [tuple(f"filler{site}_{k}" for k in range(n_filler)) for site in range(4)]
    first = ("excite", "inhibit", "chain", "carry", "skip", "branch", "gate_a", "gate_b", "decoy", "push", "pass", "twin", "twin")
    second = ("excited", "inhibited", "chain1", "carried", "branch1", "gated", "decoyed", "pushed", "pass", "twinned", "dense1")
    return Wiring(
        dictionaries=(
            (*first, "dead", "dense", *filler[0]),
            (*second, "dead", *filler[1]),
            ("chain2", "skipped", "branched", "released", "pass", *filler[2]),
            ("chain3", "forwarded", *filler[3]),
        ),
        wires=(
            Wire(1, "excite", "excited", 0.8),
            Wire(1, "inhibit", "inhibited", -0.6),
            Wire(1, "chain", "chain1", 0.9),
            Wire(1, "carry", "carried", 0.75, "head"),
            Wire(1, "skip", "hidden", 0.9),
            Wire(1, "branch", "branch1", 0.6),
            Wire(1, "branch", "bypass", 1.0),
            Wire(1, "twin", "twinned", 0.7),
            Wire(2, "chain1", "chain2", 0.7),
            Wire(2, "hidden", "skipped", 0.8),
            Wire(2, "branch1", "branched", 0.5),
            Wire(2, "bypass", "branched", 0.3),
            Wire(2, "inhibited", "released", -0.5),
            Wire(3, "chain2", "chain3", 0.8),
            Wire(3, "carried", "forwarded", 0.65),
        ),
        gates=(Gate(1, "gate_a", "gate_b", "gated", 3.2),),
        pushed=(Wire(1, "push", "pushed", -0.8),),
        base={1: {"inhibited": 3.0, "pushed": 1.0}, 2: {"released": 2.5}},
        driven=(*sorted(set(first)), "decoyed", "dense", "dense1", *(name for group in filler for name in group)),
        decoys=(("decoy", "decoyed"), ("dense", "dense1")),
    )


def faint_wiring(n: int = 12, slopes: tuple[float, float] = (0.002, 0.008)) -> Wiring:
    """The standard plan with ``n`` more wires that are too weak to count, of both signs, between features that tokens drive.

    Args:
        n: How many.
        slopes: The smallest and the largest |slope|; both under ``min_effect``.
    """
    plan = standard_wiring()
    sizes = np.geomspace(*slopes, n)
    wires = tuple(Wire(1, f"faint{k}", f"fainter{k}", float(size) * (-1) ** k) for k, size in enumerate(sizes))
    first, second, *rest = plan.dictionaries
    first, second = (*first, *(w.read for w in wires)), (*second, *(w.write for w in wires))
    driven = (*plan.driven, *(w.read for w in wires), *(w.write for w in wires))
    return replace(plan, dictionaries=(first, second, *rest), driven=driven, faint=wires)


def disjoint_wiring(n_features: int = 16, n_hidden: int = 6) -> Wiring:
    """Four sites without a path between any two features: what moves the targets comes from directions in no dictionary."""
    features = tuple(tuple(f"island{site}_{k}" for k in range(n_features)) for site in range(4))
    hidden = tuple(f"hidden{k}" for k in range(n_hidden))
    wires = tuple(Wire(block, hidden[k], features[block][k], 0.5) for block in (1, 2, 3) for k in range(n_hidden))
    driven = (*hidden, *(name for group in features for name in group))
    return Wiring(features, wires, (), (), {}, driven, ())
