"""The guide that Neo4j Browser shows next to the editor (``:guide URL``): what the run holds, then every question, to be asked by a click.

Browser reads one page of HTML, a ``<slide>`` a page of the guide. What is in ``data-populate`` goes into the editor by a click, and is run
by the play sign that Browser puts before it; ``data-exec`` runs one of Browser's own commands. Before showing the page, Browser strips
scripts and everything like an event handler, `` on…=``, from its whole text: so an equals sign in Cypher is written as an entity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from itertools import groupby

import jinja2
from markupsafe import Markup

from queries.browser.facts import Facts
from queries.browser.literals import written_out
from queries.browser.statements import STATEMENTS, filled
from queries.library import templates
from queries.template import Template

TITLE = "Feature interaction graph"
#: Families from the whole to the parts; others follow by name.
_ORDER = ("runs", "features", "hubs", "communities", "motifs", "cascades", "behaviors", "audit")


@dataclass(frozen=True)
class Form:
    """One way to ask: as a table or as a drawing."""

    id: str
    label: str
    cypher: str


@dataclass(frozen=True)
class Question:
    """One question and its forms."""

    text: str
    forms: tuple[Form, ...]


@dataclass(frozen=True)
class Family:
    """The questions of one page."""

    title: str
    questions: tuple[Question, ...]


def guide(facts: Facts | None, style_url: str, favourites_url: str, colors: Mapping[int, str] | None = None) -> str:
    """The page.

    Args:
        facts: The newest run; None if there is none.
        style_url: Where Browser finds the style sheet.
        favourites_url: Where people find the favourites.
        colors: Layer → colour of the style sheet, for a legend.
    """
    env = jinja2.Environment(loader=jinja2.PackageLoader("queries.browser", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    env.globals.update(code=_code, command=_command)
    asked = {t.name: facts.values(t) if facts else None for t in templates().values()}
    return env.get_template("guide.html.j2").render(
        title=TITLE,
        facts=facts,
        statements=[(s, text) for s in STATEMENTS if facts and (text := filled(s, facts))],
        style_url=style_url,
        favourites_url=favourites_url,
        colors=colors,
        families=_families(asked),
        missing=[name for name, values in asked.items() if values is None] if facts else [],
    )


def _families(asked: Mapping[str, Mapping[str, object] | None]) -> list[Family]:
    place = {name: i for i, name in enumerate(_ORDER)}
    ordered = sorted((t for t in templates().values() if asked[t.name] is not None), key=lambda t: (place.get(t.family, 99), t.family))
    return [
        Family(family.capitalize(), tuple(_question(t, asked[t.name] or {}) for t in members))
        for family, members in groupby(ordered, key=lambda t: t.family)
    ]


def _question(template: Template, values: Mapping[str, object]) -> Question:
    forms = [Form(template.name, "table", written_out(template, values))]
    if template.visual:
        forms.append(Form(f"{template.name}-drawn", "drawing", written_out(template, values, visual=True)))
    return Question(template.question, tuple(forms))


def _code(text: str) -> Markup:
    return Markup(escape(text.strip(), quote=True).replace("=", "&#61;"))


def _command(command: str, label: str) -> Markup:
    return Markup('<p><a data-exec="{}">{}</a></p>').format(command, label)
