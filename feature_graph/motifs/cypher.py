"""A pattern as parameterised Cypher: text made of checked letters and literals of ours, every value a parameter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from feature_graph.motifs.pattern import Pattern, PatternEdge, parse_pattern
from queries.signs import takes_from_copy

_COUNTS = (
    "($edges = 'all' OR {e}.structural) AND "
    "($effect = 'strength' OR ({e}[$effect] <> 0 AND abs({e}[$effect]) >= coalesce({e}.floor_computed, 0.0)))"
)
_EFFECT = "CASE WHEN $effect <> 'strength' THEN {e}[$effect] WHEN $edges = 'all' OR {e}.by = 'later' THEN {e}.strength ELSE {e}.direct END"


@dataclass(frozen=True)
class CypherPattern:
    """A compiled pattern.

    Attributes:
        match: Statement that gives the letters' features (a column each, short ids), ``strengths`` and ``weakest``, strongest first. It
            takes ``$run``, ``$method``, ``$edges`` (structural or all), ``$effect`` (strength, computed, specific or copy) and ``$limit``
            in addition to ``parameters``.
        count: Statement that gives ``count``; the same parameters, without ``$limit``.
        parameters: Values of the pattern itself.
    """

    match: str
    count: str
    parameters: dict[str, Any]


def compile_cypher(pattern: Pattern | str) -> CypherPattern:
    """Compile a pattern.

    Raises:
        PatternError: If the text is none.
    """
    wanted = parse_pattern(pattern) if isinstance(pattern, str) else pattern
    values: dict[str, Any] = {}
    body = "\n".join(
        ["MATCH (run:Run {id: $run, status: 'ready'})", *_anchors(wanted, values), *_edges(wanted, values), *_rest(wanted, values)]
    )
    effects = ", ".join(_EFFECT.format(e=_edge(i)) for i in range(len(wanted.present)))
    letters = range(len(wanted.nodes))
    found = "\n".join(
        [
            body,
            f"WITH run, {', '.join(_node(i) for i in letters)}, [{effects}] AS strengths",
            "WITH *, reduce(least = abs(strengths[0]), x IN strengths | CASE WHEN abs(x) < least THEN abs(x) ELSE least END) AS weakest",
            f"ORDER BY weakest DESC, {', '.join(f'{_node(i)}.uid' for i in letters)}",
            "LIMIT $limit",
            *(f"MATCH ({_node(i)})<-[:OF]-(seen{i}:Observation {{run: run.n}})" for i in letters),
            "RETURN " + ", ".join(f"seen{i}.id AS `{n.name}`" for i, n in enumerate(wanted.nodes)) + ", strengths, weakest",
            f"ORDER BY weakest DESC, {', '.join(f'seen{i}.id' for i in letters)}",
        ]
    )
    return CypherPattern(found + "\n", body + "\nRETURN count(*) AS count\n", values)


def _node(i: int) -> str:
    return f"n{i}"


def _edge(i: int) -> str:
    return f"e{i}"


def _anchors(pattern: Pattern, values: dict[str, Any]) -> list[str]:
    """Features that are named: found first, by the index."""
    lines = []
    for i, node in enumerate(pattern.nodes):
        if node.feature is not None:
            values[f"feature{i}"] = node.feature
            lines.append(f"MATCH (:Observation {{run: run.n, id: $feature{i}}})-[:OF]->({_node(i)}:Feature)")
    return lines


def _edges(pattern: Pattern, values: dict[str, Any]) -> list[str]:
    lines = []
    for i, edge in enumerate(pattern.present):
        e = _edge(i)
        lines.append(f"MATCH ({_node(edge.source)}:Feature)-[{e}:AFFECTS {{run: run.n, method: $method}}]->({_node(edge.target)}:Feature)")
        lines.append("WHERE " + " AND ".join([_COUNTS.format(e=e), *_conditions(edge, e, f"value{i}_", values)]))
    return lines


def _conditions(edge: PatternEdge, e: str, prefix: str, values: dict[str, Any]) -> list[str]:
    effect = f"({_EFFECT.format(e=e)})"
    found = [] if edge.sign == 0 else [f"{effect} {'>=' if edge.sign > 0 else '<'} 0", f"NOT {takes_from_copy(e, effect)}"]
    subjects = {"span": f"{e}.span", "strength": effect, "|strength|": f"abs({effect})"}
    for k, condition in enumerate(edge.conditions):
        values[f"{prefix}{k}"] = condition.value
        found.append(f"{subjects[condition.subject]} {condition.compare} ${prefix}{k}")
    return found


def _rest(pattern: Pattern, values: dict[str, Any]) -> list[str]:
    """Layers, different features, each subgraph once, edges that must be absent."""
    lines, tests = [], [f"{_node(a)} <> {_node(b)}" for a, b in pattern.free_pairs]
    for i, node in enumerate(pattern.nodes):
        bounds = [(f"low{i}", ">=", node.low), (f"high{i}", "<=", node.high)]
        given = [(name, compare, value) for name, compare, value in bounds if value is not None]
        if given:
            lines.append(f"MATCH ({_node(i)})<-[:OF]-(layer{i}:Observation {{run: run.n}})")
            values |= {name: value for name, _, value in given}
            tests += [f"layer{i}.layer {compare} ${name}" for name, compare, _ in given]
    tests += [f"{_node(a)}.uid < {_node(b)}.uid" for a, b in pattern.ordered_pairs]
    for k, edge in enumerate(pattern.absent):
        inner = " AND ".join(["x.run = run.n", "x.method = $method", _COUNTS.format(e="x"), *_conditions(edge, "x", f"absent{k}_", values)])
        tests.append(f"NOT EXISTS {{ ({_node(edge.source)})-[x:AFFECTS]->({_node(edge.target)}) WHERE {inner} }}")
    if tests:
        lines += ["WITH *", "WHERE " + " AND ".join(tests)]
    return lines
