"""What the guide fills in: the newest run, and features, behaviours and words of it that give every question an answer."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from queries.browser.literals import literal
from queries.connection import Read, reader
from queries.effects import MEASURED
from queries.errors import ParameterError
from queries.template import Parameter, Template
from queries.which import CURRENT, require_current

if TYPE_CHECKING:
    import neo4j

_SECONDS = 60.0
_WORD = re.compile(r"[^\W\d_]{4,}")
#: Edges looked at to find a feature with edges in and out; enough to find one, few enough to be quick on any run.
_SAMPLE = 20_000

_RUNS = (
    "MATCH (r:Run {status: 'ready'}) WHERE r.n IS NOT NULL RETURN r.id AS id, r.n AS n, r.name AS name, r.nodes AS nodes, "
    "r.edges AS edges, r.layers AS layers, r.methods AS methods, "
    "COLLECT { MATCH (r)-[:OF_MODEL]->(m:Model) WHERE m.uid IS NOT NULL RETURN m.uid LIMIT 1 }[0] AS model, "
    "EXISTS { MATCH (o:Observation) WHERE o.run = r.n AND o.layer IS NOT NULL AND o.importance IS NOT NULL } AS importance, "
    f"{CURRENT} AS current ORDER BY r.n DESC LIMIT 2"
)
_BEHAVIORS = "MATCH (b:Behavior) WHERE b.run = $n AND b.uid STARTS WITH toString($n) + '/' RETURN b.name AS name ORDER BY name"
_MIDDLE = (
    "MATCH ()-[e:AFFECTS]->() WHERE e.run = $n AND e.method = $method WITH e LIMIT $sample "
    "WITH e WHERE e.structural AND e.by <> 'later' "
    "UNWIND [[startNode(e), 1, 0], [endNode(e), 0, 1]] AS end "
    "WITH end[0] AS f, sum(end[1]) AS outgoing, sum(end[2]) AS incoming "
    "ORDER BY CASE WHEN incoming < outgoing THEN incoming ELSE outgoing END DESC, incoming + outgoing DESC, f.uid LIMIT 1 "
    "CALL (f) { OPTIONAL MATCH (x)-[e:AFFECTS {run: $n, method: $method}]->(f) "
    "WHERE e.structural AND e.by <> 'later' "
    "WITH x ORDER BY abs(e.direct) DESC, x.uid LIMIT 1 RETURN x AS before } "
    "CALL (f) { OPTIONAL MATCH (f)-[e:AFFECTS {run: $n, method: $method}]->(x) "
    "WHERE e.structural AND e.by <> 'later' "
    "WITH x ORDER BY abs(e.direct) DESC, x.uid LIMIT 1 RETURN x AS after } "
    "UNWIND [before, f, after] AS one "
    "OPTIONAL MATCH (one)<-[:OF]-(o:Observation {run: $n}) RETURN o.id AS id, o.label AS label, one.decoder IS NOT NULL AS decoder"
)


@dataclass(frozen=True)
class Facts:
    """What is known of the newest ready run.

    Attributes:
        run: Its id.
        name: Name of its directory.
        nodes: Features observed.
        edges: Edges.
        layers: Layers covered.
        methods: Methods of its edges.
        other: Id of the ready run before it, if there is one.
        other_methods: Methods of that one's edges.
        behaviors: Names of its behaviours.
        feature: A feature with edges in and out, as many as possible.
        source: The feature that drives that one most.
        target: The feature that it drives most.
        word: A word of its label.
        decoders: It has its direction, so probably all have.
        n: Number of the run, as it stands on edges.
        model: The model that it studied, with the hash of its weights.
        other_n: Number of the run before.
        importance: Whether the importance of its features was measured.
        specific: Whether it was measured what is specific of its edges, by its method.
        other_specific: The same of the run before, by the method that it is compared by.
    """

    run: str
    name: str
    nodes: int
    edges: int
    layers: tuple[int, ...]
    methods: tuple[str, ...]
    other: str | None = None
    other_methods: tuple[str, ...] = ()
    behaviors: tuple[str, ...] = ()
    feature: str | None = None
    source: str | None = None
    target: str | None = None
    word: str | None = None
    decoders: bool = False
    n: int = 0
    model: str | None = None
    other_n: int | None = None
    importance: bool = False
    specific: bool = False
    other_specific: bool = False

    @property
    def method(self) -> str:
        """The method that questions are asked about."""
        return "clamping" if "clamping" in self.methods or not self.methods else self.methods[0]

    @property
    def other_method(self) -> str | None:
        """The method that the run before is compared by; None if none offers itself."""
        if self.method in self.other_methods or not self.other_methods:
            return self.method
        return self.other_methods[0] if len(self.other_methods) == 1 else None

    @property
    def effect(self) -> str:
        """What an edge of the run weighs where no effect is asked for."""
        return "specific" if self.specific else "strength"

    def values(self, template: Template) -> dict[str, Any] | None:
        """Values for a template's parameters that are no defaults; None where this database cannot answer it."""
        found = {p.name: self._value(p) for p in template.parameters if p.required or p.type in {"run", "method", "other_method"}}
        two = any(p.type == "other_run" for p in template.parameters)
        weighed = {p.name for p in template.parameters if p.type == "effect"}
        found |= dict.fromkeys(weighed, "strength" if two and not self.other_specific else self.effect)
        missing = not all(map(_can_be_written, found.values())) or ("decoders" in template.requires and not self.decoders)
        return None if missing else found

    def _value(self, parameter: Parameter) -> object:
        if parameter.type == "method":
            named = self.method if parameter.name == "method" else parameter.default
            return named if named in self.methods else None
        if parameter.type == "behavior":
            place = int(parameter.name == "other")
            return self.behaviors[place] if len(self.behaviors) > place else None
        if parameter.type == "feature":
            return {"source": self.source, "target": self.target}.get(parameter.name, self.feature)
        return {"run": self.run, "other_run": self.other, "other_method": self.other_method, "text": self.word}.get(parameter.type)


