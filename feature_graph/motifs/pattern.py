"""A motif in a small text form, read by a grammar (``pattern.lark``, LALR).

    A -> B; B -| C; A -> C                  an incoherent feed-forward loop
    A@3 -> B@5..8 -> C                      a chain from layer 3 through layers 5 to 8
    A -> B [|strength| > 0.2, span = 1]     conditions of the edge that ends there
    A:L3_F12 ~> B; every [|strength| > 0.1] anchored at a feature; either sign; conditions of all edges
    A -> B -> C; A !> C                     a chain without a direct edge

``->`` excites, ``-|`` inhibits, ``~>`` is either, ``!>`` is no such edge. A letter stands for one feature, different letters for different
ones. What matches need not be *induced*: other edges among the features do not matter, unless ``!>`` forbids them. Up to five features.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib.resources import files
from itertools import permutations
from typing import Any, ClassVar, Literal

import networkx as nx
from lark import Lark, Token, Tree, UnexpectedInput

from feature_graph.motifs.arrays import MotifError

MAX_NODES = 5
Subject = Literal["|strength|", "strength", "span"]
COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    ">=": operator.ge,
    ">": operator.gt,
}
_SIGNS = {"->": 1, "→": 1, "-|": -1, "⊣": -1, "~>": 0, "!>": 0}
_WORDS = {
    "ARROW": "->, -|, ~> or !>",
    "NAME": "a name such as A",
    "_END": "; or a new line",
    "$END": "the end",
    "LSQB": "[ conditions ]",
    "RSQB": "]",
    "COMMA": "a comma",
    "AT": "@layer",
    "COLON": ":feature",
    "FEATURE": "a feature such as L5_F12",
    "QUOTED": 'a "name"',
    "INT": "a whole number",
    "SUBJECT": "|strength|, strength or span",
    "COMPARE": "<, <=, =, >= or >",
    "NUMBER": "a number",
    "EVERY": "every",
    "__ANON_0": "..",
}


class PatternError(MotifError):
    """A pattern that cannot be read; the message shows the line with a mark under the character.

    Attributes:
        line: Line of the character, from 1.
        column: Column of the character, from 1.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, problem: str, text: str, line: int, column: int) -> None:
        lines = text.split("\n")
        shown = lines[line - 1].expandtabs(1) if 0 < line <= len(lines) else ""
        super().__init__(f"pattern, line {line}, column {column}: {problem}\n  {shown}\n  {' ' * (column - 1)}^")
        self.line, self.column = line, column


@dataclass(frozen=True)
class Condition:
    """One comparison: of the signed strength, of its magnitude, or of the analysed layers crossed."""

    subject: Subject
    compare: str
    value: float


@dataclass(frozen=True)
class PatternNode:
    """One letter: its layers (both ends included) and the feature that it is, where the pattern says so."""

    name: str
    low: int | None = None
    high: int | None = None
    feature: str | None = None


@dataclass(frozen=True)
class PatternEdge:
    """An edge between two letters (by number): sign 1, −1 or 0 for either; ``absent`` if there must be none such."""

    source: int
    target: int
    sign: int
    absent: bool = False
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True)
class Pattern:
    """A motif as it was asked for.

    Attributes:
        nodes: The letters, in the order in which they appear.
        edges: The edges, those that must be absent last.
        text: What was written.
    """

    nodes: tuple[PatternNode, ...]
    edges: tuple[PatternEdge, ...]
    text: str

    @property
    def present(self) -> tuple[PatternEdge, ...]:
        """Edges that must be there."""
        return tuple(e for e in self.edges if not e.absent)

    @property
    def absent(self) -> tuple[PatternEdge, ...]:
        """Edges that must not be there."""
        return tuple(e for e in self.edges if e.absent)

    @cached_property
    def order(self) -> nx.DiGraph:
        """Which letter comes before which: the transitive closure of the edges."""
        graph = nx.DiGraph((e.source, e.target) for e in self.present)
        graph.add_nodes_from(range(len(self.nodes)))
        return nx.transitive_closure_dag(graph)

    @cached_property
    def free_pairs(self) -> tuple[tuple[int, int], ...]:
        """Pairs of letters that no path joins: only these could stand for one feature if it were not forbidden."""
        n, before = len(self.nodes), self.order
        return tuple((i, j) for i in range(n) for j in range(i + 1, n) if not before.has_edge(i, j) and not before.has_edge(j, i))

    @cached_property
    def automorphisms(self) -> tuple[tuple[int, ...], ...]:
        """Ways to exchange letters that leave the pattern as it is, the identity first."""
        nodes = [replace(n, name="") for n in self.nodes]
        edges = set(self.edges)
        same = []
        for p in permutations(range(len(nodes))):
            moved = {replace(e, source=p[e.source], target=p[e.target]) for e in edges}
            if moved == edges and all(nodes[i] == nodes[p[i]] for i in range(len(nodes))):
                same.append(p)
        return tuple(same)

    @cached_property
    def ordered_pairs(self) -> tuple[tuple[int, int], ...]:
        """Pairs of letters to be taken in ascending order, so that each subgraph is found once (Grochow and Kellis, RECOMB 2007)."""
        group, pairs = list(self.automorphisms), []
        while len(group) > 1:
            moved = min(i for i in range(len(self.nodes)) if any(p[i] != i for p in group))
            pairs += [(moved, other) for other in sorted({p[moved] for p in group} - {moved})]
            group = [p for p in group if p[moved] == moved]
        return tuple(pairs)


@cache
def _parser() -> Lark:
    grammar = (files("feature_graph.motifs") / "pattern.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", propagate_positions=True, maybe_placeholders=True)


