"""Templates with their parameters written out, for a place that takes no parameters along with a statement."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from queries.errors import ParameterError, QueryError
from queries.template import Parameter, Template

#: Texts and comments, in which a dollar sign means nothing; else a parameter.
_TOKENS = re.compile(r"'(?:[^'\\]|\\.)*'|//[^\n]*|\$([a-z][a-z0-9_]*)")
_NEWEST = "MATCH (run:Run {status: 'ready'}) WHERE run.n IS NOT NULL WITH run ORDER BY run.n DESC LIMIT 1"
_GIVEN = "MATCH (run:Run {id: $run, status: 'ready'})"
#: Finds what the runner would find, since a statement that asks the newest run cannot know what that has measured.
_FOUND_EFFECT = "run.effect"
_EFFECT = (
    "WITH run {.n, effect: CASE WHEN EXISTS { MATCH ()-[e:AFFECTS {run: run.n, method: $method}]->() WHERE e.specific IS NOT NULL } "
    "THEN 'specific' ELSE 'strength' END} AS run"
)


def literal(value: object) -> str:
    """A value as Cypher writes it.

    Raises:
        ParameterError: If it is not a plain value, or a text that Cypher could read as anything else: one with a backslash (Cypher decodes
            ``\\u0027`` before it looks for the end of a text) or a control character.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str) and "\\" not in value and value.isprintable():
        return "'" + value.replace("'", "\\'") + "'"
    raise ParameterError(f"got {value!r}; expected a number, a truth value, or a text without backslashes and control characters")


def fill(text: str, expressions: Mapping[str, str]) -> str:
    """The Cypher with each ``$name`` replaced by its expression; names that are not given stay as they are."""

    def replaced(found: re.Match[str]) -> str:
        name = found[1]
        return found[0] if name is None else expressions.get(name, found[0])

    return _TOKENS.sub(replaced, text)


def written_out(template: Template, values: Mapping[str, Any], visual: bool = False) -> str:
    """A template that can be run as it stands: title, what may be changed, and the Cypher with the values in it.

    Args:
        template: The template.
        values: Parameter → value. Without ``run`` the newest ready run is asked; another one that is missing stays ``$name``. Without
            ``effect`` the statement finds it as the runner does; one about two runs, which would have to look at both, takes strength.
        visual: The form that returns paths.

    Raises:
        ParameterError: If a value cannot be written as a literal.
        QueryError: If the form that returns paths is asked for and there is none.
    """
    if visual and template.visual is None:
        raise QueryError(f"{template.name} has no form that returns paths")
    given = {p.name: values.get(p.name, p.default) for p in template.parameters if p.name in values or not p.required}
    same = {p.name: given["method"] for p in template.parameters if p.type == "other_method" and given.get(p.name) is None}
    expressions = {name: literal(value) for name, value in (given | same).items() if name != "run"}
    expressions |= {p.name: f"'{template.name}-{p.name}-' + toString(timestamp())" for p in template.parameters if p.type == "projection"}
    body = _body((template.visual if visual else template.text) or "")
    if given.get("effect", "") is None:
        two = any(p.type == "other_run" for p in template.parameters)
        expressions["effect"] = literal("strength") if two else _FOUND_EFFECT
        body = body if two else body.replace(_GIVEN, f"{_GIVEN}\n{_EFFECT}", 1)
    if values.get("run") is None:
        body = body.replace(_GIVEN, _NEWEST)
    else:
        expressions["run"] = literal(values["run"])
    notes = [f"// {_note(p, expressions.get(p.name))}" for p in template.parameters if _worth_a_note(p) and f"${p.name}" in body]
    return "\n".join([f"// {template.title}", *notes, fill(body, expressions)]).strip() + "\n"


def _body(text: str) -> str:
    """The file without its title and header."""
    lines = text.splitlines()
    first = next((i for i, line in enumerate(lines) if not line.startswith("//")), len(lines))
    return "\n".join(lines[first:])


def _worth_a_note(parameter: Parameter) -> bool:
    return parameter.type not in {"run", "projection", "method", "other_method"} and parameter.name != "limit"


def _note(parameter: Parameter, expression: str | None) -> str:
    if expression is None:
        return f":param {parameter.name} => …   first, {parameter.bounds}"
    if expression == _FOUND_EFFECT:
        return f"{parameter.name} is 'specific' where the run measured it, else 'strength': {parameter.bounds}"
    return f"{parameter.name} is {expression}: {parameter.bounds}"
