"""The plans of the planted transformers: what each of them holds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from feature_graph.evaluation.planted.wiring import Gate, Wire, Wiring

#: What a block adds to a target that a copy is taken away from: it stays on at every level of the clamp, so that all is linear.
_HELD = 4.0


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


def with_wires(plan: Wiring, wires: tuple[Wire, ...], held: tuple[str, ...] = ()) -> Wiring:
    """A plan with more wires of the first block: tokens drive what they read, the second site has a feature for what they write.

    Args:
        plan: The plan.
        wires: Of block 1.
        held: Directions that the block holds above 0.
    """
    read = tuple(dict.fromkeys(w.read for w in wires))
    written = tuple(dict.fromkeys(w.write for w in wires))
    first, second, *rest = plan.dictionaries
    base = plan.base | {1: plan.base.get(1, {}) | dict.fromkeys(held, _HELD)}
    sites = ((*first, *read), (*second, *written), *rest)
    return replace(plan, dictionaries=sites, wires=(*plan.wires, *wires), base=base, driven=(*plan.driven, *read))


def erased_wiring() -> Wiring:
    """The standard plan with three directions that the first block takes away again: copied in full, computed −1, in total nothing."""
    names = tuple(f"erased{k}" for k in range(3))
    return with_wires(standard_wiring(), tuple(Wire(1, name, name, -1.0) for name in names), names)


def attenuated_wiring() -> Wiring:
    """The standard plan with three directions of which the first block leaves two fifths: no inhibition, a smaller copy."""
    names = tuple(f"faded{k}" for k in range(3))
    return with_wires(standard_wiring(), tuple(Wire(1, name, name, -0.6) for name in names), names)


def turned_wiring() -> Wiring:
    """The standard plan with three directions that the first block turns into another one: an edge whose decoders have cosine 0."""
    wires = [wire for k in range(3) for wire in (Wire(1, f"turn{k}", f"turned{k}", 1.0), Wire(1, f"turn{k}", f"turn{k}", -1.0))]
    return with_wires(standard_wiring(), tuple(wires), tuple(f"turn{k}" for k in range(3)))


def crowded_wiring(n: int = 16, weak: float = 0.04, strong: float = 1.5) -> Wiring:
    """The standard plan with one target of ``n`` weak drivers of both signs beside a strong one."""
    wires = tuple(Wire(1, f"weak{k}", "crowd", weak * (-1) ** k) for k in range(n))
    return with_wires(standard_wiring(), (*wires, Wire(1, "strong", "crowd", strong)), ("crowd",))


def many_wiring(n: int = 90, slope: float = 0.15) -> Wiring:
    """The standard plan with one target of ``n`` equal drivers, all active at the same tokens: too many for one to stand out.

    A driver that is off at a token is none there: of drivers that each act at tokens of their own, nearly all stand out.
    """
    wires = tuple(Wire(1, f"many{k}", "sum", slope) for k in range(n))
    return replace(with_wires(standard_wiring(), wires), together=tuple(w.read for w in wires))
