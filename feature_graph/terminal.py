"""The one door to people's eyes: consoles, log lines and pages in which no text of a file or a database acts on a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from logging import LogRecord

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType
from rich.logging import RichHandler
from rich.segment import Segment

#: Digits of a percentage at the most.
_DIGITS = 2


def visible(text: str) -> str:
    """Text as people are shown it: see :func:`ingest.text.visible`, which is loaded only for text that is not plain."""
    if text.replace("\n", "").isprintable():
        return text
    from ingest import visible as escaped

    return escaped(text)


def percent(share: float, digits: int = 0) -> str:
    """A share of something, as ``25%``: never 100% unless it is all, never 0% unless it is nothing; for that it has more digits.

    What is a share of something else, and so may be negative, has its sign before it.
    """
    if -1 < share < 0:
        text = percent(-share, digits)
        beyond = {"<": ">", ">": "<"}.get(text[0], "")  # a bound from the other side
        return f"{beyond}-{text.lstrip('<>')}"
    if not 0 < share < 1:
        return f"{share or 0.0:.{digits}%}"  # no −0
    fitting = (f"{share:.{more}%}" for more in range(digits, _DIGITS + 1))
    least = 10**-_DIGITS
    return next((text for text in fitting if 0 < float(text[:-1]) < 100), f"<{least}%" if share < 0.5 else f">{100 - least}%")


def shown(value: object) -> object:
    """What a page's template writes for a value: text made :func:`visible`; markup, which is ours, and numbers as they are."""
    return visible(value) if type(value) is str else value


class SafeConsole(Console):
    """A console that shows control characters instead of sending them; its own colours and cursor movements are not text."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The pieces of what is printed."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


class VisibleHandler(RichHandler):
    """Log lines for people; a message is made safe before it is folded to the width of the terminal."""

    def render_message(self, record: LogRecord, message: str) -> ConsoleRenderable:
        """The text of one line."""
        return super().render_message(record, visible(message))
