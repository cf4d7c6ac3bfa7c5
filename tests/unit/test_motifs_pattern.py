"""The text form of motifs: what it accepts, where its errors point, and that every way of counting agrees."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_graph.motifs import PatternError, SignedGraph, census, compile_cypher, count_pattern, find_pattern, parse_pattern
from feature_graph.motifs.census import TYPES
from feature_graph.motifs.pattern import COMPARE, Pattern, PatternEdge


def by_networkx(graph: nx.DiGraph, pattern: Pattern) -> set[frozenset[tuple[int, Any]]]:
    """All matches by subgraph monomorphism, each as its automorphic images' smallest; conditions checked by hand."""
    shape = nx.DiGraph()
    shape.add_nodes_from(range(len(pattern.nodes)))
    shape.add_edges_from((e.source, e.target) for e in pattern.present)
    found = set()
    for mapping in nx.algorithms.isomorphism.DiGraphMatcher(graph, shape).subgraph_monomorphisms_iter():
        at = {letter: node for node, letter in mapping.items()}
        if all(_fits(graph, pattern, e, at) != e.absent for e in pattern.edges) and all(
            (n.low is None or graph.nodes[at[i]]["layer"] >= n.low)
            and (n.high is None or graph.nodes[at[i]]["layer"] <= n.high)
            and n.feature in (None, str(at[i]))
            for i, n in enumerate(pattern.nodes)
        ):
            images = [tuple(at[p[i]] for i in range(len(pattern.nodes))) for p in pattern.automorphisms]
            found.add(min(images, key=lambda image: [str(x) for x in image]))
    return found


def _fits(graph: nx.DiGraph, pattern: Pattern, edge: PatternEdge, at: dict[int, Any]) -> bool:
    data = graph.get_edge_data(at[edge.source], at[edge.target])
    if data is None:
        return False
    values = {"strength": data["strength"], "|strength|": abs(data["strength"]), "span": data["span"]}
    sign = -1 if data["strength"] < 0 else 1
    return edge.sign in (0, sign) and all(COMPARE[c.compare](values[c.subject], c.value) for c in edge.conditions)


@st.composite
def layered(draw: st.DrawFn, most: int = 9) -> nx.DiGraph:
    """Small layered graphs with signed strengths; ids as in a run."""
    layers = sorted(draw(st.lists(st.integers(0, 4), min_size=2, max_size=most)))
    graph = nx.DiGraph()
    names = [f"L{layer}_F{i}" for i, layer in enumerate(layers)]
    for name, layer in zip(names, layers, strict=True):
        graph.add_node(name, layer=layer)
    for a, b in combinations(range(len(names)), 2):
        if layers[a] < layers[b]:
            strength = draw(st.sampled_from([0, 0, 0.1, 0.3, 0.6, -0.1, -0.3, -0.6]))
            if strength:
                graph.add_edge(names[a], names[b], strength=strength, span=layers[b] - layers[a])
    return graph


@st.composite
def patterns(draw: st.DrawFn) -> str:
    """Connected patterns of two to five letters with any signs, layers and conditions."""
    n = draw(st.integers(2, 5))
    letters = "ABCDE"[:n]
    pairs = list(combinations(range(n), 2))
    joined = {(draw(st.integers(0, b - 1)), b) for b in range(1, n)}
    more = {p for p in pairs if p not in joined and draw(st.booleans())}
    statements = []
    for a, b in pairs:
        if (a, b) in joined or (a, b) in more:
            arrow = draw(st.sampled_from(["->", "-|", "~>", "~>"] + (["!>"] if (a, b) in more else [])))
            flip = (a, b) in joined and n == 3 and draw(st.booleans()) and not more
            condition = draw(st.sampled_from(["", "", "", " [|strength| >= 0.3]", " [span = 1]", " [strength < 0.2, span <= 2]"]))
            x, y = (b, a) if flip else (a, b)
            statements.append(f"{letters[x]} {arrow} {letters[y]}{condition}")
    first = draw(st.sampled_from(["", "", "", "A@0; ", "A@..2; ", "A:L0_F0; ", "B@1..3; "]))
    return first + "; ".join(statements)


@settings(max_examples=150, deadline=None)
@given(layered(), patterns())
def test_products_search_and_networkx_agree(graph: nx.DiGraph, text: str) -> None:
    try:
        pattern = parse_pattern(text)
    except PatternError:
        return
    expected = by_networkx(graph, pattern)
    assert count_pattern(graph, pattern) == len(expected)
    found = find_pattern(graph, pattern, limit=100_000)
    canonical = {
        min((tuple(m.features[p[i]] for i in range(len(pattern.nodes))) for p in pattern.automorphisms), key=lambda f: [str(x) for x in f])
        for m in found
    }
    assert len(found) == len(canonical)
    assert canonical == expected


CLIQUES = [
    "A ~> B; A ~> C; A ~> D; B ~> C; B ~> D; C ~> D",
    "A~>B;A~>C;A~>D;A~>E;B~>C;B~>D;B~>E;C~>D;C~>E;D~>E",
    "A~>B;A~>C;B~>D;C~>E;D~>E",
]


@pytest.mark.parametrize("text", CLIQUES)
def test_patterns_that_products_alone_do_not_solve(text: str) -> None:
    rng = np.random.default_rng(0)
    graph = nx.DiGraph()
    graph.add_nodes_from((i, {"layer": i}) for i in range(14))
    graph.add_edges_from((a, b, {"strength": 1.0, "span": 1}) for a, b in combinations(range(14), 2) if rng.random() < 0.7)
    pattern = parse_pattern(text)
    assert count_pattern(graph, pattern) == len(by_networkx(graph, pattern)) > 0


