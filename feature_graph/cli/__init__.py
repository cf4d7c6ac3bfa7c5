"""The command line, ``feature-graph``: one command per stage, and run, status, db, ingest, query, report, doctor, demo.

Nothing heavy is imported until a command runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os

import typer

from feature_graph.cli import (
    analyze,
    calibrate,
    cascade,
    common,
    composition,
    db,
    demo,
    doctor,
    forecasts,
    imports,
    ingest,
    migrate,
    motifs,
    offline,
    probe,
    pruning_recall,
    quality,
    query,
    report,
    runs,
    stages,
    steer,
    validate,
    vectors,
)
from feature_graph.cli.commands import CommandLine, Commands

app = CommandLine(
    name="feature-graph",
    cls=Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_show_locals=False,
    rich_markup_mode="rich",
    help="Find which sparse-autoencoder features of a language model causally drive which others, and keep the answer in Neo4j.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        common.say(f"feature-graph {version('feature-graph')}")
        raise typer.Exit


@app.callback()
def _options(
    debug: bool = typer.Option(False, "--debug", help="Show the whole traceback of an error."),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="Log warnings and errors only."),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Log details too."),
    _: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version of feature-graph."),
) -> None:
    from feature_graph.utils import setup_logging

    setup_logging("WARNING" if quiet else "DEBUG" if debug or verbose else "INFO")


stages.register(app)
app.command(rich_help_panel="A run")(quality.quality)
app.command(rich_help_panel="A run")(report.report)
app.command(rich_help_panel="A run")(analyze.analyze)
app.command(rich_help_panel="A run")(composition.composition)
app.command(rich_help_panel="A run")(motifs.motifs)
app.command(rich_help_panel="A run")(pruning_recall.pruning_recall)
app.command(rich_help_panel="A run")(probe.probe)
app.command(rich_help_panel="A run")(validate.validate)
app.command(rich_help_panel="A run")(forecasts.forecasts)
app.command(rich_help_panel="A run")(cascade.cascade)
app.command(rich_help_panel="A run")(steer.steer)
app.command(rich_help_panel="A run")(vectors.vectors)
db.db_app.command()(migrate.migrate)
for command in (offline.dump, offline.load, offline.backup):
    db.db_app.command()(command)
app.add_typer(db.db_app, name="db", rich_help_panel="The graph in Neo4j")
app.command(rich_help_panel="The graph in Neo4j")(ingest.ingest)
app.add_typer(imports.import_app, name="import", rich_help_panel="The graph in Neo4j")
app.command(rich_help_panel="The graph in Neo4j")(query.query)
app.command(rich_help_panel="The graph in Neo4j")(runs.verify)
app.add_typer(runs.runs_app, name="runs", rich_help_panel="The graph in Neo4j")
app.command(rich_help_panel="Set-up")(doctor.doctor)
app.command(rich_help_panel="Set-up")(calibrate.calibrate)
app.command(rich_help_panel="Set-up")(demo.demo)
app.command(rich_help_panel="Set-up")(doctor.version)


def main() -> None:
    """Entry point of the command ``feature-graph``."""
    # Threads that wait for each other should sleep, not spin: on a shared machine spinning costs 40 % more processor time (docs/log.md).
    # OpenMP reads this when torch is loaded, so it is set before.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    app()
