"""Text from files and databases, made safe to show: a label must not move the cursor, colour a terminal or turn a line round.

Data stay as they are wherever a format can carry them; only what people are shown goes through here.
"""

from __future__ import annotations

import logging
import re

#: C0 (but tab and line feed), DEL, C1, line and paragraph separators, marks that change the direction of text, halves of characters.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

HALF = "it holds half a character (a lone surrogate, such as \\ud800), which no database can store; expected whole Unicode characters"


def counted(n: int, one: str, many: str = "") -> str:
    """A number of things: ``1 edge``, ``1,234 edges``; ``many`` is the plural, if it is not ``one`` with an s."""
    return f"{n:,} {one if n == 1 else many or f'{one}s'}"


def visible(text: str) -> str:
    r"""Text in which every control character is its escape: ``\x1b``; outside ASCII's first 32 ``\u009b``, which JSON knows too.

    Line feeds and tabs stay.
    """
    return _UNSAFE.sub(lambda match: _escape(ord(match[0])), text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x20 else f"\\u{code:04x}"


def half_characters(text: str) -> bool:
    """Whether a text holds a lone surrogate, which JSON can write but neither UTF-8, Parquet nor a database can hold."""
    return any("\ud800" <= character <= "\udfff" for character in text)


class VisibleFormatter(logging.Formatter):
    """Log lines without control characters."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return visible(super().format(record))
