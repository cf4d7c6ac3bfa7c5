"""Which characters act on a terminal."""

from __future__ import annotations


def acts(text: str) -> bool:
    """Whether something in a text acts on a terminal, by Unicode's own categories and marks of direction."""
    import unicodedata

    turning = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    return any((unicodedata.category(c) in {"Cc", "Cs"} and c not in "\n\t") or unicodedata.bidirectional(c) in turning for c in text)
