"""``demo``: from the bundled model to answers from a real Neo4j, in one command."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from feature_graph.cli import common
from feature_graph.cli.stages import print_result

if TYPE_CHECKING:
    from feature_graph.server import RunningServer

HOME = Path(".feature-graph")
RUN_DIR = Path("outputs/bundled")


def demo(
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Override a field of the bundled configuration.")
    ] = None,
    output_dir: Annotated[Path, typer.Option("--output-dir", "-o", help="Run directory.")] = RUN_DIR,
    home: Annotated[Path, typer.Option("--home", help="Database home.")] = HOME,
) -> None:
    """Bundled model → causal feature graph → Neo4j → queries, GDS and a report. A second call reuses what is there."""
    clock = Clock()
    with clock.step("check"):
        _check_room()
    cfg = common.load_config("bundled", set_ or [], output_dir)
    with clock.step("start Neo4j"):
        from feature_graph import server

        running = server.start(home)
    with clock.step("run"):
        from feature_graph import pipeline

        print_result(pipeline.run(cfg))
    _print_end(running, output_dir, home, clock)


class Clock:
    """Seconds of each step, in order."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, float]] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what is inside."""
        common.err.rule(f"[bold]{name}", align="left")
        begun = time.monotonic()
        yield
        self.steps.append((name, time.monotonic() - begun))


def _check_room() -> None:
    import shutil

    from feature_graph.cli.doctor import GIB, needed_disk

    need, free = needed_disk(), shutil.disk_usage(Path.cwd()).free
    if free < need:
        common.fail(f"{free / GIB:.1f} GB are free here; the demo needs about {need / GIB:.1f} GB more. Free some space and call it again.")


def _print_end(running: RunningServer, run_dir: Path, home: Path, clock: Clock) -> None:
    files = [(str(path), path.stat().st_size) for path in sorted(run_dir.iterdir()) if path.is_file() and not path.name.startswith(".")]
    common.out.print(common.table("files", ["file", "bytes"], files, right=["bytes"]))
    rows = [(name, f"{seconds:.1f}") for name, seconds in clock.steps]
    rows.append(("all", f"{sum(seconds for _, seconds in clock.steps):.1f}"))
    common.out.print(common.table("time", ["step", "seconds"], rows, right=["seconds"]))
    common.out.print(f"report         {run_dir / 'report.html'}", highlight=False)
    common.out.print(f"Neo4j Browser  {running.browser_url}", highlight=False)
    common.out.print(f"log in as      {running.username}, password by: feature-graph db password --home {home} --show", highlight=False)
    common.out.print("ask            feature-graph query hubs", highlight=False)
    common.out.print(f"stop           feature-graph db stop --home {home}   (or: make stop)", highlight=False)
