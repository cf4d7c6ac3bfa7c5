"""Write docs/configuration.md, every field of a run's configuration, from the code: ``python -m scripts.config_page``."""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from feature_graph.config import BUNDLED_LAYERS, OUTSIDE_HASH, Config, SiteConfig
from feature_graph.pipeline.stages import STAGES

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"
_MADE = "<!-- Made by `python -m scripts.config_page`; do not edit. -->"
_INTRO = f"""A configuration is a YAML or JSON file of the fields below, or `Config(field=value, …)` in Python. Every field has a default:
an empty file is a valid configuration of the bundled model. Unknown fields and values out of range are refused, and the message names the
field, what was given and what is allowed. `feature-graph run --list` lists the configurations that come with the library
(`examples/configs`), and the run directory keeps the whole configuration of a run as `config.json`.

For each field this page gives its type and range, its default, its meaning, and the **stages** that depend on it. A stage whose fields
and input files are unchanged is not computed again, so the list says what changing a field costs: those stages, and whatever reads their
files. The stage `report` is not listed, because it shows the whole configuration and so depends on every field except
{", ".join(f"`{name}`" for name in sorted(OUTSIDE_HASH))}, which never change a result."""
_OPTIONAL = "The stages `responses` and `seeds`, and the files that they write, belong to a run only with `candidates: responses`."
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "min_length": "at least"}


def page() -> str:
    """docs/configuration.md."""
    parts = ["# Configuration", _MADE, _INTRO, "## Stages", _stages(), _OPTIONAL]
    for title, names in sections():
        parts += [f"## {title}", *(_field(name, Config.model_fields[name], _meanings(Config)[name]) for name in names)]
    parts += ["## A site", "Each entry of [`sites`](#sites) is a mapping of these fields.", _site()]
    return "\n\n".join(parts) + "\n"


def sections() -> list[tuple[str, list[str]]]:
    """(title, fields) in the order of the source, whose comments ``# --- title ---`` divide the fields."""
    found: list[tuple[str, list[str]]] = []
    for line in inspect.getsource(Config).splitlines():
        if title := re.fullmatch(r"    # --- (.+) ---", line):
            found.append((title[1].capitalize(), []))
        elif (field := re.match(r"    (\w+):", line)) and field[1] in Config.model_fields:
            found[-1][1].append(field[1])
    return found


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """Field to the sentence under it, as Markdown."""
    (body,) = ast.parse(inspect.getsource(model)).body
    assert isinstance(body, ast.ClassDef)
    pairs = zip(body.body, body.body[1:], strict=False)
    return {
        node.target.id: " ".join(text.value.value.split()).replace("``None``", "`null`").replace("``", "`")
        for node, text in pairs
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


def _stages() -> str:
    rows = [(f"`{s.name}`", s.meaning, _files(s.inputs), _files(s.outputs)) for s in STAGES]
    return _table(("stage", "what it makes", "reads", "writes"), rows)


def _files(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "–"


def _field(name: str, field: FieldInfo, meaning: str) -> str:
    return f"### `{name}`\n\n{_type(field)} · default {_default(name, field)} · {_dependants(name)}\n\n{meaning}"


def _site() -> str:
    meanings = _meanings(SiteConfig)
    rows = [
        (f"`{name}`", _type(field), "required" if field.is_required() else _written(field.default), meanings[name])
        for name, field in SiteConfig.model_fields.items()
    ]
    return _table(("field", "type", "default", "meaning"), rows)


def _type(field: FieldInfo) -> str:
    return ", ".join([_kind(field.annotation), *_range(field)])


def _kind(annotation: Any) -> str:
    """A type in words: ``whole number``, one of a few words, a list of them, or nothing."""
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) is list:
        return "list of " + {int: "whole numbers", str: "texts", SiteConfig: "[sites](#a-site)"}[get_args(annotation)[0]]
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(_kind(part) for part in get_args(annotation))
    if get_origin(annotation) is tuple:
        return f"list of {len(get_args(annotation))} numbers"
    return {int: "whole number", float: "number", str: "text", bool: "true or false", type(None): "`null`"}[annotation]


def _range(field: FieldInfo) -> Iterator[str]:
    for limit in field.metadata:
        for key, words in _BOUNDS.items():
            if (value := getattr(limit, key, None)) is not None:
                yield f"{words} {value:,}" + (" entries" if key == "min_length" else "")


def _default(name: str, field: FieldInfo) -> str:
    return _written(list(BUNDLED_LAYERS) if name == "layers" else field.default)


def _written(value: Any) -> str:
    """A value as YAML has it."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    text = "[" + ", ".join(map(str, value)) + "]" if isinstance(value, list) else "null" if value is None else str(value)
    return f"`{text}`"


def _dependants(name: str) -> str:
    if name in OUTSIDE_HASH:
        return "no stage depends on it"
    found = [
        f"`{s.name}`" + (" (its last step only)" if name in s.finishing else "") for s in STAGES if name in s.fields and s.name != "report"
    ]
    return ("stages " if len(found) > 1 else "stage ") + ", ".join(found)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ("---",) * len(head), *rows))


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(prog="python -m scripts.config_page", description=__doc__, allow_abbrev=False)
    parser.add_argument("-o", "--output", type=Path, default=PAGE, help="where the page goes (default: docs/configuration.md)")
    parser.parse_args().output.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
