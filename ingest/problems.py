"""What is wrong with a run's files, in words: file, row, column and reason; the first of each kind, and how many more there are."""

from __future__ import annotations

from dataclasses import dataclass, field

_SHOWN = 5
_KINDS_SHOWN = 20


@dataclass
class Problems:
    """Problems by kind, in the order in which the kinds were met.

    Attributes:
        count: Problems in all.
    """

    count: int = 0
    _lines: dict[str, list[str]] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)

    def add(self, file: str, row: int | None, reason: str, kind: str | None = None, more: int = 0) -> None:
        """Note one problem.

        Args:
            file: Name of the file.
            row: Row, from 0; None if it is no row's.
            reason: What was got and what was expected.
            kind: Problems of one kind are counted together; by default each is its own.
            more: Further ones of this kind that are only counted.
        """
        kind = f"{file}: {kind or reason}"
        self.count += 1 + more
        self._counts[kind] = self._counts.get(kind, 0) + 1 + more
        lines = self._lines.setdefault(kind, [])
        if len(lines) < _SHOWN:
            lines.append(f"{file}{'' if row is None else f', row {row}'}: {reason}")

    def room(self, file: str, kind: str) -> int:
        """How many more of this kind are shown in words."""
        return _SHOWN - len(self._lines.get(f"{file}: {kind}", []))

    def report(self) -> list[str]:
        """All lines, with one more after each kind that has more than are shown."""
        lines: list[str] = []
        for kind in list(self._lines)[:_KINDS_SHOWN]:
            lines += self._lines[kind]
            more = self._counts[kind] - len(self._lines[kind])
            lines += [f"and {more} more like this"] if more else []
        hidden = sum(self._counts[kind] for kind in list(self._lines)[_KINDS_SHOWN:])
        return [*lines, f"and {hidden} more of other kinds"] if hidden else lines
