"""Answers of the database on the screen or in a file: as a table, JSON, CSV or Parquet."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_graph.cli import common

if TYPE_CHECKING:
    from queries import Answer


class Format(StrEnum):
    """How an answer is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


ENDINGS = {".json": Format.JSON, ".csv": Format.CSV, ".parquet": Format.PARQUET, ".txt": Format.TABLE}


def chosen_format(given: Format | None, as_json: bool, output: Path | None) -> Format:
    """The format that was asked for: by name, else by the ending of the file, else a table; what cannot be written is refused."""
    kind = Format.JSON if as_json else given
    if kind is None and output is not None:
        kind = ENDINGS.get(output.suffix.lower())
        if kind is None:
            common.fail(f"--output: got {output}; expected a name that ends in {', '.join(ENDINGS)}, or --format", common.USAGE)
    if kind is Format.PARQUET and output is None:
        common.fail("parquet is for files: say which with --output FILE", common.USAGE)
    return kind or Format.TABLE


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
        from ingest import counted

        common.err.print(f"{counted(len(answer), 'row')} in {output}", highlight=False)


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
