"""Whether an edge excites, inhibits, or takes from a copy, in Cypher: the rule of ``ingest.strength.takes_from_copy``."""


def takes_from_copy(edge: str, value: str, asked: bool = True) -> str:
    """The condition that an edge takes from a copy, and so neither excites nor inhibits.

    Templates have it in exactly these words (``tests/unit/test_signs.py``).

    Args:
        edge: Name of the edge in the statement.
        value: Name or expression of the effect asked about.
        asked: Whether the statement has the parameter ``$effect``; if not, the effect is never the computed or the specific one.
    """
    negative = f"($effect IN ['computed', 'specific'] OR {value} < 0)" if asked else f"{value} < 0"
    return f"({edge}.type = 'erases_copy' OR {edge}.type = 'attenuates_copy' AND {negative})"
