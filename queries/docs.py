"""Write docs/queries.md from the templates, and docs/cypher.md from the plain statements: ``python -m queries.docs [FOLDER]``."""

from __future__ import annotations

import argparse
from itertools import groupby
from pathlib import Path

from queries.browser import STATEMENTS, Facts, filled
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
it. The answer of a question that has a visual form can also be drawn as a graph, in Neo4j Browser. The structural graph, which most
questions are about, is explained in [the schema](schema.md)."""


_CYPHER = """# Plain Cypher

<!-- Made by `python -m queries.docs`; do not edit. -->

Statements to type into [Neo4j Browser](browser.md) or to pass to `feature-graph query --cypher FILE`. Here they are filled in for the run
that is shipped as an example, loaded into an empty database; on the first page of the guide in Neo4j Browser the same statements are filled
in for your newest run. [The questions](queries.md) do more, and check what they are given.

What to know before you write your own:

- **A feature** is `(:Feature {id: 'L5_F280'})`. Another dictionary may have a feature of the same `id`, so name the `model`, too, where the
  database holds more than one. `label`, `importance`, `density` and scores such as `pagerank` come from the newest run that observed
  the feature, whose number is `scores_run`. What a single run found is in `(:Observation {run: 1, id: 'L5_F280'})-[:OF]->(:Feature)`.
- **An edge** belongs to one run and one method. Always write `{run: 1, method: 'clamping'}`: without the run, edges of all runs are
  mixed; with both, the index is used. `run` is the number of the run and `run_id` the beginning of its id, by which
  `feature-graph runs list` and `query -p run=…` name it.
- **`strength`** is in target units per source unit. It is the total effect, unless only the direct or later effect passed the test. `sign`
  is its sign (0 if the edge erases a copy), and `type` says in words what the edge does.
- **`computed`** is the total effect without `copy`, what the residual stream merely carries on; **`specific`** is `computed` without what
  the blocks compute from any direction, where the run measured it. The three may differ in sign: `sign_computed` and `sign_specific` are 1,
  −1, or 0 where the effect is too small to count. An edge whose `type` is `attenuates_copy` or `erases_copy` is not inhibition, though its
  computed effect is negative under a positive copy. The statements below rank by `strength`, since the example has no specific effects; in
  the guide they rank by `specific` where your run measured it.
- **Copies** of one direction from layer to layer form a family: `(:Feature)-[:MEMBER_OF]->(:Family {run: 1, method: 'clamping'})`, with
  its `lifetime` in layers and the `id` of its first member.
- **`structural`** edges have no analysed site in between, or a direct effect that passed the test by itself. Follow these along paths
  and for degrees: a total effect over several sites is partly the sum of the edges in between.
- **A layer may have several dictionaries**: ids then name the site, `L5.mlp_F12` or `L5.attn_F3`, while those of the residual stream stay
  `L5_F280`. `WHERE f.id STARTS WITH 'L5.mlp_F'` finds the features of one; `(:Run)-[:COVERS]->(:Site {name: 'L5.mlp'})` gives its `kind`
  and the places in the model that it `reads` and `writes`. An edge's `span` counts layers and is 0 within one; `blocks` is the distance in
  blocks.

[The schema](schema.md) lists everything else. The number of a run and its id:

```cypher
MATCH (r:Run {status: 'ready'}) RETURN r.n AS run, left(r.id, 8) AS run_id, r.name, r.methods, r.edges ORDER BY run
```"""
#: The shipped run in an empty database.
_SHIPPED = Facts(
    run="86fb9dde5333978c",
    name="example",
    nodes=48,
    edges=167,
    layers=(2, 5, 8, 11),
    methods=("clamping", "jacobian"),
    other="",
    other_methods=("clamping", "jacobian"),
    behaviors=("capital_of", "counting"),
    feature="L5_F280",
    word="river",
    n=1,
    model="toy@0123abcd",
    other_n=2,
    importance=True,
)


def cypher_page() -> str:
    """docs/cypher.md."""
    parts = [f"## {s.question}\n\n```cypher\n{filled(s, _SHIPPED)}\n```" for s in STATEMENTS]
    return "\n\n".join([_CYPHER, *parts]) + "\n"


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
    special = {"run": "newest", "effect": "specific, else strength"}
    default = special[parameter.type] if parameter.type in special else "required" if parameter.required else _shown(parameter.default)
    return [f"`{parameter.name}`", parameter.bounds, default, parameter.about]


def _shown(value: object) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def main(arguments: list[str] | None = None) -> None:
    """Write the pages into the folder that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m queries.docs", description="Write queries.md from the templates, and cypher.md from the plain statements."
    )
    parser.add_argument("folder", nargs="?", type=Path, default=Path("docs"), help="where to; made if absent (default: docs)")
    folder: Path = parser.parse_args(arguments).folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "queries.md").write_text(page(), encoding="utf-8")
    (folder / "cypher.md").write_text(cypher_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
