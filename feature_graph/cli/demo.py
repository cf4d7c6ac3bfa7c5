"""``demo``: from the bundled model to answers from a real Neo4j, in one command."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from feature_graph.cli import common
from feature_graph.cli.composition import edges_of
from feature_graph.cli.connection import DatabaseAddress
from feature_graph.cli.ingest import ingest_with_bars
from feature_graph.cli.stages import OutOpt, print_result

if TYPE_CHECKING:
    from feature_graph.config import Config
    from feature_graph.database.server import RunningServer
    from feature_graph.database.store import Store
    from feature_graph.pipeline import RunResult

HOME = Path(".feature-graph")
LONGEST = 60
PIPELINE = "run the pipeline"


@dataclass(frozen=True)
class DemoQuestion:
    """A saved query that the demo asks.

    Attributes:
        name: Name of the template in queries/.
        parameters: Its parameters.
        columns: The columns that are shown.
    """

    name: str
    parameters: dict[str, Any]
    columns: tuple[str, ...]


QUESTIONS = (
    DemoQuestion("runs", {}, ("id", "name", "status", "model", "nodes", "edges")),
    DemoQuestion("quality", {}, ("span", "count", "excitatory", "computed", "only_later", "replicated", "median_strength", "median_q")),
    DemoQuestion(
        "layer_flow", {}, ("source_layer", "target_layer", "count", "excitatory", "inhibitory", "from_copy", "mean_strength", "largest")
    ),
    DemoQuestion("hubs", {"measure": "degree", "limit": 8}, ("id", "score", "incoming", "outgoing", "label")),
    DemoQuestion("hubs", {"measure": "pagerank", "limit": 8}, ("id", "score", "incoming", "outgoing", "label")),
    DemoQuestion("communities", {"algorithm": "leiden", "limit": 6, "members": 4}, ("community", "size", "layers", "members", "labels")),
    DemoQuestion("strongest", {"effect": "computed", "limit": 8}, ("source", "target", "value", "type", "source_label", "target_label")),
    DemoQuestion("strongest", {"effect": "specific", "limit": 8}, ("source", "target", "value", "type", "source_label", "target_label")),
    DemoQuestion("feed_forward", {"limit": 6}, ("source", "middle", "target", "kind", "source_middle", "middle_target", "source_target")),
    DemoQuestion("behaviors", {}, ("name", "clean", "ablated", "confirmed", "seeds")),
)
ALGORITHMS = ("degree", "pagerank", "leiden")
CASCADE = DemoQuestion("cascade", {"delta": 2.0, "limit": 8}, ("id", "hops", "effect", "paths", "label"))


def demo(
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Override a field of the configuration.")] = None,
    config: Annotated[str, typer.Option("--config", help="Configuration, as for run.")] = "bundled",
    output_dir: OutOpt = None,
    home: Annotated[Path, typer.Option("--home", help="Database home.")] = HOME,
) -> None:
    """Bundled model → causal feature graph → Neo4j → queries, GDS and a report. A second call reuses what is there.

    The features are those of the band, skip transcoders of eight consecutive MLPs; with --config bundled-residual those of residual SAEs.
    """
    from feature_graph.analysis import computation

    cfg = common.load_config(config, set_ or [], output_dir)
    run_dir = Path(cfg.output_dir)
    clock = Clock()
    with clock.step("check the disk"):
        _check_space()
    with clock.step("start Neo4j"):
        from feature_graph.database import server

        running = server.start(home)
    with clock.step(PIPELINE):
        result = _run(cfg)
    common.answer(False, None, computation(edges_of(run_dir)[0].frame).summary())
    with DatabaseAddress(home).open() as store:
        with clock.step("ingest"):
            report = ingest_with_bars(store, run_dir)
            common.out.print(report.summary(), highlight=False)
        with clock.step("ask"):
            _analyse(store, report.run)
            _ask(store, report.run)
    print_result(result)
    _print_end(running, run_dir, home, clock, result)


def _run(cfg: Config) -> RunResult:
    from feature_graph import pipeline

    try:
        return pipeline.run(cfg)
    except KeyboardInterrupt:
        common.fail("stopped. What is finished is kept; call the demo again to go on, or stop the database: make stop", common.INTERRUPTED)


def _analyse(store: Store, run: str) -> None:
    """Graph Data Science: scores are written onto the run in the database."""
    from feature_graph.database.store import Projection, analyze

    for algorithm in ALGORITHMS:
        frame = analyze(store, algorithm, Projection(run))
        common.out.print(f"GDS {algorithm}: {len(frame):,} features scored, written back", highlight=False)


def _ask(store: Store, run: str) -> None:
    """Put the questions; the last one starts at the feature that drives most."""
    for question in QUESTIONS:
        _print_answer(question, store.ask(question.name, **_of_run(question, run)).records)
    first = store.ask("hubs", run=run, measure="out_strength", limit=1).records
    if first and first[0]["outgoing"]:
        question = replace(CASCADE, parameters=CASCADE.parameters | {"feature": first[0]["id"]})
        _print_answer(question, store.ask(question.name, **_of_run(question, run)).records)


def _of_run(question: DemoQuestion, run: str) -> dict[str, Any]:
    """The question's parameters, with the run where the template asks for one (``runs`` lists them all)."""
    import queries

    asks = any(parameter.name == "run" for parameter in queries.template(question.name).parameters)
    return question.parameters | ({"run": run} if asks else {})


