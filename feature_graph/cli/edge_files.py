"""``ingest`` of a file of edges, or of what ``runs export`` wrote: a run directory is made of it first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from feature_graph.cli import common

_PANEL = "A file of edges"

PathArgument = Annotated[
    Path,
    typer.Argument(
        metavar="PATH", help="Run directory, a file of edges (.csv, .tsv, .parquet, .graphml), or a folder written by `runs export`."
    ),
]
ModelOption = Annotated[str, typer.Option("--model", help="Model that the edges belong to: name, or name@hash.", rich_help_panel=_PANEL)]
MethodOption = Annotated[
    str, typer.Option("--method", help="Name of the method that measured the edges, in lower case.", rich_help_panel=_PANEL)
]
FeaturesOption = Annotated[
    Path | None, typer.Option("--features", metavar="FILE", help="File with the features, if there is one.", rich_help_panel=_PANEL)
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--output-dir", metavar="DIR", help="Run directory to make. Default: PATH with its ending replaced by -run.", rich_help_panel=_PANEL
    ),
]
ReleaseOption = Annotated[
    str,
    typer.Option(
        "--release", help="Name of the set of SAEs or transcoders; runs that use the same set share features.", rich_help_panel=_PANEL
    ),
]
SiteOrderOption = Annotated[
    str, typer.Option("--site-order", metavar="A,B,…", help="Order of the sites within a layer, such as attn,mlp.", rich_help_panel=_PANEL)
]


@dataclass(frozen=True)
class EdgeFile:
    """What was said of a file of edges."""

    model: str = ""
    method: str = ""
    features: Path | None = None
    out: Path | None = None
    release: str = ""
    site_order: str = ""

    def run_of(self, path: Path) -> Path:
        """The run directory of a path: itself, or one that is made of a file of edges.

        Raises:
            FormatError: If the file is not a file of edges.
            InvalidRun: If it contradicts itself.
        """
        if self == EdgeFile() and not path.suffix and not path.is_dir():
            return path  # what is wrong with it, loading says
        from ingest.frames import from_frames, is_edges, read_frames

        if not is_edges(path):
            if self != EdgeFile():
                options = "--model, --method, --features, --output-dir, --release and --site-order"
                common.fail(f"{path} is not a file of edges (.csv, .tsv, .parquet, .graphml); {options} are for such files", common.USAGE)
            return path
        found = read_frames(path, self.features)
        order = [name.strip() for name in self.site_order.split(",") if name.strip()]
        made = from_frames(
            found.features,
            found.edges,
            model=self.model,
            method=self.method,
            out=self.out or path.with_name(f"{path.stem}-run"),
            release=self.release,
            site_order=order,
            texts=found.texts,
        )
        common.err.print(f"run directory: {common.escaped(str(made))}", highlight=False, soft_wrap=True)
        return made
