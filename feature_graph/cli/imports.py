"""``import``: results of other programs, turned into run directories."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from feature_graph.cli import common
from feature_graph.cli.commands import CommandLine, JsonOption

import_app = CommandLine(no_args_is_help=True, help="Turn results of other programs into runs that can be loaded.")


class Unit(StrEnum):
    """What a weight stands for."""

    SOURCE = "source"
    CONTRIBUTION = "contribution"


@import_app.callback()
def _import() -> None:
    """Turn results of other programs into runs that can be loaded."""


@import_app.command()
def attribution(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Attribution graphs: one JSON file per prompt.")],
    output_dir: Annotated[Path, typer.Option("--output-dir", "-o", metavar="DIR", help="Run directory to write; new or empty.")],
    model: Annotated[str, typer.Option("--model", help="Name of the model. Default: the files' scan.")] = "",
    model_hash: Annotated[
        str, typer.Option("--model-hash", help="8 hex digits of the hash of the model's weights, as other runs give it. Default: unknown.")
    ] = "",
    release: Annotated[str, typer.Option("--release", help="Name of the dictionaries. Default: what the files say.")] = "",
    unit: Annotated[
        Unit,
        typer.Option(
            "--unit", help="source: weights divided by the source's activation, which makes them derivatives; contribution: as they are."
        ),
    ] = Unit.SOURCE,
    as_json: JsonOption = False,
) -> None:
    """Turn attribution graphs of circuit-tracer or Neuronpedia into one run, whose edges have the method "attribution".

    Several files must belong to one model and the same dictionaries; a feature that occurs in several prompts becomes one feature. Nodes
    that are not features of a dictionary, and ids that stand for two nodes, are left out and counted.
    """
    from ingest.attribution_graphs import Naming, import_graphs, in_words, read_graph

    done = import_graphs([read_graph(file) for file in files], output_dir, Naming(model, model_hash, release), unit.value)
    if as_json:
        common.out.print_json(data={"run_dir": str(done.root), "features": done.features, "edges": done.edges, "facts": done.facts})
        return
    for line in in_words(done):
        common.out.print(common.escaped(line), highlight=False, soft_wrap=True)
