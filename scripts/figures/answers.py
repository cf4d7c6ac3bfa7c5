"""What the questions answer on the run between transcoders, from a Neo4j that holds nothing else."""

from __future__ import annotations

from pathlib import Path

from scripts.figures.commands import command

_SHOWN = 5


def figures(home: Path) -> dict[str, str]:
    """By name; ``home`` is a running database that holds the run."""
    lines = command("query", "layer_flow", "--home", home).rstrip().splitlines()
    head = next(n for n, line in enumerate(lines) if "source_layer" in line)
    rows = [line for line in lines[head + 2 :] if line.startswith("│")]
    more = ["                …"] if len(rows) > _SHOWN else []
    shown = [_plain(lines[head]), *map(_plain, rows[:_SHOWN]), *more]
    return {
        "answer.layer_flow": "\n".join(
            [
                "    $ .venv/bin/feature-graph query layer_flow --param run=bundled --home .feature-graph",
                *(f"    {s}" for s in shown),
            ]
        )
    }


def _plain(line: str) -> str:
    """A table's row without its frame."""
    return line.replace("┃", " ").replace("│", " ").rstrip()
