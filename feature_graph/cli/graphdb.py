"""``ingest`` and ``query``: a run into Neo4j, questions to it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feature_graph.cli import common, edge_files, selection
from feature_graph.cli.bulk import COMPARING, Bulk, BulkOption, CheckStoreOption, ScriptOption, bulk_ingest, write_script

if TYPE_CHECKING:
    from rich.progress import TaskID

    from feature_graph.database.store import Store
    from ingest import IngestReport, Options
    from queries import Answer, Template

HomeOption = Annotated[Path | None, typer.Option("--home", help="Database home; see `feature-graph db --help`.")]
UriOption = Annotated[str | None, typer.Option("--uri", help="Address of a server of your own, such as bolt://127.0.0.1:7687.")]
UserOption = Annotated[
    str | None, typer.Option("--user", help="User there; the password comes from NEO4J_PASSWORD or NEO4J_PASSWORD_FILE or is asked for.")
]
DatabaseOption = Annotated[
    str | None, typer.Option("--database", help="Name of the database; default that in the address, else NEO4J_DATABASE, else the user's.")
]
InsecureOption = Annotated[bool, typer.Option("--insecure", help="Allow an unencrypted connection to another machine.")]


class Format(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


def ingest(
    path: edge_files.PathArgument,
    bulk: BulkOption = Bulk.AUTO,
    bulk_script: ScriptOption = None,
    check_store: CheckStoreOption = True,
    limit: selection.LimitOption = None,
    min_strength: selection.MinStrengthOption = None,
    top_k_per_source: selection.TopOption = None,
    bad_rows: selection.BadRowsOption = selection.BadRows.REFUSE,
    rejected: selection.RejectedOption = None,
    writers: selection.WritersOption = None,
    model: edge_files.ModelOption = "",
    method: edge_files.MethodOption = "",
    features: edge_files.FeaturesOption = None,
    out: edge_files.OutOption = None,
    release: edge_files.ReleaseOption = "",
    site_order: edge_files.SiteOrderOption = "",
    home: HomeOption = None,
    uri: UriOption = None,
    user: UserOption = None,
    insecure: InsecureOption = False,
    database: DatabaseOption = None,
) -> None:
    """Write a run into Neo4j: checked first, exactly once, resumable. Twice changes nothing.

    A part of a run (--limit, --min-strength, --top-k-per-source) is a run of its own in the graph. A file of edges needs source, target and
    strength; a run directory is made of it first.
    """
    run_dir = edge_files.EdgeFile(model, method, features, out, release, site_order).run_of(path)
    chosen = selection.options(run_dir, limit, min_strength, top_k_per_source, bad_rows, rejected)
    if chosen is not None and (bulk is Bulk.ALWAYS or bulk_script is not None):
        common.fail("the bulk path loads whole runs without wrong rows; leave out --bulk always and --bulk-script", common.USAGE)
    if bulk_script is not None:
        write_script(run_dir, bulk_script)
        return
    done = bulk_ingest(bulk, run_dir, home, uri, check_store) if chosen is None and writers is None else None
    if done is not None:
        common.out.print(f"{done.ingest.summary()}, in bulk", highlight=False)
        return
    with open_store(home, uri, user, insecure, database) as store:
        report = ingest_with_bars(store, run_dir, chosen, writers)
    common.out.print(report.summary(), highlight=False)
    if report.rejected and chosen is not None:
        common.err.print(f"the wrong rows, each with its reason: {chosen.rejected}", highlight=False)


def query(
    name: Annotated[str | None, typer.Argument(help="Name of a question; --list shows them.")] = None,
    param: Annotated[list[str] | None, typer.Option("--param", "-p", metavar="KEY=VALUE", help="A parameter of the question.")] = None,
    format_: Annotated[Format, typer.Option("--format", "-f", help="How the answer is written.")] = Format.TABLE,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write instead of the screen.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the questions.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Print the Cypher instead of asking.")] = False,
    visual: Annotated[bool, typer.Option("--visual", help="The form that returns paths, for Neo4j Browser.")] = False,
    any_status: Annotated[
        bool, typer.Option("--any-status", help="Also ask runs that are loading, failed or dropped; what they hold is not whole.")
    ] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Print the database's plan instead of asking.")] = False,
    cypher: Annotated[
        Path | None, typer.Option("--cypher", metavar="FILE", help="Ask a statement of your own, read-only; - is stdin.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Ask every template its example on the shipped run, in a database of its own, and compare.")
    ] = False,
    favourites: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Write all questions as favourites for Neo4j Browser, into a folder or an archive PATH.zip."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds after which the database gives up.")] = 60.0,
    home: HomeOption = None,
    uri: UriOption = None,
    user: UserOption = None,
    insecure: InsecureOption = False,
    database: DatabaseOption = None,
) -> None:
    """Ask the graph a question."""
    format_ = Format.JSON if as_json else format_
    if check:
        _check_templates(format_)
        return
    if list_:
        _print_list(format_, output)
        return
    if favourites is not None:
        _write_favourites(favourites)
        return
    if cypher is not None:
        if name is not None:
            common.fail("--cypher takes the place of a question's name; give one of the two", common.USAGE)
        _ask_own(cypher, param or [], format_, output, timeout, (home, uri, user, insecure, database))
        return
    if name is None:
        common.fail("give the name of a question, such as hubs; `feature-graph query --list` shows them", common.USAGE)
    import queries

    if show:
        common.say(queries.text(name, visual, any_status), nl=False)
        return
    found = queries.template(name)
    values = parse_parameters(found, param or [])
    with open_store(home, uri, user, insecure, database) as store:
        if explain:
            common.say(queries.explain(store.driver, name, visual=visual, any_status=any_status, database=store.database, **values))
            return
        answer = store.ask(name, timeout=timeout, visual=visual, any_status=any_status, **values)
    print_answer(answer, format_, found.title, output)


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


def _ask_own(
    file: Path,
    param: list[str],
    format_: Format,
    output: Path | None,
    timeout: float,
    where: tuple[Path | None, str | None, str | None, bool, str | None],
) -> None:
    """Run a statement from a file (``-``: standard input); parameters are read as JSON, else as text."""
    import sys

    import queries

    text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    values = {key: _json_or_text(value) for key, value in _pairs(param).items()}
    with open_store(*where) as store:
        answer = queries.ask(store.driver, text, timeout=timeout, database=store.database, parameters=values)
    print_answer(answer, format_, file.name, output)


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value)
    except json.JSONDecodeError:
        return value


@contextmanager
def open_store(
    home: Path | None = None, uri: str | None = None, user: str | None = None, insecure: bool = False, database: str | None = None
) -> Iterator[Store]:
    """The database meant here: the address given, else ``NEO4J_URI``, else the embedded server of the home.

    Raises:
        ServerError: If the embedded server is meant and does not run.
        StoreError: If the database does not let us in, or the connection is lost in the block.
        PasswordUnavailable: If the environment's password cannot be read.
    """
    import os

    from feature_graph.database import server, store
    from ingest.password import password_from_environment

    if uri is not None:
        shown = store.check_address(uri, insecure).uri
        name = user or os.environ.get("NEO4J_USERNAME") or "neo4j"
        password = password_from_environment() or typer.prompt(f"password of {name} at {shown}", hide_input=True, err=True)
    else:
        where = server.connection(home)
        uri, shown, name, password, database = where.uri, where.uri, where.username, where.password, database or where.database
    with store.connect(uri, name, password, database=database, insecure=insecure) as opened, store.in_words(shown):
        yield opened


def ingest_with_bars(store: Store, run_dir: Path, chosen: Options | None = None, writers: int | None = None) -> IngestReport:
    """Write a run into Neo4j under a progress bar with rate and estimate."""
    import time

    from feature_graph.utils import progress_bar

    with progress_bar() as bar:
        tasks: dict[str, TaskID] = {}
        begun: dict[str, tuple[float, int]] = {}

        def advance(what: str, done: int, total: int) -> None:
            name = COMPARING.get(what, f"writing {what}")
            if what not in tasks:
                tasks[what], begun[what] = bar.add_task(name, total=None), (time.monotonic(), done)
            since, first = begun[what]
            rate = (done - first) / max(time.monotonic() - since, 1e-3)
            bar.update(tasks[what], completed=done, total=total, description=f"{name}, {rate:,.0f}/s")

        return store.ingest(run_dir, advance, chosen, writers)


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


def print_answer(answer: Answer, format_: Format | str = Format.TABLE, title: str = "", output: Path | None = None) -> None:
    """Write an answer to the screen, or to a file.

    Args:
        answer: What the database gave.
        format_: ``table``, ``json`` (a list of objects), ``csv`` or ``parquet``.
        title: Caption of the table.
        output: File; required for parquet.
    """
    kind = Format(format_)
    if kind is Format.PARQUET:
        _write_parquet(answer, output)
    elif kind is Format.TABLE and output is None:
        _print_table(answer, title)
    else:
        text = _json(answer) if kind is Format.JSON else _csv(answer) if kind is Format.CSV else _plain_table(answer, title)
        if output is None:
            common.send(text) if kind is Format.CSV else common.say(text, nl=False)
        else:
            from feature_graph.utils import whole_file

            with whole_file(output) as part:
                part.write_text(text, encoding="utf-8")
    if output is not None:
        common.err.print(f"{len(answer)} rows in {output}", highlight=False)


def _print_table(answer: Answer, title: str) -> None:
    if not answer.rows:
        common.out.print(f"{title}: no rows", highlight=False)
        return
    common.out.print(_table(answer, title))


def _plain_table(answer: Answer, title: str) -> str:
    from feature_graph.terminal import SafeConsole

    console = SafeConsole(width=200, no_color=True)
    with console.capture() as captured:
        console.print(_table(answer, title))
    return captured.get()


def _table(answer: Answer, title: str) -> Any:
    rows = [[", ".join(map(common.cell, v)) if isinstance(v, list) else v for v in row] for row in answer.rows]
    numbers = [c for i, c in enumerate(answer.columns) if all(isinstance(row[i], int | float | None) for row in answer.rows)]
    return common.table(title, answer.columns, rows, right=numbers)


def _json(answer: Answer) -> str:
    return json.dumps(answer.records, indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n"


def _csv(answer: Answer) -> str:
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(answer.columns)
    writer.writerows(
        [json.dumps(v, ensure_ascii=False, default=str) if isinstance(v, list | dict) else v for v in row] for row in answer.rows
    )
    return text.getvalue()


def _write_parquet(answer: Answer, output: Path | None) -> None:
    if output is None:
        common.fail("parquet is for files: say which with --output FILE", common.USAGE)
    import pandas as pd

    from feature_graph.utils import whole_file

    with whole_file(output) as part:
        pd.DataFrame(answer.rows, columns=answer.columns).to_parquet(part, index=False)


def _print_list(format_: Format, output: Path | None) -> None:
    import queries

    columns = ["name", "family", "question", "parameters"]
    rows = [[t.name, t.family, t.question, [p.name for p in t.parameters if p.type != "projection"]] for t in queries.templates().values()]
    print_answer(queries.Answer(columns, rows), format_, "questions to the graph", output)