@settings(max_examples=40, deadline=None)
@given(layered())
def test_the_census_counts_what_its_own_patterns_say(graph: nx.DiGraph) -> None:
    counts = census(graph).counts
    assert counts == {t.name: sum(count_pattern(graph, p) for p in t.patterns) for t in TYPES}
    spans = census(graph).by_span()
    for row in spans.itertuples():
        if row.motif.startswith("chain"):
            kind = next(t for t in TYPES if t.name == row.motif)
            first, second = kind.patterns[0].split("; ")
            assert count_pattern(graph, f"{first} [span = {row.first_span}]; {second} [span = {row.second_span}]") == row.count


def test_blocks_do_not_change_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    layers = np.sort(rng.integers(0, 4, 60))
    pairs = [(a, b) for a, b in combinations(range(60), 2) if layers[a] < layers[b] and rng.random() < 0.2]
    graph = SignedGraph.from_arrays([a for a, _ in pairs], [b for _, b in pairs], rng.normal(size=len(pairs)), layers, 60)
    texts = ["A ~> C; A ~> D; B ~> C; B ~> D", "A -> B; B -> C; A -| C", "A ~> B ~> D; A ~> C ~> D; A !> D"]
    whole = [count_pattern(graph, t) for t in texts]
    assert all(whole)
    monkeypatch.setattr("feature_graph.motifs.product._BLOCK_ENTRIES", 100)
    assert [count_pattern(graph, t) for t in texts] == whole


def test_the_strongest_come_first_and_are_those_of_all() -> None:
    rng = np.random.default_rng(2)
    layers = np.sort(rng.integers(0, 5, 120))
    pairs = [(a, b) for a, b in combinations(range(120), 2) if layers[a] < layers[b] and rng.random() < 0.25]
    graph = SignedGraph.from_arrays([a for a, _ in pairs], [b for _, b in pairs], rng.normal(size=len(pairs)), layers, 120)
    text = "A -> B; B -| C; A -> C"
    every = find_pattern(graph, text, limit=100_000)
    assert len(every) == count_pattern(graph, text) > 300
    assert find_pattern(graph, text, limit=7) == every[:7]
    assert [m.weakest for m in every] == sorted((m.weakest for m in every), reverse=True)
    assert find_pattern(graph, text, limit=0) == []


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("A -> B; B ? C", 1, 11, r"got '\?'; expected ->, -\|, ~> or !>"),
        ("A -> ", 1, 6, "the pattern ends too soon; expected a name"),
        ("A -> B -> A", 1, 8, "B → A closes a cycle"),
        ("A -> B; C -> D", 1, 1, "C is not joined to A"),
        ("A->B; A -| B", 1, 9, "A and B are joined before, on line 1"),
        ("A -> A", 1, 3, "from A to itself"),
        ("A@5 -> B@3", 1, 5, "A is in layer 5 or later, B in 3 or earlier"),
        ("A@8..5 -> B", 1, 1, "layers 8..5 are none"),
        ("A@5 -> B; A@6 -> C", 1, 11, "A was given another layer"),
        ("A -> B [size > 3]", 1, 9, r"got 'size'; expected \|strength\|, strength or span"),
        ("A -> B\nB =>> C", 2, 3, "got '='"),
        ("A -> B [span = 1", 1, 17, "expected a comma, ]"),
        ("A@x -> B", 1, 3, "got 'x'; expected a whole number"),
        ("A:x -> B", 1, 3, "a feature such as L5_F12"),
        ("A->B->C->D->E->F", 1, 16, "F is feature number 6; expected at most 5"),
        ("", 1, 1, "no edge"),
        ("every [span = 1]", 1, 1, "no edge"),
    ],
)
def test_errors_point_at_the_place(text: str, line: int, column: int, message: str) -> None:
    with pytest.raises(PatternError, match=message) as caught:
        parse_pattern(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    shown, mark = str(caught.value).split("\n")[-2:]
    assert shown == "  " + text.split("\n")[line - 1]
    assert mark.index("^") == column + 1


def test_what_is_read() -> None:
    p = parse_pattern("A@3 -> B@5.. -> C@..9 [|strength| > 0.2, span=1]; A !> C; every [strength >= -1e-2] # note\n\n")
    assert [(n.name, n.low, n.high) for n in p.nodes] == [("A", 3, 3), ("B", 5, None), ("C", None, 9)]
    assert [(e.source, e.target, e.sign, e.absent, len(e.conditions)) for e in p.edges] == [
        (0, 1, 1, False, 1),
        (1, 2, 1, False, 3),
        (0, 2, 0, True, 0),
    ]
    assert parse_pattern('A:"any name" → B ⊣ C').nodes[0].feature == "any name"
    assert parse_pattern("A ~> C; B ~> C").ordered_pairs == ((0, 2),)
    assert parse_pattern("A -> C; B -| C").ordered_pairs == ()


def test_cypher_holds_no_value_of_the_pattern() -> None:
    hostile = 'A:"x\'}) DETACH DELETE n //" -> B@7 [|strength| > 0.123]'
    made = compile_cypher(hostile)
    assert made.parameters == {"feature0": "x'}) DETACH DELETE n //", "low1": 7, "high1": 7, "value0_0": 0.123}
    for text in (made.match, made.count):
        assert "DELETE" not in text
        assert "0.123" not in text
        assert all(f"${name}" in text for name in made.parameters)
