"""Counting any pattern of up to five features exactly, by sparse matrix products.

1. Every edge of the pattern becomes a 0/1 matrix: the edges of the graph that it allows, by sign, layers, features and conditions.
2. The number of *homomorphisms* (letters may fall on one feature) is a sum over products of these matrices. Letters are summed out one at
   a time: one neighbour left makes a vector, two make a matrix product (masked by the edge between them, if there is one).
3. Where every order meets a letter with three or more neighbours, one letter is fixed to each feature in turn (a clique of four and more).
4. Letters must be different features: inclusion and exclusion over the ways to merge letters that no path joins, each merged pattern
   counted the same way, weighted by the Möbius function of the partition lattice. Edges that must be absent: inclusion and exclusion again.
5. Every subgraph has been counted once for each automorphism of the pattern, so the sum is divided by their number.

Variable elimination as in Dechter (1999); homomorphisms to subgraphs as in Lovász, Large Networks and Graph Limits (2012), ch. 5.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain, combinations
from typing import Any

import networkx as nx
import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from feature_graph.motifs.arrays import MotifError, SignedGraph
from feature_graph.motifs.pattern import COMPARE, Pattern, PatternEdge, PatternNode, parse_pattern

Bools = NDArray[np.bool_]
Matrices = dict[tuple[int, int], sp.csr_array]
Vectors = dict[int, NDArray[np.int64]]
_BLOCK_ENTRIES = 8_000_000
_LIMIT = 2**62


def count_pattern(graph: nx.DiGraph | SignedGraph, pattern: Pattern | str) -> int:
    """How many subgraphs match, exactly.

    Args:
        graph: Nodes with layers where the pattern speaks of them.
        pattern: A pattern or its text.

    Raises:
        PatternError: If the text is none.
        MotifError: If the graph has no layers and the pattern names some, or there are more than whole numbers of 64 bits hold.
    """
    wanted = parse_pattern(pattern) if isinstance(pattern, str) else pattern
    g = SignedGraph.of(graph)
    if not g.n_edges:
        return 0
    total = 0
    for extra in chain.from_iterable(combinations(wanted.absent, k) for k in range(len(wanted.absent) + 1)):
        edges = (*wanted.present, *extra)
        if nx.is_directed_acyclic_graph(nx.DiGraph((e.source, e.target) for e in edges)):
            total += (-1) ** len(extra) * _maps(g, wanted, edges)
    return total // len(wanted.automorphisms)


def allowed(g: SignedGraph, pattern: Pattern, edge: PatternEdge) -> Bools:
    """Which edges of the graph an edge of the pattern may be [m].

    Raises:
        MotifError: If the pattern names a layer and the graph has none.
    """
    keep = np.ones(g.n_edges, dtype=bool) if edge.sign == 0 else (g.negative == (edge.sign < 0)) & ~g.from_copy
    for condition in edge.conditions:
        value = {"span": g.spans, "strength": g.strengths, "|strength|": np.abs(g.strengths)}[condition.subject]
        keep &= COMPARE[condition.compare](value, condition.value)
    for ends, node in ((g.sources, pattern.nodes[edge.source]), (g.targets, pattern.nodes[edge.target])):
        fits = _fits(g, node)
        if fits is not None:
            keep &= fits[ends]
    return keep


def _fits(g: SignedGraph, node: PatternNode) -> Bools | None:
    """Which nodes of the graph a letter may be [n]; None if any."""
    if node.low is None and node.high is None and node.feature is None:
        return None
    fits = np.ones(g.n_nodes, dtype=bool)
    if node.feature is not None:
        fits &= np.array([str(name) == node.feature for name in g.nodes], dtype=bool)
    if node.low is not None or node.high is not None:
        if g.layers is None:
            raise MotifError(f"{node.name} has a layer in the pattern; got a graph whose nodes have no `layer`")
        fits &= (g.layers >= (node.low if node.low is not None else -1)) & (g.layers <= (node.high if node.high is not None else 10**9))
    return fits


def _maps(g: SignedGraph, pattern: Pattern, edges: tuple[PatternEdge, ...]) -> int:
    """Injective maps of the letters onto features that keep all the edges."""
    before = nx.transitive_closure_dag(nx.DiGraph((e.source, e.target) for e in edges))
    matrices = [(e.source, e.target, g.only(allowed(g, pattern, e)).adjacency) for e in edges]
    total = 0
    for blocks in _partitions(list(range(len(pattern.nodes)))):
        joined = (pair for block in blocks for pair in combinations(block, 2))
        if any(before.has_edge(a, b) or before.has_edge(b, a) for a, b in joined):
            continue
        home = {letter: i for i, block in enumerate(blocks) for letter in block}
        merged = _merged([(home[a], home[b], m) for a, b, m in matrices])
        if merged is None:
            continue
        weight = math.prod((-1) ** (len(b) - 1) * math.factorial(len(b) - 1) for b in blocks)
        total += weight * _homomorphisms(merged, {})
    return total


def _partitions(letters: list[int]) -> Iterator[list[list[int]]]:
    if not letters:
        yield []
        return
    first, rest = letters[0], letters[1:]
    for blocks in _partitions(rest):
        yield [[first], *blocks]
        for i in range(len(blocks)):
            yield [*blocks[:i], [first, *blocks[i]], *blocks[i + 1 :]]


def _merged(edges: list[tuple[int, int, sp.csr_array]]) -> Matrices | None:
    """One matrix per pair of letters, the lower letter's features as rows; None if merging gives opposite edges (which never match)."""
    directed: Matrices = {}
    for a, b, matrix in edges:
        directed[a, b] = directed[a, b].multiply(matrix).tocsr() if (a, b) in directed else matrix
    if any((b, a) in directed for a, b in directed):
        return None
    return {(min(p), max(p)): matrix if p[0] < p[1] else sp.csr_array(matrix.T) for p, matrix in directed.items()}


