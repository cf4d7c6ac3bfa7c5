"""The templates of this package: which there are, and their text."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from importlib.resources import files

from queries.errors import QueryError, TemplateError, UnknownTemplate
from queries.template import Template, parse_template

_ENDING, _VISUAL = ".cypher", ".visual.cypher"

#: How every template says that a run must be ready; without it the statement asks a run of any status.
READY = ", status: 'ready'"


@cache
def templates() -> dict[str, Template]:
    """All templates by name, sorted by family and name.

    Raises:
        TemplateError: If a file breaks the format, or two have one name.
    """
    found: dict[str, Template] = {}
    for folder in sorted((f for f in files("queries").iterdir() if f.is_dir()), key=lambda f: f.name):
        texts = {f.name: f.read_text(encoding="utf-8") for f in folder.iterdir() if f.name.endswith(_ENDING)}
        for file in sorted(name for name in texts if not name.endswith(_VISUAL)):
            name = file.removesuffix(_ENDING)
            if name in found:
                raise TemplateError(f"two templates are named {name}: in {found[name].family} and {folder.name}")
            found[name] = parse_template(name, folder.name, texts[file], texts.get(name + _VISUAL))
    return found


def names() -> list[str]:
    """Names of all templates, sorted by family and name."""
    return list(templates())


def template(name: str) -> Template:
    """One template.

    Raises:
        UnknownTemplate: If there is none of that name; the message names near ones.
    """
    known = templates()
    if name not in known:
        near = get_close_matches(name, known, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else f"there are: {', '.join(known)}"
        raise UnknownTemplate(f"query: got {name!r}, no such template; {hint}")
    return known[name]


def text(name: str, visual: bool = False, any_status: bool = False) -> str:
    """The Cypher of a template, with its header.

    Args:
        name: Name of the template.
        visual: The form that returns paths.
        any_status: Without the condition that runs are ready.

    Raises:
        QueryError: If there is no such template, or it has no visual form.
    """
    found = template(name)
    chosen = found.visual if visual else found.text
    if chosen is None:
        drawable = [t.name for t in templates().values() if t.visual]
        raise QueryError(f"{name} has no visual form; these have one: {', '.join(drawable)}")
    return chosen.replace(READY, "") if any_status else chosen
