"""What Neo4j Browser is given, made from the templates: a guide, a style sheet, a bundle of favourites.

Nothing here starts a server or opens a window: ``feature-graph db browser`` does.
"""

from queries.browser.facts import Facts, gather
from queries.browser.favourites import favourites, favourites_zip, write_favourites
from queries.browser.guide import guide
from queries.browser.statements import STATEMENTS, Statement, filled
from queries.browser.style import Style, style_sheet

__all__ = [
    "STATEMENTS",
    "Facts",
    "Statement",
    "Style",
    "favourites",
    "favourites_zip",
    "filled",
    "gather",
    "guide",
    "style_sheet",
    "write_favourites",
]