def parse_pattern(text: str) -> Pattern:
    """Read a motif.

    Raises:
        PatternError: If it is not one; the message shows where.
    """
    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        raise _explained(error, text) from error
    return _Reader(text).read(tree)


def _explained(error: UnexpectedInput, text: str) -> PatternError:
    token = getattr(error, "token", None)
    accepted = getattr(error, "accepts", None) or getattr(error, "expected", None) or getattr(error, "allowed", None) or set()
    expected = ", ".join(dict.fromkeys(_WORDS.get(name, name) for name in sorted(accepted) if name in _WORDS))
    if token is not None and token.type == "$END":
        lines = text.split("\n")
        return PatternError(f"the pattern ends too soon; expected {expected}", text, len(lines), len(lines[-1]) + 1)
    got = str(token) if token is not None else text[error.pos_in_stream or 0]
    return PatternError(f"got {got!r}; expected {expected}", text, error.line, error.column)


class _Reader:
    """Turns a parse tree into a pattern, checking what the grammar cannot."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.nodes: dict[str, PatternNode] = {}
        self.edges: dict[tuple[str, str], tuple[PatternEdge, Token]] = {}
        self.every: list[Condition] = []

    def read(self, tree: Tree[Token]) -> Pattern:
        for statement in tree.children:
            if isinstance(statement, Tree) and statement.data == "every":
                self.every += _conditions(statement.children[-1])
            elif isinstance(statement, Tree):
                self._chain(statement)
        edges = [e if e.absent else replace(e, conditions=(*e.conditions, *self.every)) for e, _ in self.edges.values()]
        pattern = Pattern(tuple(self.nodes.values()), tuple(sorted(edges, key=lambda e: e.absent)), self.text)
        self._check(pattern)
        return pattern

    def _chain(self, chain: Tree[Token]) -> None:
        first, *links = chain.children
        here = self._node(first)
        for link in links:
            arrow, node, conditions = link.children  # type: ignore[union-attr]
            there = self._node(node)
            self._edge(arrow, here, there, conditions)  # type: ignore[arg-type]
            here = there

    def _node(self, tree: Any) -> Token:
        name, feature, layers = tree.children
        low, high = _layers(layers)
        given = PatternNode(str(name), low, high, None if feature is None else str(feature.children[0]).strip('"'))
        known = self.nodes.get(name, given)
        if (feature is not None and known.feature not in (None, given.feature)) or (
            layers is not None and (known.low, known.high) not in ((None, None), (low, high))
        ):
            raise self._error(f"{name} was given another layer or feature before", name)
        if low is not None and high is not None and low > high:
            raise self._error(f"layers {low}..{high} are none; expected the lower one first", name)
        self.nodes[name] = given if (feature is not None or layers is not None) and known is given else _joined(known, given)
        if len(self.nodes) > MAX_NODES:
            raise self._error(f"{name} is feature number {len(self.nodes)}; expected at most {MAX_NODES}", name)
        return name

    def _edge(self, arrow: Token, a: Token, b: Token, conditions: Tree[Token] | None) -> None:
        if a == b:
            raise self._error(f"an edge from {a} to itself; edges go to later sites", arrow)
        if (a, b) in self.edges:
            raise self._error(f"{a} and {b} are joined before, on line {self.edges[a, b][1].line}; expected one edge per pair", arrow)
        number = {name: i for i, name in enumerate(self.nodes)}
        found = () if conditions is None else tuple(_conditions(conditions))
        self.edges[a, b] = PatternEdge(number[a], number[b], _SIGNS[str(arrow)], str(arrow) == "!>", found), arrow
        present = nx.DiGraph(pair for pair, (e, _) in self.edges.items() if not e.absent)
        if not nx.is_directed_acyclic_graph(present):
            raise self._error(f"{a} → {b} closes a cycle; edges go to later sites, so it never matches", arrow)

    def _check(self, pattern: Pattern) -> None:
        if not pattern.present:
            raise PatternError("no edge; expected one such as A -> B", self.text, 1, 1)
        joined: nx.Graph = nx.Graph((e.source, e.target) for e in pattern.present)
        joined.add_nodes_from(range(len(pattern.nodes)))
        if not nx.is_connected(joined):
            apart = pattern.nodes[min(set(joined) - nx.node_connected_component(joined, 0))].name
            raise PatternError(f"{apart} is not joined to {pattern.nodes[0].name} by edges; expected one connected motif", self.text, 1, 1)
        for edge, arrow in self.edges.values():
            a, b = pattern.nodes[edge.source], pattern.nodes[edge.target]
            if not edge.absent and a.low is not None and b.high is not None and a.low > b.high:
                raise self._error(f"{a.name} is in layer {a.low} or later, {b.name} in {b.high} or earlier; edges do not go back", arrow)

    def _error(self, problem: str, token: Token) -> PatternError:
        return PatternError(problem, self.text, token.line or 1, token.column or 1)


def _joined(known: PatternNode, given: PatternNode) -> PatternNode:
    low, high = (known.low, known.high) if (known.low, known.high) != (None, None) else (given.low, given.high)
    return PatternNode(known.name, low, high, known.feature or given.feature)


def _layers(tree: Tree[Token] | None) -> tuple[int | None, int | None]:
    if tree is None:
        return None, None
    numbers = [int(str(t)) for t in tree.children]
    if tree.data == "one_layer":
        return numbers[0], numbers[0]
    if tree.data == "between":
        return numbers[0], numbers[1]
    return (numbers[0], None) if tree.data == "from_layer" else (None, numbers[0])


def _conditions(tree: Any) -> list[Condition]:
    return [Condition(str(c.children[0]), str(c.children[1]), float(c.children[2])) for c in tree.children]  # type: ignore[arg-type]
