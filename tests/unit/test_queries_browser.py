"""What Neo4j Browser is given: literals that stay literals, favourites that run as they stand, a style sheet and a guide it can read."""

from __future__ import annotations

import html
import io
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import queries
from feature_graph.cli import app
from queries.browser import STATEMENTS, Facts, Style, favourites, favourites_zip, guide, style_sheet, write_favourites
from queries.browser.literals import fill, literal, written_out

FACTS = Facts(
    run="0123456789abcdef",
    name="a <b>",
    nodes=48,
    edges=167,
    layers=(2, 5),
    methods=("clamping", "jacobian"),
    other="fedcba9876543210",
    behaviors=("capital_of", "it's"),
    feature="L5_F280",
    source="L2_F1",
    target="L8_F2",
    word="river",
    decoders=True,
    n=4,
    model="toy@0123abcd",
    other_n=3,
    importance=True,
)
STYLE = Style({2: "#440154", 5: "#bddf26"})


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), (3, "3"), (0.25, "0.25"), ("L5_F280", "'L5_F280'"), ("it's", "'it\\'s'"), ("Zürich", "'Zürich'")],
)
def test_values_as_cypher_writes_them(value: object, text: str) -> None:
    assert literal(value) == text


@pytest.mark.parametrize("value", ["a\\u0027b", "\\", "two\nlines", "\x00", [1], {"a": 1}])
def test_what_could_be_read_as_anything_else_is_refused(value: object) -> None:
    with pytest.raises(queries.ParameterError, match="without backslashes"):
        literal(value)


@given(st.text())
def test_a_text_never_ends_its_literal(text: str) -> None:
    try:
        written = literal(text)
    except queries.ParameterError:
        return
    assert re.fullmatch(r"'(?:[^'\\]|\\')*'", written)
    assert written[1:-1].replace("\\'", "'") == text


def test_only_parameters_are_replaced() -> None:
    text = "MATCH (n {a: $a, b: 'costs $a', c: $ab}) // $a\nRETURN $a + 'it\\'s $a' + $b"
    assert fill(text, {"a": "1"}) == "MATCH (n {a: 1, b: 'costs $a', c: $ab}) // $a\nRETURN 1 + 'it\\'s $a' + $b"


@pytest.mark.parametrize("path", list(favourites()))
def test_a_favourite_has_a_title_and_asks_the_newest_run(path: str) -> None:
    text = favourites()[path]
    family, _, name = path.removesuffix(".cypher").partition("/")
    template = queries.template(name.removesuffix("_drawn"))
    assert family == template.family
    assert text.startswith(f"// {template.title}")
    body = "\n".join(line for line in text.splitlines() if not line.startswith("//"))
    assert "{id: $run" not in body
    left = set(re.findall(r"\$(\w+)", body))
    assert left <= {p.name for p in template.parameters if p.required}
    assert all(f":param {name} =>" in text for name in left), "what is left to set is said"


def test_a_favourite_finds_out_what_the_newest_run_measured() -> None:
    text = favourites()["hubs/hubs.cypher"]
    assert "THEN 'specific' ELSE 'strength' END} AS run" in text
    assert "// effect is 'specific' where the run measured it, else 'strength': one of" in text
    assert "$effect" not in text
    assert "'strength' <> 'strength'" in favourites()["hubs/hub_shift.cypher"], "of two runs, what both have"


def test_statements_rank_by_what_the_run_measured() -> None:
    plain, measured = (populated(guide(facts, "s", "f")) for facts in (FACTS, replace(FACTS, specific=True)))
    assert "ORDER BY abs(e.strength)" in plain["plain-strongest"]
    assert "WHERE" not in plain["plain-strongest"]
    assert "WHERE e.specific IS NOT NULL\nRETURN s.id AS source, t.id AS target, e.specific AS specific" in measured["plain-strongest"]
    assert "WHERE abs(e.specific) >= e.floor_computed" in measured["plain-hubs"]
    assert "e['specific']" not in plain["hubs"]
    assert "e['specific']" in measured["hubs"]
    assert "e['specific']" not in measured["hub_shift"], "the run before has not measured it"
    assert "e['specific']" in populated(guide(replace(FACTS, specific=True, other_specific=True), "s", "f"))["hub_shift"]


def test_favourites_have_titles_of_their_own() -> None:
    titles = [text.splitlines()[0] for text in favourites().values()]
    assert len(set(titles)) == len(titles)


def test_the_archive_holds_the_folder(tmp_path: Path) -> None:
    assert favourites_zip() == favourites_zip()
    with zipfile.ZipFile(io.BytesIO(favourites_zip())) as archive:
        assert {name: archive.read(name).decode() for name in archive.namelist()} == favourites()
    count = write_favourites(tmp_path / "kept")
    assert {str(p.relative_to(tmp_path / "kept")) for p in (tmp_path / "kept").rglob("*.cypher")} == set(favourites())
    assert count == len(favourites())
    assert write_favourites(tmp_path / "new" / "kept.zip") == count
    with pytest.raises(queries.QueryError, match="is there already"):
        write_favourites(tmp_path / "new" / "kept.zip")
    (tmp_path / "file").write_text("")
    with pytest.raises(queries.QueryError, match="expected a folder"):
        write_favourites(tmp_path / "file")


def test_the_command_writes_favourites(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["query", "--favourites", str(tmp_path / "kept")])
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "kept").rglob("*.cypher"))) == len(favourites())


def parsed(text: str) -> dict[str, dict[str, str]]:
    """GraSS as Browser reads it: rules in braces, properties by semicolons, one colon each, captions in quotes that may hold braces."""
    rules = re.findall(r"([\w.]+) \{((?:'[^']*'|[^'}])*)\}", text)
    return {name: dict(p.strip().split(": ") for p in body.split(";") if p.strip()) for name, body in rules}