def _neighbours(matrices: Matrices, letter: int) -> list[int]:
    return [b if a == letter else a for a, b in matrices if letter in (a, b)]


def _from(matrices: Matrices, row: int, column: int) -> sp.csr_array:
    """The matrix between two letters, ``row``'s features as rows."""
    return matrices[row, column] if row < column else sp.csr_array(matrices[column, row].T)


def _homomorphisms(matrices: Matrices, vectors: Vectors) -> int:
    """Sum over all assignments of the product of matrices and vectors; the letters form one connected pattern or a single letter."""
    matrices, vectors = dict(matrices), dict(vectors)
    while matrices:
        letter = next((x for x in sorted({x for pair in matrices for x in pair}) if _easy(matrices, x)), None)
        if letter is None:
            return _in_blocks(matrices, vectors)
        _sum_out(matrices, vectors, letter)
    return math.prod(int(v.sum()) for v in vectors.values())


def _easy(matrices: Matrices, letter: int) -> bool:
    """Whether summing a letter out leaves nothing larger than what is there: one neighbour, or two that are joined."""
    near = sorted(_neighbours(matrices, letter))
    return len(near) == 1 or (len(near) == 2 and (near[0], near[1]) in matrices)


def _sum_out(matrices: Matrices, vectors: Vectors, letter: int) -> None:
    near = sorted(_neighbours(matrices, letter))
    weight = vectors.pop(letter, None)
    if len(near) == 1:
        step = _from(matrices, near[0], letter)
        _check_size(step, weight)
        found = np.asarray(step.sum(axis=1)).ravel() if weight is None else step @ weight
        vectors[near[0]] = vectors[near[0]] * found if near[0] in vectors else found
    else:
        a, b = near
        left, right = _from(matrices, a, letter), _from(matrices, letter, b)
        if weight is not None:
            left = sp.csr_array(left @ sp.diags_array(weight, dtype=np.int64))
        matrices[a, b] = _product(left, right, matrices.get((a, b)))
    for other in near:
        del matrices[min(letter, other), max(letter, other)]


