"""``query``: saved questions and statements of one's own, asked of the graph in Neo4j."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feature_graph.cli import common
from feature_graph.cli.answers import Format, chosen_format, print_answer
from feature_graph.cli.connection import DatabaseAddress, with_database

if TYPE_CHECKING:
    from queries import Template


ParamOption = Annotated[list[str] | None, typer.Option("--param", "-p", metavar="KEY=VALUE", help="A parameter of the question.")]
FormatOption = Annotated[
    Format | None,
    typer.Option("--format", "-f", help="Format of the answer. Default: by the ending of --output, otherwise a table."),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Write the answer to this file instead of the screen: .csv, .json, .parquet or .txt."
    ),
]
AnyStatusOption = Annotated[
    bool, typer.Option("--any-status", help="Also include runs that are loading, failed or dropped; their data are incomplete.")
]
CypherOption = Annotated[
    Path | None,
    typer.Option("--cypher", metavar="FILE", help="Run your own Cypher statement, read-only; - reads standard input."),
]
CheckOption = Annotated[
    bool,
    typer.Option("--check", help="Run every template's example on the shipped run, in a temporary database, and compare the answers."),
]
FavouritesOption = Annotated[
    Path | None,
    typer.Option(metavar="PATH", help="Write all questions as favourites for Neo4j Browser, into a folder or an archive (PATH.zip)."),
]


@with_database
def query(
    name: Annotated[str | None, typer.Argument(help="Name of a question; --list shows them.")] = None,
    param: ParamOption = None,
    format_: FormatOption = None,
    output: OutputOption = None,
    list_: Annotated[bool, typer.Option("--list", help="List the questions.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Print the Cypher instead of running it.")] = False,
    visual: Annotated[bool, typer.Option("--visual", help="Use the form that returns paths, for Neo4j Browser.")] = False,
    any_status: AnyStatusOption = False,
    explain: Annotated[bool, typer.Option("--explain", help="Print the database's query plan instead of the answer.")] = False,
    cypher: CypherOption = None,
    check: CheckOption = False,
    favourites: FavouritesOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Time limit for the database, in seconds.")] = 60.0,
    *,
    address: DatabaseAddress,
) -> None:
    """Ask the graph a question."""
    chosen = chosen_format(format_, as_json, output)
    if check:
        _check_templates(chosen)
        return
    if list_:
        _print_list(chosen, output)
        return
    if favourites is not None:
        _write_favourites(favourites)
        return
    if cypher is not None:
        if name is not None:
            common.fail("--cypher takes the place of a question's name; give one of the two", common.USAGE)
        _ask_custom(cypher, param or [], chosen, output, timeout, address)
        return
    if name is None:
        common.fail("give the name of a question, such as hubs; `feature-graph query --list` shows them", common.USAGE)
    import queries

    if show:
        common.say(queries.text(name, visual, any_status), nl=False)
        return
    found = queries.template(name)
    values = parse_parameters(found, param or [])
    with address.open() as store:
        if explain:
            common.say(queries.explain(store.driver, name, visual=visual, any_status=any_status, database=store.database, **values))
            return
        answer = store.ask(name, timeout=timeout, visual=visual, any_status=any_status, **values)
    print_answer(answer, chosen, found.title, output)


def _write_favourites(where: Path) -> None:
    from queries import browser

    count = browser.write_favourites(where)
    common.err.print(f"{count} favourites in {where}", highlight=False)


def _check_templates(format_: Format) -> None:
    """Load the shipped run into a database of its own and compare every template's example with its expected rows."""
    import tempfile

    import queries
    from feature_graph.database import server, store

    with (
        tempfile.TemporaryDirectory() as folder,
        server.disposable(Path(folder)) as where,
        store.connect(where.uri, where.username, where.password, database=where.database) as db,
    ):
        found = queries.check(db.driver, db.ingest(queries.example_run()).run)
    failed = [one for one in found if not one.passed]
    if format_ is Format.JSON:
        wrong = {one.name: one.problem for one in failed}
        common.say(json.dumps({"templates": len(found), "passed": len(found) - len(failed), "failed": len(failed), "problems": wrong}))
    else:
        for one in failed:
            common.out.print(f"{one.name}: {one.problem}", highlight=False)
        common.out.print(f"{len(found)} templates, {len(found) - len(failed)} passed, {len(failed)} failed", highlight=False)
    if failed:
        raise typer.Exit(common.FAILURE)


def _ask_custom(
    file: Path,
    param: list[str],
    format_: Format,
    output: Path | None,
    timeout: float,
    address: DatabaseAddress,
) -> None:
    """Run a statement from a file (``-``: standard input); parameters are read as JSON, else as text."""
    import sys

    import queries

    text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    values = {key: _json_or_text(value) for key, value in _pairs(param).items()}
    with address.open() as store:
        answer = queries.ask(store.driver, text, timeout=timeout, database=store.database, parameters=values)
    print_answer(answer, format_, file.name, output)


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


def parse_parameters(found: Template, texts: Sequence[str]) -> dict[str, Any]:
    """Values of ``KEY=VALUE`` texts, by the types that the template declares.

    Raises:
        ParameterError: If a text has no ``=``, or a parameter is unknown, given twice, or of another type.
    """
    return {key: found.parameter(key).parse(value) for key, value in _pairs(texts).items()}


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    from queries import ParameterError

    values: dict[str, str] = {}
    for text in texts:
        key, mark, value = text.partition("=")
        if not mark or key in values:
            raise ParameterError(f"--param: got {text!r}; expected KEY=VALUE, each key once, such as limit=5")
        values[key] = value
    return values


def _print_list(format_: Format, output: Path | None) -> None:
    import queries

    columns = ["name", "family", "question", "parameters"]
    rows = [[t.name, t.family, t.question, [p.name for p in t.parameters if p.type != "projection"]] for t in queries.templates().values()]
    print_answer(queries.Answer(columns, rows), format_, "questions to the graph", output)
