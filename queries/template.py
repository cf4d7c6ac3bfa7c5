"""A query template: one ``.cypher`` file per question, readable, pasteable, with a strict header.

The first line is ``// Title``; the comment lines after it, without their ``//``, are YAML with these keys:

    family:    the folder it lies in
    question:  the sentence that a researcher would ask
    params:    name: {type, default, min, max, of, optional, about}
    returns:   column: meaning
    requires:  [gds]                  (optional; gds: the Graph Data Science library, decoders: a run with decoder vectors)
    example:   {param: value}         (what is not a default, for the example run in queries/example)

Parameter types: ``run`` (id or name; default the newest ready run), ``other_run`` (the same, required), ``method``, ``other_method`` (of
the other run; default the same if it has it, else its only one), ``effect`` (what an edge weighs; one of ``of``, which has a default;
default ``specific`` where the run measured it, else ``strength``), ``feature`` (short id), ``behavior`` (name), ``projection`` (unique name
of a GDS graph, made up for each call), ``choice`` (one of ``of``), ``int`` and ``float`` (``min`` and ``max`` required), ``text`` (``max``
characters), ``bool``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal, get_args

import yaml

from queries.errors import ParameterError, TemplateError
from queries.feature_ids import meant

Type = Literal[
    "run", "other_run", "method", "other_method", "effect", "feature", "behavior", "projection", "choice", "int", "float", "text", "bool"
]
EFFECTS = ("strength", "computed", "specific", "copy")
#: Types of which the runner finds the value where none is given.
FOUND = {"run", "projection", "other_method", "effect"}

_MEANINGS = {
    "run": "id of the run, the beginning of it, or its name; the newest ready run if not given",
    "method": "method of the edges: clamping or jacobian",
    "other_method": "method of the other run's edges; the same if it has edges by it, else its only one",
    "effect": "what an edge weighs. strength: its direct or total effect; computed: the total effect without the copy; specific: computed, "
    "without what the blocks compute from any direction; copy: what the residual stream carries on. If not given, specific where the run "
    "measured it, else strength. Edges whose effect is smaller than the smallest that counts are left out, except by strength",
    "feature": "short id of a feature of the run, such as L5_F1024",
    "behavior": "name of a behaviour of the run",
    "projection": "name of the GDS graph, unique for a call; made up and dropped by itself",
}
_KEYS = {"family", "question", "params", "returns", "requires", "example"}
_PARAM_KEYS = {"type", "default", "min", "max", "of", "optional", "about"}
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_USED = re.compile(r"\$([a-z][a-z0-9_]*)")
_TEXTS = re.compile(r"'(?:[^'\\]|\\.)*'|//[^\n]*")
_FORBIDDEN = re.compile(
    r"\b(CREATE|MERGE|DELETE|REMOVE|SET|DROP|FOREACH|LOAD\s+CSV|USE|TERMINATE|CALL\s+(?!gds\.|db\.index\.|\(|\{)[\w.]+|CALL\s+gds\.\S+\.write)\b",
    re.IGNORECASE,
)
_DROP_PROJECTION = re.compile(r"CALL gds\.graph\.drop\b")


@dataclass(frozen=True)
class Parameter:
    """One parameter of a template.

    Attributes:
        name: Without the dollar sign.
        type: See the module's text.
        about: What it means.
        default: Value if it is not given.
        required: It has to be given.
        minimum: Smallest value of a number.
        maximum: Largest value of a number, most characters of a text.
        of: What a choice may be.
    """

    name: str
    type: Type
    about: str
    default: Any = None
    required: bool = False
    minimum: float | None = None
    maximum: float | None = None
    of: tuple[str, ...] = ()

    @property
    def bounds(self) -> str:
        """What is allowed, in words."""
        if self.type in {"choice", "effect"}:
            return "one of " + ", ".join(self.of)
        if self.type in {"int", "float"}:
            return f"{self.type} from {self.minimum:g} to {self.maximum:g}"
        if self.type == "text":
            return f"text of 1 to {self.maximum:g} characters"
        special = {"bool": "true or false", "projection": "made up by itself", "other_method": "a method", "other_run": "a run"}
        return special.get(self.type, f"a {self.type}")

    def check(self, value: Any) -> Any:
        """The value, if it is of the type and within the bounds.

        Raises:
            ParameterError: If not.
        """
        if value is None and not self.required:
            return self.default
        if self.type == "int" and isinstance(value, int) and not isinstance(value, bool):
            return self._within(value)
        if self.type == "float" and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return self._within(float(value))
        if self.type == "bool" and isinstance(value, bool):
            return value
        if self.type in {"choice", "effect"} and value in self.of:
            return value
        if self.type not in {"int", "float", "bool", "choice", "effect"} and isinstance(value, str) and value:
            return self._short(value)
        raise self._wrong(value)

    def parse(self, text: str) -> Any:
        """The value that a text on the command line stands for.

        Raises:
            ParameterError: If it stands for none.
        """
        try:
            if self.type == "int":
                return self.check(int(text))
            if self.type == "float":
                return self.check(float(text))
        except ValueError as error:
            raise self._wrong(text) from error
        if self.type == "bool":
            return self.check({"true": True, "false": False}.get(text.lower(), text))
        return self.check(text)

    def _within(self, value: float) -> float:
        if (self.minimum is not None and value < self.minimum) or (self.maximum is not None and value > self.maximum):
            raise self._wrong(value)
        return value

    def _short(self, value: str) -> str:
        if self.type == "text" and self.maximum is not None and len(value) > self.maximum:
            raise ParameterError(f"{self.name}: got {len(value)} characters; expected {self.bounds}")
        likely = meant(value) if self.type == "feature" else None
        if likely not in (None, value):
            raise ParameterError(f"{self.name}: got {value!r}; expected L<layer>_F<index>; did you mean {likely}?")
        return value

    def _wrong(self, value: Any) -> ParameterError:
        near = get_close_matches(str(value), self.of, n=1)
        return ParameterError(f"{self.name}: got {value!r}; expected {self.bounds}" + (f"; did you mean {near[0]}?" if near else ""))


@dataclass(frozen=True)
class Template:
    """One question.

    Attributes:
        name: File name without its ending; unique over all families.
        family: Folder.
        title: A few words.
        question: The sentence that a researcher would ask.
        parameters: In the order of the header.
        columns: Column → meaning.
        requires: ``gds`` where the Graph Data Science library is needed, ``decoders`` where the run must have decoder vectors.
        example: Parameters of the example on ``queries/example``.
        text: The file, as it is.
        visual: The form that returns paths for drawing, if there is one.
    """

    name: str
    family: str
    title: str
    question: str
    parameters: tuple[Parameter, ...]
    columns: dict[str, str]
    requires: tuple[str, ...]
    text: str
    example: dict[str, Any] = field(default_factory=dict)
    visual: str | None = None

    def parameter(self, name: str) -> Parameter:
        """One parameter.

        Raises:
            ParameterError: If there is none of that name; the message names near ones.
        """
        known = {p.name: p for p in self.parameters}
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(known) or 'none'}"
            raise ParameterError(f"{self.name} has no parameter {name!r}; {hint}")
        return known[name]

    @property
    def needs_gds(self) -> bool:
        """Whether the Graph Data Science library is needed."""
        return "gds" in self.requires

    @property
    def needs_decoders(self) -> bool:
        """Whether the run must have been loaded with decoder vectors."""
        return "decoders" in self.requires


def parse_template(name: str, family: str, text: str, visual: str | None = None) -> Template:
    """A template from the text of its file.

    Raises:
        TemplateError: If the header breaks the format, or the Cypher writes, reads files, or uses parameters that are not declared.
    """
    title, header = _header(name, text)
    unknown = set(header) - _KEYS
    missing = {"family", "question", "returns"} - set(header)
    if unknown or missing or header.get("family") != family or not isinstance(header.get("returns"), dict):
        raise TemplateError(
            f"{family}/{name}: header: unknown {sorted(unknown)}, missing {sorted(missing)}, family {header.get('family')!r}"
        )
    parameters = tuple(_parameter(name, key, value) for key, value in (header.get("params") or {}).items())
    declared = {p.name for p in parameters}
    used = _check_body(name, text)
    if used != declared:
        raise TemplateError(f"{name}: used and not declared {sorted(used - declared)}, declared and not used {sorted(declared - used)}")
    if visual is not None and not _check_body(f"{name}.visual", visual) <= declared:
        raise TemplateError(f"{name}.visual: uses parameters that {name} does not declare")
    returns = {str(k): str(v) for k, v in header["returns"].items()}
    requires = tuple(header.get("requires") or ())
    return Template(
        name, family, title, str(header["question"]), parameters, returns, requires, text, dict(header.get("example") or {}), visual
    )


def _header(name: str, text: str) -> tuple[str, dict[str, Any]]:
    lines = text.splitlines()
    if not lines or not lines[0].startswith("// "):
        raise TemplateError(f"{name}: the first line is '// Title'")
    comments = []
    for line in lines[1:]:
        if not line.startswith("//"):
            break
        comments.append(line[2:].removeprefix(" "))
    try:
        header = yaml.safe_load("\n".join(comments))
    except yaml.YAMLError as error:
        raise TemplateError(f"{name}: the header is not YAML: {error}") from error
    if not isinstance(header, dict):
        raise TemplateError(f"{name}: the header is empty")
    return lines[0][3:].strip(), header


def _parameter(template: str, name: str, value: Any) -> Parameter:
    if not isinstance(value, dict) or set(value) - _PARAM_KEYS or value.get("type") not in get_args(Type) or not _NAME.fullmatch(name):
        raise TemplateError(
            f"{template}: parameter {name}: got {value!r}; expected a mapping with a known type and keys {sorted(_PARAM_KEYS)}"
        )
    kind: Type = value["type"]
    bounded = kind not in {"int", "float"} or {"min", "max"} <= set(value)
    if not bounded or (kind == "choice" and not value.get("of")) or (kind == "text" and "max" not in value):
        raise TemplateError(f"{template}: parameter {name}: numbers need min and max, choices of, texts max")
    about = str(value.get("about") or _MEANINGS.get(kind, ""))
    if not about:
        raise TemplateError(f"{template}: parameter {name}: about is missing")
    default = value.get("default", "clamping" if kind == "method" else None)
    required = default is None and not value.get("optional", False) and kind not in FOUND
    of = tuple(value.get("of") or (EFFECTS if kind == "effect" else ()))
    parameter = Parameter(name, kind, about, default, required, value.get("min"), value.get("max"), of)
    try:
        if default is not None:
            parameter.check(default)
    except ParameterError as error:
        raise TemplateError(f"{template}: the default of {error}") from error
    return parameter


def _check_body(name: str, text: str) -> set[str]:
    """Refuse what a question must not do; give the parameters used."""
    body = _TEXTS.sub("''", text)
    found = _FORBIDDEN.search(_DROP_PROJECTION.sub("CALL gds.graph.forget", body))
    if found:
        raise TemplateError(f"{name}: {found[0]!r}: a template only reads")
    return set(_USED.findall(body))