def _print_answer(question: DemoQuestion, records: list[dict[str, Any]]) -> None:
    import queries

    asked = queries.template(question.name).question
    call = " ".join([command_as_typed(), "query", question.name, *(f"--param {k}={v}" for k, v in question.parameters.items())])
    rows = [[_short(record[column]) for column in question.columns] for record in records]
    common.out.print(common.table(f"\n{asked}\n{call}", question.columns, rows))


def _short(value: object) -> object:
    if isinstance(value, list):
        value = ", ".join(str(common.cell(item)) for item in value)
    return value if not isinstance(value, str) or len(value) <= LONGEST else value[: LONGEST - 1] + "…"


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


def _check_space() -> None:
    import shutil

    from feature_graph.cli.doctor import GIB, needed_disk

    need, free = needed_disk(), shutil.disk_usage(Path.cwd()).free
    if free < need:
        common.fail(f"{free / GIB:.1f} GB are free here; the demo needs about {need / GIB:.1f} GB more. Free some space and call it again.")


def _print_end(running: RunningServer, run_dir: Path, home: Path, clock: Clock, result: RunResult) -> None:
    files = [(str(path), path.stat().st_size) for path in sorted(run_dir.iterdir()) if path.is_file() and not path.name.startswith(".")]
    common.out.print(common.table("files", ["file", "bytes"], files, right=["bytes"]))
    steps = [*clock.steps, ("all", sum(seconds for _, seconds in clock.steps))]
    stages = [(f"  {outcome.stage}", outcome.seconds) for outcome in result.outcomes if outcome.action == "done"]
    place = next(n for n, (name, _) in enumerate(steps) if name == PIPELINE) + 1
    rows = [(name, f"{seconds:.1f}") for name, seconds in [*steps[:place], *stages, *steps[place:]]]
    common.out.print(common.table("time", ["step", "seconds"], rows, right=["seconds"]))
    common.out.print(f"report         {run_dir / 'report.html'}", highlight=False, soft_wrap=True)
    common.out.print(f"Neo4j Browser  {running.browser_url}", highlight=False, soft_wrap=True)
    call = command_as_typed()
    common.out.print(
        f"log in as      {running.username}, password by: {call} db password --home {home} --show", highlight=False, soft_wrap=True
    )
    common.out.print(f"ask            {call} query hubs --home {home}", highlight=False, soft_wrap=True)
    common.out.print(f"stop           {call} db stop --home {home}", highlight=False, soft_wrap=True)


def command_as_typed() -> str:
    """How this command is called from here: by its name where the PATH leads to it, else by its path."""
    import shutil
    import sys

    own = Path(sys.executable).with_name("feature-graph")
    found = shutil.which("feature-graph")
    if found is not None and Path(found).resolve() == own.resolve():
        return "feature-graph"
    return os.path.relpath(own) if own.is_relative_to(Path.cwd()) else str(own)
