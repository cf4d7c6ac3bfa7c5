"""Every signed motif counted in one pass: feed-forward loops by their eight signs, bi-fans by their seven, diamonds, chains, fans.

Names of feed-forward loops as in Mangan and Alon, PNAS 100 (2003): C1–C4 coherent (the direct edge acts in the same direction as the
chain), I1–I4 incoherent. Each type is also written in the small text form of :mod:`feature_graph.motifs.pattern`.
"""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_graph.motifs import kernels
from feature_graph.motifs.arrays import Ints, SignedGraph

_ARROW = ("->", "-|")


@dataclass(frozen=True)
class MotifType:
    """One signed motif.

    Attributes:
        name: Such as ``ffl_i1``.
        family: ``chain``, ``fan_in``, ``fan_out``, ``feed_forward_loop``, ``bi_fan`` or ``diamond``.
        pattern: The motif in the small text form; several where it is a sum of them.
        meaning: One clause for people.
        fixed: Its number follows from the signed degrees of the features alone, so that a null graph has as many.
    """

    name: str
    family: str
    patterns: tuple[str, ...]
    meaning: str
    fixed: bool = False


def _ffl(name: str, first: int, second: int, across: int, meaning: str) -> MotifType:
    text = f"A {_ARROW[first]} B; B {_ARROW[second]} C; A {_ARROW[across]} C"
    return MotifType(name, "feed_forward_loop", (text,), meaning)


def _bi_fan(name: str, signs: str, meaning: str) -> MotifType:
    a = [_ARROW[s == "-"] for s in signs]
    return MotifType(name, "bi_fan", (f"A {a[0]} C; A {a[1]} D; B {a[2]} C; B {a[3]} D",), meaning)


def _diamond(name: str, wanted: int, meaning: str) -> MotifType:
    texts = {}
    for x in range(16):
        s = [(x >> k) & 1 for k in range(4)]
        if (s[0] ^ s[1] ^ s[2] ^ s[3]) == wanted:
            key = tuple(sorted([(s[0], s[1]), (s[2], s[3])]))
            texts[key] = f"A {_ARROW[key[0][0]]} B; B {_ARROW[key[0][1]]} D; A {_ARROW[key[1][0]]} C; C {_ARROW[key[1][1]]} D"
    return MotifType(name, "diamond", tuple(texts.values()), meaning)


def _two(name: str, family: str, text: str, meaning: str) -> MotifType:
    return MotifType(name, family, (text,), meaning, fixed=True)


#: Feed-forward loops by signs (first, second, across), as 4·first + 2·second + across with 1 for inhibition.
FFLS = (
    _ffl("ffl_c1", 0, 0, 0, "A excites B, B excites C, A excites C: all agree"),
    _ffl("ffl_i3", 0, 0, 1, "an exciting chain beside a direct edge that inhibits"),
    _ffl("ffl_i1", 0, 1, 0, "A excites C, and through B holds it back"),
    _ffl("ffl_c3", 0, 1, 1, "A inhibits C directly and through the B that it excites"),
    _ffl("ffl_i4", 1, 0, 0, "A excites C, and inhibits the B that would excite it too"),
    _ffl("ffl_c2", 1, 0, 1, "A inhibits C, and inhibits the B that excites it"),
    _ffl("ffl_c4", 1, 1, 0, "A excites C, and inhibits the B that inhibits it"),
    _ffl("ffl_i2", 1, 1, 1, "A inhibits C, and inhibits the B that inhibits it"),
)
#: Bi-fans by signs (A→C, A→D, B→C, B→D), in the order of :func:`kernels.bi_fans`.
BI_FANS = (
    _bi_fan("bi_fan_excite", "++++", "two features excite the same two"),
    _bi_fan("bi_fan_one_inhibits", "+++-", "one of the four edges inhibits"),
    _bi_fan("bi_fan_opposed", "++--", "one feature excites both targets, the other inhibits both"),
    _bi_fan("bi_fan_switch", "+-+-", "both excite one target and inhibit the other"),
    _bi_fan("bi_fan_crossed", "+--+", "each excites one target and inhibits the other's"),
    _bi_fan("bi_fan_one_excites", "+---", "one of the four edges excites"),
    _bi_fan("bi_fan_inhibit", "----", "two features inhibit the same two"),
)
DIAMONDS = (
    _diamond("diamond_coherent", 0, "A acts on D through B and through C in the same direction"),
    _diamond("diamond_incoherent", 1, "A acts on D through B and through C against each other"),
)
CHAINS = (
    _two("chain_excitation", "chain", "A -> B; B -> C", "an excitation passed on"),
    _two("chain_excited_inhibition", "chain", "A -> B; B -| C", "A excites a feature that inhibits C"),
    _two("chain_inhibited_excitation", "chain", "A -| B; B -> C", "inhibition of an excitation: A inhibits a feature that excites C"),
    _two("chain_disinhibition", "chain", "A -| B; B -| C", "A inhibits a feature that inhibits C"),
)
FANS_IN = (
    _two("fan_in_excite", "fan_in", "A -> C; B -> C", "two features excite one"),
    _two("fan_in_compete", "fan_in", "A -> C; B -| C", "one excites, the other inhibits"),
    _two("fan_in_inhibit", "fan_in", "A -| C; B -| C", "two features inhibit one"),
)
FANS_OUT = (
    _two("fan_out_excite", "fan_out", "A -> B; A -> C", "one feature excites two"),
    _two("fan_out_switch", "fan_out", "A -> B; A -| C", "one feature excites one and inhibits another"),
    _two("fan_out_inhibit", "fan_out", "A -| B; A -| C", "one feature inhibits two"),
)
#: All signed motifs; those that a null graph can have more or fewer of come first.
TYPES: tuple[MotifType, ...] = (*FFLS, *BI_FANS, *DIAMONDS, *CHAINS, *FANS_IN, *FANS_OUT)
_BY_NAME = {t.name: t for t in TYPES}


