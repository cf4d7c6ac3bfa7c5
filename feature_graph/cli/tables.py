"""Tables for people: they fit the width that there is, break no heading inside a word, and set a single row as lines of key and value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from feature_graph.terminal import SafeConsole

#: Characters that a column of text may be folded to, and what a column costs in addition to its text.
_NARROWEST, _EDGE = 8, 3


class FittedTable:
    """Rows under headings; what is too wide for the terminal is set as one block of key and value for each row."""

    def __init__(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], right: Iterable[str] = ()) -> None:
        self.title, self.columns, self.rows, self.right = title, list(columns), [list(row) for row in rows], set(right)

    def __rich_console__(self, _: SafeConsole, options: ConsoleOptions) -> RenderResult:
        widths = self._widths(options.max_width - _EDGE * len(self.columns) - 1)
        if widths and len(self.rows) != 1:
            yield self._table(widths)
        else:
            yield from self._blocks()

    def _widths(self, room: int) -> list[int]:
        """Characters of each column, what is left going where text is still folded; none if there is not enough room."""
        widths = [self._least(i) for i in range(len(self.columns))]
        if sum(widths) > room:
            return []
        wanted = [max(self._heading(i), self._cells(i)) - widths[i] for i in range(len(widths))]
        for i in sorted(range(len(widths)), key=lambda i: wanted[i]):
            open_columns = sum(want > 0 for want in wanted)
            more = min(wanted[i], (room - sum(widths)) // open_columns) if wanted[i] > 0 else 0
            widths[i], wanted[i] = widths[i] + more, 0
        return widths

    def _heading(self, column: int) -> int:
        return max((len(word) for word in self.columns[column].split()), default=0)

    def _cells(self, column: int) -> int:
        return max((len(line) for row in self.rows for line in row[column].split("\n")), default=0)

    def _least(self, column: int) -> int:
        """Characters that a column needs: its headings' words whole, numbers and ids whole, text folded between words."""
        whole = [word for row in self.rows for word in row[column].split()]
        longest = max((len(word) for word in whole), default=0)
        cells = self._cells(column) if self.columns[column] in self.right else longest
        return max(self._heading(column), min(cells, max(_NARROWEST, cells if cells <= 2 * _NARROWEST else _NARROWEST)))

    def _table(self, widths: list[int]) -> Table:
        made = Table(title=Text(self.title), title_justify="left", header_style="bold")
        for i, column in enumerate(self.columns):
            flush = "right" if column in self.right else "left"
            made.add_column(Text(column), justify=flush, overflow="fold", width=widths[i])  # type: ignore[arg-type]
        for row in self.rows:
            made.add_row(*map(Text, row))
        return made

    def _blocks(self) -> Iterable[Text | Table]:
        yield Text(self.title, style="italic")
        for row in self.rows:
            block = Table.grid(padding=(0, 2))
            block.add_column(no_wrap=True, style="bold")
            block.add_column(overflow="fold")
            for heading, value in zip(self.columns, row, strict=True):
                if value:
                    block.add_row(Text(heading), Text(value))
            yield block
            if len(self.rows) > 1:
                yield Text("")