def test_the_style_sheet_colours_layers_and_writes_the_type() -> None:
    rules = parsed(style_sheet(STYLE))
    assert rules["node.Layer2"]["color"] == "#440154"
    assert rules["node.Layer2"]["text-color-internal"] == "#ffffff"
    assert rules["node.Layer5"]["color"] == "#bddf26"
    assert rules["node.Layer5"]["text-color-internal"] == "#111827"
    assert rules["relationship.AFFECTS"]["caption"] == "'{type}'"
    names = list(rules)
    assert names.index("node.Feature") < names.index("node.Layer2"), "later rules win"


@pytest.mark.parametrize("facts", [FACTS, None])
def test_the_guide_survives_what_browser_strips(facts: Facts | None) -> None:
    """Browser removes scripts and everything like ``on…=``, from the whole page, before it reads it."""
    page = guide(facts, "http://localhost:1/s/style.grass", "http://localhost:1/s/favourites.zip", STYLE.layers)
    stripped = re.sub(r"""(\s+(on[^\s=]+)[^\s=]*\s*=\s*("[^"]*"|'[^']*'|[\w\-.:]+\s*))""", "", page, flags=re.IGNORECASE)
    assert stripped == page
    assert "<script" not in page
    assert "a <b>" not in page
    assert page.count("<slide>") == (9 if facts else 1)


def test_the_links_of_the_first_page_are_those_of_the_documentation() -> None:
    """The style sheet writes the type of an edge on it, and both say so."""
    documented = (Path(__file__).parents[2] / "docs" / "browser.md").read_text(encoding="utf-8")
    table = documented.partition("| link | what it does |")[2].partition("\n\n")[0]
    rows = [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines() if line.startswith("| ")]
    assert [
        html.unescape(text) for text in re.findall(r'data-exec="[^"]*">([^<]+)<', guide(FACTS, "s", "f").partition("</slide>")[0])
    ] == rows
    assert "write the type on each edge" in rows[0]


def populated(page: str) -> dict[str, str]:
    return {name: html.unescape(text) for name, text in re.findall(r'<a id="([^"]+)" data-populate="([^"]*)"', page)}


def test_the_guide_asks_every_question_of_the_run() -> None:
    asked = {name: text for name, text in populated(guide(FACTS, "s", "f")).items() if not name.startswith("plain-")}
    assert {name.removesuffix("-drawn") for name in asked} == set(queries.names())
    for name, text in asked.items():
        body = "\n".join(line for line in text.splitlines() if not line.startswith("//"))
        assert "$" not in body, name
        assert name == "runs" or "{id: '0123456789abcdef', status: 'ready'}" in body
    assert "id: 'L5_F280'" in asked["neighbours"]
    assert "'it\\'s'" in asked["shared"]


def test_the_first_page_has_plain_statements_with_the_run_filled_in() -> None:
    page = guide(FACTS, "s", "f")
    plain = {name: text for name, text in populated(page.partition("</slide>")[0]).items() if name.startswith("plain-")}
    assert list(plain) == [s.name for s in STATEMENTS]
    assert len(plain) == 10
    assert not any("$" in text for text in plain.values())
    assert all("run: 4" in text or "run = 4" in text for name, text in plain.items() if name != "plain-feature")
    assert "run: 3, method: 'clamping'" in plain["plain-two-runs"]
    assert "(:Layer2)" in plain["plain-path"]
    assert "(:Layer5)" in plain["plain-path"]


def test_a_plain_statement_that_has_no_answer_is_left_out() -> None:
    few = populated(guide(Facts("0123456789abcdef", "few", 3, 2, (0, 1), ("jacobian",), n=2, model="toy@0123abcd"), "s", "f"))
    assert {name for name in few if name.startswith("plain-")} == {"plain-strongest", "plain-hubs", "plain-inhibit", "plain-path"}
    odd = populated(guide(replace(FACTS, behaviors=("a\\u0027}) DETACH DELETE n //",)), "s", "f"))
    assert {s.name for s in STATEMENTS} - set(odd) == {"plain-behavior"}


def test_questions_that_this_database_cannot_answer_are_left_out_and_named() -> None:
    few = Facts("0123456789abcdef", "few", 3, 2, (0, 1), ("jacobian",))
    page = guide(few, "s", "f")
    asked = set(populated(page))
    out = {"neighbours", "compare", "shared", "methods_agree", "similar", "search"}
    assert not asked & out
    named = re.search(r"for want of .*?: (.*?)\.</p>", page, re.DOTALL)
    assert named is not None
    assert out <= set(named[1].split(", "))
    assert "method: 'jacobian'" in populated(page)["strongest"]


def test_a_name_that_no_literal_can_hold_leaves_its_questions_out() -> None:
    odd = replace(FACTS, behaviors=("a\\u0027}) DETACH DELETE n //", "b"), name="<script>alert(1)</script>", word="x" * 9)
    page = guide(odd, "s", "f")
    assert "DETACH" not in page
    assert "<script" not in page
    assert "behavior_graph" not in populated(page)
    assert "behaviors" in populated(page)


@pytest.mark.parametrize("name", [t.name for t in queries.templates().values() if t.needs_gds])
def test_a_projection_has_a_name_of_its_own_each_time(name: str) -> None:
    text = written_out(queries.template(name), FACTS.values(queries.template(name)) or {})
    assert "gds.graph.project(" in text
    names = [p.name for p in queries.template(name).parameters if p.type == "projection"]
    assert len(set(re.findall(rf"'{name}-(\w+)-' \+ toString\(timestamp\(\)\)", text))) == len(names)
    assert not any(f"${one}" in text for one in names)
