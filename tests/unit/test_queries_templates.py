"""The templates as files: strict headers, reading only, names that the schema knows; and how parameters are checked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import queries
from feature_graph.database.store.gds.projection import _PROJECT
from ingest import schema
from ingest.migrations import migrations
from queries import docs
from queries.library import READY
from queries.runner import check_parameters
from queries.template import Parameter, parse_template
from queries.which import SCHEMA

DOCS = Path(__file__).parents[2] / "docs"
TEXTS = [(t.name, text) for t in queries.templates().values() for text in (t.text, t.visual) if text]
FORMS = [(t.name, visual) for t in queries.templates().values() for visual in (False, True) if not visual or t.visual]
PROJECTING = [text for form in FORMS if "gds.graph.project" in (text := queries.text(*form, any_status=True))]

HEADER = """// A title
//
// family: toys
// question: What is it?
// params:
//   run: {type: run}
//   limit: {type: int, min: 1, max: 9, default: 3, about: rows}
// returns:
//   id: short id
MATCH (r:Run {id: $run}) RETURN r.id AS id LIMIT $limit
"""


def test_there_are_enough_in_every_family() -> None:
    families = [t.family for t in queries.templates().values()]
    assert len(families) >= 16
    assert set(families) == {"features", "hubs", "communities", "motifs", "cascades", "behaviors", "runs", "audit"}
    assert len({t.title for t in queries.templates().values()}) == len(families)


@pytest.mark.parametrize("name", queries.names())
def test_headers_are_complete(name: str) -> None:
    template = queries.template(name)
    assert template.question.endswith("?")
    assert all(p.about for p in template.parameters)
    assert all(template.columns.values())
    kinds = [p.type for p in template.parameters]
    assert name == "runs" or "run" in kinds
    asks_edges = "AFFECTS {run" in template.text
    assert not asks_edges or "method" in kinds
    assert template.needs_gds == ("gds." in template.text) == ("projection" in kinds)
    check_parameters(template, template.example | {p.name: "x" for p in template.parameters if p.type == "other_run"})


@pytest.mark.parametrize(("name", "text"), TEXTS)
def test_labels_types_and_properties_are_in_the_schema(name: str, text: str) -> None:
    body = "\n".join(line for line in text.splitlines() if not line.startswith("//"))
    nodes = {n.label: {p.name for p in n.properties} for n in schema.NODES}
    relations = {r.type: {p.name for p in r.properties} for r in schema.RELATIONSHIPS}
    owners = nodes | relations
    variables: dict[str, set[str]] = {}
    for variable, label in re.findall(r"\((\w*):(\w+)", body):
        assert label in nodes, label
        variables.setdefault(variable, set()).update(nodes[label])
    for variable, kind in re.findall(r"\[(\w*):(\w+)", body):
        assert kind in relations, kind
        variables.setdefault(variable, set()).update(relations[kind])
    for owner, inside in re.findall(r"[(\[]\w*:(\w+)[^){\]]*\{([^}]*)\}", body):
        assert set(re.findall(r"(\w+):", inside)) <= owners[owner], (owner, inside)
    for variable, prop in re.findall(r"\b([a-z]\w*)\.([a-z_]+)\b(?!\s*\()", body):
        if variables.get(variable):
            assert prop in variables[variable], (variable, prop)


@pytest.mark.parametrize(("name", "text"), TEXTS)
def test_only_ready_runs_are_asked(name: str, text: str) -> None:
    assert name == "runs" or "MATCH (run:Run {id: $run, status: 'ready'})" in text


@pytest.mark.parametrize(("name", "visual"), FORMS)
def test_every_match_of_a_run_says_ready_and_none_in_the_form_for_any_status(name: str, visual: bool) -> None:
    text, asked = queries.text(name, visual), queries.text(name, visual, any_status=True)
    runs = re.findall(r"\(\w*:Run\b[^)]*\)", text)
    assert runs
    assert name == "runs" or all(run.endswith(f"{READY}}})") and run.count("status") == 1 for run in runs)
    assert text.count(READY) == (0 if name == "runs" else len(runs))
    assert text.count("'ready'") == (1 if name == "runs" else len(runs)), "the list of runs names every status"
    assert name == "runs" or "'ready'" not in asked
    assert re.findall(r"\(\w*:Run\b[^)]*\)", asked) == [run.replace(READY, "") for run in runs]
    assert name == "runs" or "MATCH (run:Run {id: $run})" in asked


@pytest.mark.parametrize("text", [*PROJECTING, _PROJECT])
def test_statements_that_project_have_a_literal(text: str) -> None:
    """Hidden, it keeps GDS from having the whole statement planned again (see the server's settings)."""
    assert re.search(r"'\w+'", re.sub(r"//.*", "", text))


@pytest.mark.parametrize(("name", "text"), TEXTS)
def test_no_signed_strength_is_a_weight(name: str, text: str) -> None:
    """Weights of projections are magnitudes or costs, since PageRank, Leiden and Dijkstra have no meaning on negative ones."""
    for weight in re.findall(r"RETURN [^\n]* (\S+\([^\n]*\)) AS weight", text):
        assert weight.startswith("abs("), weight
    assert not re.search(r"relationshipProperties: \{\w+: \w+\.", text)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("// A title", "MATCH", "the first line is '// Title'"),
        ("family: toys", "family: other", "family 'other'"),
        ("// question: What is it?\n", "", "missing \\['question'\\]"),
        ("// question:", "// questions:", "unknown \\['questions'\\]"),
        ("type: int", "type: number", "expected a mapping with a known type"),
        ("min: 1, ", "", "numbers need min and max"),
        ("default: 3", "default: 30", "expected int from 1 to 9"),
        (", about: rows", "", "about is missing"),
        ("LIMIT $limit", "LIMIT 3", "declared and not used \\['limit'\\]"),
        ("LIMIT $limit", "LIMIT $limit + $more", "used and not declared \\['more'\\]"),
        ("question: What is it?", "question: [", "the header is not YAML"),
        ("RETURN", "SET r.x = 1 RETURN", "a template only reads"),
        ("RETURN", "CREATE (:X) RETURN", "a template only reads"),
        ("RETURN", "DETACH DELETE r RETURN", "a template only reads"),
        ("MATCH", "LOAD CSV FROM 'file:///x' AS row MATCH", "a template only reads"),
        ("MATCH", "CALL dbms.components() YIELD name MATCH", "a template only reads"),
        ("MATCH", "CALL apoc.load.json('x') YIELD value MATCH", "a template only reads"),
        ("MATCH", "CALL gds.pageRank.write('g', {}) YIELD x MATCH", "a template only reads"),
    ],
)
def test_files_that_break_the_format_are_refused(old: str, new: str, message: str) -> None:
    parse_template("toy", "toys", HEADER)
    assert old in HEADER
    with pytest.raises(queries.TemplateError, match=message):
        parse_template("toy", "toys", HEADER.replace(old, new, 1))