def motif_type(name: str) -> MotifType:
    """The type of that name.

    Raises:
        KeyError: If there is none.
    """
    return _BY_NAME[name]


@dataclass(frozen=True, eq=False)
class Census:
    """Exact numbers of every signed motif.

    Attributes:
        counts: Name of :data:`TYPES` → number of subgraphs.
        chain_spans: Chains [n, n, 4] by the spans of the first and the second edge, from 0, and by :data:`CHAINS`.
        loop_spans: Feed-forward loops [n, n, 8], the same, by :data:`FFLS`.
    """

    counts: dict[str, int]
    chain_spans: Ints
    loop_spans: Ints

    def by_span(self) -> pd.DataFrame:
        """Chains and feed-forward loops by the layers that their two steps cross: ``motif``, ``first_span``, ``second_span``, ``count``."""
        rows = []
        for types, table in ((CHAINS, self.chain_spans), (FFLS, self.loop_spans)):
            for i, j, k in zip(*np.nonzero(table), strict=True):
                rows.append((types[k].name, int(i), int(j), int(table[i, j, k])))
        return pd.DataFrame(rows, columns=["motif", "first_span", "second_span", "count"])


def census(graph: nx.DiGraph | SignedGraph) -> Census:
    """Count every motif of :data:`TYPES`, exactly. Edges that take from a copy have no sign, and are left out.

    Raises:
        MotifError: If the graph has a cycle.
    """
    return census_of_all(SignedGraph.of(graph).decided)


def census_of_all(g: SignedGraph) -> Census:
    """The same of every edge, where one that takes from a copy stands among the exciting ones: for sums over all signs."""
    n_spans = int(g.spans.max()) + 1 if g.n_edges else 1
    chains, loops, diamonds = kernels.triads(g.starts, g.targets, g.negative, g.spans, n_spans)
    counts = dict(zip((t.name for t in FFLS), loops.sum(axis=(0, 1)).tolist(), strict=True))
    counts |= dict(zip((t.name for t in BI_FANS), count_bi_fans(g.sources, g.targets, g.negative, g.n_nodes).tolist(), strict=True))
    counts |= {"diamond_coherent": int(diamonds[0]), "diamond_incoherent": int(diamonds[1])}
    counts |= dict(zip((t.name for t in CHAINS), chains.sum(axis=(0, 1)).tolist(), strict=True))
    for types, ends in ((FANS_IN, g.targets), (FANS_OUT, g.sources)):
        up, down = (np.bincount(ends[g.negative == s], minlength=g.n_nodes).astype(np.int64) for s in (0, 1))
        values = (_pairs(up), int(up @ down), _pairs(down))
        counts |= dict(zip((t.name for t in types), values, strict=True))
    return Census(counts, chains, loops)


def count_bi_fans(sources: Ints, targets: Ints, negative: NDArray[np.uint8], n: int) -> Ints:
    """Bi-fans by :data:`BI_FANS` [7]; over pairs of sources or over pairs of targets, whichever is less work."""
    incoming, outgoing = (np.bincount(ends, minlength=n).astype(float) for ends in (targets, sources))
    turned = (outgoing**2).sum() < (incoming**2).sum()
    a, b = (targets, sources) if turned else (sources, targets)
    starts, ends, sign, order = kernels.by_source(a, b, negative, n)
    flat = np.empty_like(a)
    flat[order] = a
    in_starts, in_sources, in_sign, place = kernels.by_source(ends, flat, sign, n)
    found = kernels.bi_fans(starts, ends, sign, in_starts, in_sources, in_sign, place)
    if turned:
        found[[2, 3]] = found[[3, 2]]
    return np.asarray(found)


def _pairs(counts: Ints) -> int:
    return int((counts * (counts - 1) // 2).sum())
