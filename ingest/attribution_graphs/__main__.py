"""``python -m ingest.attribution_graphs GRAPH.json OUT_DIR``: an attribution graph as a run directory."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ingest.attribution_graphs.convert import import_graph
from ingest.attribution_graphs.errors import GraphError
from ingest.attribution_graphs.names import Naming
from ingest.attribution_graphs.read import read_graph
from ingest.attribution_graphs.tell import in_words
from ingest.formats import FormatError
from ingest.text import visible


def main(arguments: list[str] | None = None) -> int:
    """Run the command; gives the exit code."""
    given = _parser().parse_args(arguments)
    try:
        done = import_graph(read_graph(given.graph), given.out_dir, Naming(given.model, given.model_hash, given.release), given.unit)
    except (GraphError, FormatError, OSError) as error:
        print(visible(f"error: {error}"), file=sys.stderr)
        return 1
    print(visible("\n".join(in_words(done))))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ingest.attribution_graphs", description="Turn an attribution graph of circuit-tracer or Neuronpedia into a run."
    )
    parser.add_argument("graph", type=Path, help="JSON file")
    parser.add_argument("out_dir", type=Path, help="run directory to write; new or empty")
    parser.add_argument("--model", default="", help="name of the model (default: the file's scan)")
    parser.add_argument(
        "--model-hash", default="", help="8 hex digits of the model's weights, as other runs have them (default: not known)"
    )
    parser.add_argument("--release", default="", help="name of the dictionaries (default: what the file says)")
    parser.add_argument(
        "--unit",
        choices=("source", "contribution"),
        default="source",
        help="source: weights divided by the source's activation, a derivative; contribution: as they are",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
