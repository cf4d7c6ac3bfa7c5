"""Counting small patterns exactly, by sparse matrix products.

With A the 0/1 adjacency matrix (rows are sources) of a graph without cycles, and S the same with signs ±1:

    chain               A → B → C                        Σ in(B) · out(B)
    fan_in, fan_out     two sources / two targets of one feature     Σ C(in, 2), Σ C(out, 2)
    feed_forward_loop   A → B → C and A → C              Σ (A·A) ∘ A;  coherent − incoherent = Σ (S·S) ∘ S
    bi_fan              two sources share two targets    Σ over pairs of sources of C((A·Aᵀ), 2)
    diamond             A → B → D and A → C → D          Σ over (A, D) of C((A·A), 2)

Counts are of subgraphs, whether or not other edges join the same features (not *induced* ones). Products are taken in blocks of rows, so
memory stays bounded. Milo et al., "Network motifs", Science 298 (2002); signs as in Mangan and Alon, PNAS 100 (2003).
"""

from __future__ import annotations

from collections.abc import Iterator

import networkx as nx
import numpy as np
import scipy.sparse as sp

from feature_graph.motifs.arrays import SignedGraph
from feature_graph.motifs.census import TYPES, census, census_of_all

MEANINGS = {
    "chain": "A → B → C: a feature drives another through a third",
    "fan_in": "two features drive the same one",
    "fan_out": "one feature drives two",
    "feed_forward_loop": "A → B → C beside A → C",
    "coherent_feed_forward_loop": "… where both paths act on C in the same direction",
    "incoherent_feed_forward_loop": "… where the two paths act on C in opposite directions",
    "bi_fan": "two features both drive the same two",
    "diamond": "A reaches D through B and through C",
}
_BLOCK_ENTRIES = 20_000_000
_LARGE = 20_000


def count_motifs(graph: nx.DiGraph | SignedGraph) -> dict[str, int]:
    """Exact number of each motif of :data:`MEANINGS`.

    Works on any directed graph without cycles; an edge without a strength counts as exciting. ``graph.structural`` and
    ``graph.restated`` choose what is counted. A feed-forward loop with an edge that takes from a copy is neither coherent nor incoherent.

    Raises:
        MotifError: If the graph has a cycle, which an interaction graph cannot have.
    """
    arrays = SignedGraph.of(graph)
    return _by_census(arrays) if arrays.n_edges > _LARGE else plain_counts(arrays)


def plain_counts(arrays: SignedGraph) -> dict[str, int]:
    """The numbers by products of scipy's sparse matrices, one motif after the other."""
    adjacency, signed = arrays.adjacency, arrays.signed
    incoming, outgoing = (np.asarray(adjacency.sum(axis=a)).ravel().astype(np.int64) for a in (0, 1))
    loops, balance = _feed_forward(adjacency, signed)
    decided = _feed_forward(arrays.decided.adjacency, signed)[0] if arrays.from_copy.any() else loops
    return {
        "chain": int(incoming @ outgoing),
        "fan_in": _pairs(incoming),
        "fan_out": _pairs(outgoing),
        "feed_forward_loop": loops,
        "coherent_feed_forward_loop": (decided + balance) // 2,
        "incoherent_feed_forward_loop": (decided - balance) // 2,
        "bi_fan": _bi_fans(adjacency),
        "diamond": sum(_pairs(block.data) for block in _row_blocks(adjacency, adjacency)),
    }


def _by_census(graph: SignedGraph) -> dict[str, int]:
    """The same numbers from the compiled loops of the census, five times faster on large graphs."""
    every = census_of_all(graph).counts
    counts = census(graph).counts if graph.from_copy.any() else every
    found = {family: sum(every[t.name] for t in TYPES if t.family == family) for family in MEANINGS}
    for name in ("coherent", "incoherent"):
        found[f"{name}_feed_forward_loop"] = sum(counts[f"ffl_{name[0]}{i}"] for i in range(1, 5))
    return found


def _feed_forward(adjacency: sp.csr_array, signed: sp.csr_array) -> tuple[int, int]:
    """Number of feed-forward loops, and coherent minus incoherent."""
    loops = balance = 0
    for rows, block in numbered_row_blocks(adjacency, adjacency):
        loops += int(block.multiply(adjacency[rows]).sum())
    for rows, block in numbered_row_blocks(signed, signed):
        balance += int(block.multiply(signed[rows]).sum())
    return loops, balance


def _bi_fans(adjacency: sp.csr_array) -> int:
    """Pairs of rows by common columns; the cheaper of A·Aᵀ and Aᵀ·A (both count every bi-fan once per pair)."""
    incoming, outgoing = (np.asarray(adjacency.sum(axis=a)).ravel().astype(float) for a in (0, 1))
    left = adjacency if (incoming**2).sum() <= (outgoing**2).sum() else sp.csr_array(adjacency.T)
    own = _pairs(np.diff(left.indptr))
    both_orders = sum(_pairs(block.data) for block in _row_blocks(left, sp.csr_array(left.T)))
    return (both_orders - own) // 2


def _row_blocks(left: sp.csr_array, right: sp.csr_array) -> Iterator[sp.csr_array]:
    return (block for _, block in numbered_row_blocks(left, right))


def numbered_row_blocks(left: sp.csr_array, right: sp.csr_array) -> Iterator[tuple[slice, sp.csr_array]]:
    """``left @ right`` in blocks of rows whose entries are at most about ``_BLOCK_ENTRIES``."""
    work = np.asarray(left.astype(bool).astype(np.int64) @ np.diff(right.indptr))
    ends = np.minimum(np.cumsum(np.minimum(work, right.shape[1])), np.iinfo(np.int64).max)
    start = 0
    while start < left.shape[0]:
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _BLOCK_ENTRIES, side="right")))
        yield slice(start, stop), sp.csr_array(left[start:stop] @ right)
        start = stop


def _pairs(counts: np.ndarray) -> int:
    """Σ C(count, 2)."""
    counts = counts.astype(np.int64)
    return int((counts * (counts - 1) // 2).sum())
