"""``db browser``: Neo4j Browser with the guide and its style sheet."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from feature_graph.cli import common
from feature_graph.cli.home import HomeOption, resolve_home

if TYPE_CHECKING:
    from collections.abc import Mapping

    from feature_graph.database.server import Page, RunningServer, Served
    from feature_graph.database.store import Driver


def browser(
    home: HomeOption = None,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open it in the web browser.")] = True,
    serve: Annotated[
        bool | None,
        typer.Option(
            "--serve/--no-serve",
            help="Serve the guide until Ctrl-C. By default when it is opened from a terminal, so that a script never waits.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Open Neo4j Browser with a guide to every question, and say how to log in."""
    from feature_graph.database import server

    where = resolve_home(home)
    found = server.status(where)
    if found.server is None or found.state != "running":
        raise server.NotRunning("Neo4j is not running. Start it: feature-graph db start")
    running = found.server
    if not (open_ and sys.stdout.isatty() if serve is None else serve):
        _show(running, running.browser_url, open_)
        return
    with (
        server.driver(running.connection()) as driver,
        server.serve_pages(lambda served: pages(driver, served), running.browser_origins) as served,
    ):
        _show(running, f"{running.browser_url}&cmd=guide&arg={quote(served.url('guide'), safe=':/')}", open_)
        common.say("The guide is served until Ctrl-C; the database goes on without it.", err=True)
        _until_interrupted()


def pages(driver: Driver, served: Served) -> Mapping[str, Page]:
    """What Browser is given; the guide and the style sheet tell of the newest run at the time they are asked for."""
    from feature_graph.database.server import Page
    from queries import browser as made

    def guide() -> bytes:
        facts = made.gather(driver)
        text = made.guide(facts, served.url("style.grass"), served.url("favourites.zip"), _colors(facts.layers if facts else ()))
        return text.encode()

    def style() -> bytes:
        facts = made.gather(driver)
        return made.style_sheet(made.Style(_colors(facts.layers if facts else ()))).encode()

    return {
        "guide": Page("text/html; charset=utf-8", guide),
        "style.grass": Page("text/plain; charset=utf-8", style),
        "favourites.zip": Page("application/zip", made.favourites_zip),
    }


def _colors(layers: tuple[int, ...]) -> dict[int, str]:
    from feature_graph.visualization import layer_colors

    return layer_colors(layers)


def _show(running: RunningServer, url: str, open_: bool) -> None:
    common.say(url)
    common.say(f"Log in as user {running.username} with the password that `feature-graph db password` prints.", err=True)
    if open_:
        typer.launch(url)


def _until_interrupted() -> None:
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        common.say("The guide is closed.", err=True)
