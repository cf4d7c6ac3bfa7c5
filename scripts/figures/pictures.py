"""The pictures of README and docs: the whole graph as SVG, a forecast beside its measurement, Neo4j Browser as a person sees it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from feature_graph.artifacts import RunPaths
from feature_graph.config import Config
from feature_graph.database import server
from feature_graph.graph import load_graph
from feature_graph.steering import predict_cascade, side_effects
from feature_graph.visualization import render_cascade_overlay, render_static_graph
from scripts.figures.commands import RUN, environment
from scripts.figures.marks import ROOT
from scripts.figures.steering import Study

IMAGES = ROOT / "docs" / "images"
_WAIT = 60_000


def chromium() -> str | None:
    """The web browser of this machine, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return os.environ.get("FEATURE_GRAPH_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


def graph(run: Path, images: Path = IMAGES) -> None:
    """graph.svg."""
    title = "SmolLM2-135M, blocks 8 to 15: features that drive features"
    render_static_graph(load_graph(RunPaths.of(run).graph_json), images / "graph.svg", title)


def steering(run: Path, feature: str, executable: str, images: Path = IMAGES) -> None:
    """steering.png: the forecast of one steer, and what was measured."""
    study = Study(run)
    delta = -0.5 * study.unit(feature)
    effects = side_effects(*study.loaded, study.graph, study.store, feature, delta, Config.load(study.paths.config))
    page = run / "figures" / "cascade.html"
    render_cascade_overlay(study.graph, predict_cascade(study.graph, feature, delta), page, measured=effects.measured)
    with _window(executable, 1640, 760) as window:
        window.goto(page.resolve().as_uri())
        drawing = window.locator(".js-plotly-plot").first
        drawing.wait_for()
        drawing.screenshot(path=images / "steering.png")


def browser(home: Path, executable: str, images: Path = IMAGES) -> None:
    """browser.png: five hubs and what they drive, beside the guide."""
    with _guide(home) as address, _window(executable, 1760, 620) as page:
        page.goto(address)
        page.fill('input[type="password"]', server.read_password(server.find_home(home)))
        page.keyboard.press("Enter")
        page.get_by_text("You are connected as user").wait_for()
        page.get_by_text("Colour the layers").locator("i").click()
        page.get_by_text(re.compile(r"node\.Layer\d")).first.wait_for()
        page.get_by_text("Draw only the edges").locator("i").click()
        page.get_by_text('"autoComplete": false').wait_for()
        heading = page.locator("h3", has_text=re.compile("^Hubs$"))
        while not heading.is_visible():
            page.get_by_text("Next", exact=True).click()
        page.locator("#hubs-drawn i").click()
        page.locator("g.node").first.wait_for()
        page.wait_for_timeout(8_000)  # the layout comes to rest
        page.screenshot(path=images / "browser.png")


@contextlib.contextmanager
def _window(executable: str, width: int, height: int) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        window = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = window.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(_WAIT)
        try:
            yield page
        finally:
            window.close()


@contextlib.contextmanager
def _guide(home: Path) -> Iterator[str]:
    """The address that ``feature-graph db browser`` prints, for as long as it serves the guide."""
    words = [sys.executable, *RUN, "db", "browser", "--no-open", "--serve", "--home", str(home)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment(), preexec_fn=_heed_interrupts) as told:
        assert told.stdout is not None
        try:
            yield told.stdout.readline().strip()
        finally:
            told.send_signal(signal.SIGINT)
            told.wait(60)


def _heed_interrupts() -> None:
    """A shell lets children in the background ignore Ctrl-C, by which the guide is ended."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