def test_words_in_texts_and_comments_are_no_clauses() -> None:
    text = HEADER.replace("RETURN r.id", "// we SET nothing\nWHERE r.name <> 'DELETE $x' RETURN r.id")
    assert [p.name for p in parse_template("toy", "toys", text).parameters] == ["run", "limit"]


@pytest.mark.parametrize(
    ("parameter", "text", "value"),
    [
        (Parameter("n", "int", "", minimum=1, maximum=9), "7", 7),
        (Parameter("x", "float", "", minimum=-1, maximum=1), "-0.5", -0.5),
        (Parameter("x", "float", "", minimum=-1, maximum=1), "1", 1.0),
        (Parameter("b", "bool", ""), "True", True),
        (Parameter("c", "choice", "", of=("a", "b")), "b", "b"),
        (Parameter("t", "text", "", maximum=5), "1=2", "1=2"),
        (Parameter("f", "feature", ""), "L1_F2", "L1_F2"),
    ],
)
def test_texts_of_the_command_line_become_values(parameter: Parameter, text: str, value: Any) -> None:
    assert parameter.parse(text) == value
    assert type(parameter.parse(text)) is type(value)


@pytest.mark.parametrize(
    ("parameter", "value", "message"),
    [
        (Parameter("n", "int", "", minimum=1, maximum=9), 0, "n: got 0; expected int from 1 to 9"),
        (Parameter("n", "int", "", minimum=1, maximum=9), True, "got True"),
        (Parameter("n", "int", "", minimum=1, maximum=9), 2.0, "got 2.0"),
        (Parameter("x", "float", "", minimum=0, maximum=9), float("nan"), "got nan"),
        (Parameter("x", "float", "", minimum=0, maximum=9), "3", "got '3'"),
        (Parameter("c", "choice", "", of=("clamping", "jacobian")), "jacobi", "did you mean jacobian"),
        (Parameter("t", "text", "", maximum=3), "long", "got 4 characters; expected text of 1 to 3 characters"),
        (Parameter("f", "feature", "", required=True), "", "got ''"),
        (Parameter("e", "effect", "", of=("strength", "specific")), "specifc", "expected one of strength, specific; did you mean specific"),
        (Parameter("f", "feature", "", required=True), 5, "got 5; expected a feature"),
    ],
)
def test_values_out_of_bounds_are_refused(parameter: Parameter, value: Any, message: str) -> None:
    with pytest.raises(queries.ParameterError, match=message):
        parameter.check(value)


def test_what_is_not_given_takes_its_default() -> None:
    values = check_parameters(queries.template("hubs"), {"limit": 3})
    assert values == {"run": None, "method": "clamping", "measure": "degree", "edges": "structural", "sign": "any"} | {
        "layer": None,
        "site": None,
        "per_layer": False,
        "effect": None,
        "families": True,
        "graph": None,
        "limit": 3,
    }
    with pytest.raises(queries.ParameterError, match="cascade needs feature: short id of a feature"):
        check_parameters(queries.template("cascade"), {})


def test_unknown_names_are_answered_with_near_ones() -> None:
    with pytest.raises(queries.QueryError, match="did you mean neighbours"):
        queries.template("neighbors")
    with pytest.raises(queries.QueryError, match="there are: audit"):
        queries.template("zzz")
    with pytest.raises(queries.QueryError, match="has no visual form; these have one"):
        queries.text("runs", visual=True)


def test_the_page_is_current() -> None:
    assert (DOCS / "queries.md").read_text(encoding="utf-8") == docs.page(), "run: python -m queries.docs"
    assert (DOCS / "cypher.md").read_text(encoding="utf-8") == docs.cypher_page(), "run: python -m queries.docs"


def test_questions_need_a_schema_that_this_program_makes() -> None:
    assert 6 <= SCHEMA <= schema.VERSION == max(m.n for m in migrations())


def test_no_question_spells_out_what_an_edge_says_itself() -> None:
    """Whether an edge is structural, and its sign, are properties: the rule stands in one place."""
    for name, text in TEXTS:
        assert not re.search(r"span = 1 OR|sign\(\w+\.strength\)", text), name