def _product(left: sp.csr_array, right: sp.csr_array, mask: sp.csr_array | None) -> sp.csr_array:
    """``left @ right``, entry by entry times ``mask``; in blocks of rows, so that the unmasked product is never whole."""
    if mask is None:
        return sp.csr_array(left @ right)
    size = max(1, _BLOCK_ENTRIES // max(right.shape[1], 1))
    parts = [sp.csr_array((left[i : i + size] @ right).multiply(mask[i : i + size])) for i in range(0, left.shape[0], size)]
    return sp.csr_array(sp.vstack(parts, format="csr"))


def _in_blocks(matrices: Matrices, vectors: Vectors) -> int:
    """Cut one letter's features into blocks, so that every product has few rows; where that does not do, into single features."""
    letters = sorted({x for pair in matrices for x in pair})
    root = next((x for x in letters if _solvable(set(matrices), x)), None)
    narrow = root is None
    if root is None:
        root = max(letters, key=lambda x: len(_neighbours(matrices, x)))
    n = _from(matrices, root, _neighbours(matrices, root)[0]).shape[0]
    width = max(m.shape[1] for m in matrices.values())
    size = 1 if narrow else max(1, _BLOCK_ENTRIES // max(width, 1))
    rows = {other: _from(matrices, root, other) for other in _neighbours(matrices, root)}
    total = 0
    for start in range(0, n, size):
        block = slice(start, min(start + size, n))
        if all(r.indptr[block.stop] > r.indptr[start] for r in rows.values()):
            total += _one_feature(matrices, vectors, root, start, rows) if narrow else _one_block(matrices, vectors, root, block, rows)
    return total


def _solvable(pairs: set[tuple[int, int]], root: int) -> bool:
    """Whether all other letters can be summed out, each easy or next to the root with two neighbours."""
    left = {frozenset(p) for p in pairs}
    while True:
        letters = {x for p in left for x in p} - {root}
        if not letters:
            return True
        for x in sorted(letters):
            near = [next(iter(p - {x})) for p in left if x in p]
            if len(near) == 1 or (len(near) == 2 and (root in near or frozenset(near) in left)):
                left = {p for p in left if x not in p} | ({frozenset(near)} if len(near) == 2 else set())
                break
        else:
            return False


def _one_block(matrices: Matrices, vectors: Vectors, root: int, block: slice, rows: dict[int, sp.csr_array]) -> int:
    own: Matrices = {p: m for p, m in matrices.items() if root not in p}
    held = {x: v for x, v in vectors.items() if x != root}
    for other, matrix in rows.items():
        part = matrix[block]
        own[min(root, other), max(root, other)] = part if root < other else sp.csr_array(part.T)
    if root in vectors:
        held[root] = vectors[root][block]
    while len({x for p in own for x in p}) > 2:
        letters = sorted({x for p in own for x in p} - {root})
        easy = [x for x in letters if _easy(own, x)] or [x for x in letters if len(n := _neighbours(own, x)) == 2 and root in n]
        _sum_out(own, held, easy[0])
    return _homomorphisms(own, held)


def _one_feature(matrices: Matrices, vectors: Vectors, root: int, i: int, rows: dict[int, sp.csr_array]) -> int:
    """The root is feature ``i``: its neighbours in the pattern are cut down to its neighbours in the graph."""
    at = {other: m.indices[m.indptr[i] : m.indptr[i + 1]] for other, m in rows.items()}
    values = {other: m.data[m.indptr[i] : m.indptr[i + 1]] for other, m in rows.items()}
    factor = int(vectors[root][i]) if root in vectors else 1
    own: Matrices = {}
    for (a, b), matrix in matrices.items():
        if root in (a, b):
            continue
        part = matrix[at[a]] if a in at else matrix
        own[a, b] = sp.csr_array(part[:, at[b]] if b in at else part)
        own[a, b].eliminate_zeros()
    held = {x: v[at[x]] if x in at else v for x, v in vectors.items() if x != root}
    for other, value in values.items():
        held[other] = held[other] * value if other in held else value
    if any(m.nnz == 0 for m in own.values()):
        return 0
    return factor * _homomorphisms(own, held)


def _check_size(step: sp.csr_array, weight: Any) -> None:
    """Refuse sums that 64 bits cannot hold."""
    bound = float((step.astype(float) @ (np.ones(step.shape[1]) if weight is None else weight.astype(float))).sum())
    if bound > _LIMIT:
        raise MotifError("more matches than whole numbers of 64 bits hold; expected a pattern with layers, features or conditions")