def _can_be_written(value: object) -> bool:
    """Whether it is there, and safe as a literal: a behaviour may have any name."""
    try:
        return literal(value) != "null"
    except ParameterError:
        return False


def gather(driver: neo4j.Driver, database: str | None = None) -> Facts | None:
    """What is known of the newest ready run; None if there is none.

    Args:
        driver: An open driver.
        database: Name of the database, if not the user's default.

    Raises:
        OldSchema: If the database's schema is of an earlier version.
    """
    read = reader(driver, database)
    runs = read(_RUNS, {}, _SECONDS).records
    if not runs:
        return None
    require_current(runs)
    run = runs[0]
    facts = Facts(
        run["id"], run["name"], run["nodes"], run["edges"], tuple(run["layers"] or ()), tuple(run["methods"] or ()),
        other=runs[1]["id"] if len(runs) > 1 else None,
        other_methods=tuple(runs[1]["methods"] or ()) if len(runs) > 1 else (),
        other_n=runs[1]["n"] if len(runs) > 1 else None,
        n=run["n"], model=run["model"], importance=run["importance"],
        behaviors=tuple(row["name"] for row in read(_BEHAVIORS, {"n": run["n"]}, _SECONDS).records),
    )  # fmt: skip
    facts = replace(
        facts, specific=_measured(read, facts.n, facts.method), other_specific=_measured(read, facts.other_n, facts.other_method)
    )
    return _with_features(read, facts, run["n"])


def _measured(read: Read, n: int | None, method: str | None) -> bool:
    return bool(read(f"RETURN {MEASURED} AS measured", {"n": n, "method": method}, _SECONDS).rows[0][0])


def _with_features(read: Read, facts: Facts, n: int) -> Facts:
    rows = read(_MIDDLE, {"n": n, "method": facts.method, "sample": _SAMPLE}, _SECONDS).records
    if len(rows) != 3:
        return facts
    before, middle, after = rows
    word = _WORD.search(middle["label"] or "")
    found = {"source": before["id"], "feature": middle["id"], "target": after["id"]}
    return replace(facts, **found, word=word[0] if word else None, decoders=middle["decoder"])
