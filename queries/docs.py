"""Write docs/queries.md from the templates: ``python -m queries.docs [FOLDER]``."""

from __future__ import annotations

import argparse
from itertools import groupby
from pathlib import Path

from queries.library import templates
from queries.template import Parameter, Template

_HEAD = """# Questions to the graph

<!-- Made by `python -m queries.docs`; do not edit. -->

Each question is one Cypher file in `queries/`, which is run as it is. Ask it on the command line,

```console
$ feature-graph query hubs --param measure=pagerank --param limit=5
$ feature-graph query neighbours --param feature=L5_F280 --format json
$ feature-graph query feed_forward --show
```

in Python,

```python
from feature_graph.database import store

with store.connect() as db:
    db.query("hubs", measure="pagerank", limit=5)   # a pandas frame
```

or in [Neo4j Browser](browser.md), from its guide or from favourites. Parameters are checked before anything is asked. Every question runs
in read access mode with a time limit, and is answered only from runs that are ready. If `run` is not given, it is the newest ready run.
With `--any-status` (`any_status=True`) a question about a named run that is loading, failed or dropped is answered from what is there of
it. The structural graph, which most questions are about, is explained in [the schema](schema.md)."""


def page() -> str:
    """docs/queries.md."""
    parts = [_HEAD]
    for family, members in groupby(templates().values(), key=lambda t: t.family):
        parts.append(f"## {family.capitalize()}")
        parts += [_question(template) for template in members]
    return "\n\n".join(parts) + "\n"


def _question(template: Template) -> str:
    others = {p.name: "OTHER" for p in template.parameters if p.type == "other_run" and p.required}  # a second run: the reader's own
    given = " ".join(f"--param {key}={_shown(value)}" for key, value in (others | template.example).items())
    facts = (
        ("needs Graph Data Science", template.needs_gds),
        ("needs decoder vectors", template.needs_decoders),
        ("has a visual form", template.visual),
    )
    notes = [note for note, there in facts if there]
    lines = [f"### {template.name}", f"*{template.question}*" + (f" ({'; '.join(notes)})" if notes else "")]
    shown = [p for p in template.parameters if p.type != "projection"]
    if shown:
        lines.append(_table(["parameter", "allowed", "default", "meaning"], [_parameter(p) for p in shown]))
    lines.append(_table(["column", "meaning"], [[f"`{name}`", meaning] for name, meaning in template.columns.items()]))
    lines.append(f"```console\n$ feature-graph query {template.name} {given}".rstrip() + "\n```")
    return "\n\n".join(lines)


def _parameter(parameter: Parameter) -> list[str]:
    default = "newest" if parameter.type == "run" else "required" if parameter.required else _shown(parameter.default)
    return [f"`{parameter.name}`", parameter.bounds, default, parameter.about]


def _shown(value: object) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def main(arguments: list[str] | None = None) -> None:
    """Write the page into the folder that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m queries.docs", description="Write queries.md from the templates.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("docs"), help="where to; made if absent (default: docs)")
    folder: Path = parser.parse_args(arguments).folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "queries.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
