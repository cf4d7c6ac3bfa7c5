"""The report in a real browser: a picture of eight columns is whole in a window of 1,280 pixels."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import networkx as nx
import pytest

from feature_graph.report import write_report
from feature_graph.visualization import render_interactive_graph
from tests.support.report_run import make_run
from tests.support.web_browser import chromium

COLUMNS = 8
_MEASURE = """<script>window.addEventListener("load", () => setTimeout(() => {
  const plot = document.querySelector(".fg-plot"), svg = plot.querySelector(".main-svg"), side = document.querySelector(".fg-side");
  document.title = [plot.clientWidth, plot.scrollWidth, svg.clientWidth, innerWidth, document.documentElement.scrollWidth,
    side.offsetTop - plot.offsetTop].join(" ");
}, 500));</script></body>"""


def measured(page: Path, width: int, script: str = _MEASURE) -> list[int]:
    """What the script says of the page in a window.

    By default of the picture: its room, what it takes, its width, the window's, the page's, how far below the side panel is.
    """
    text = page.read_text(encoding="utf-8")
    shown = page.with_name(f"{width}.html")
    shown.write_text(text.replace("</body>", script), encoding="utf-8")
    command = [chromium(), "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},1200", "--virtual-time-budget=20000"]
    command += [f"--user-data-dir={page.parent / 'browser'}", "--dump-dom", shown.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    return [int(part) for part in re.search(r"<title>([-\d ]+)</title>", dom)[1].split()]  # type: ignore[index]


@pytest.mark.slow
def test_eight_columns_fit_a_small_window(tmp_path: Path) -> None:
    graph = nx.DiGraph()
    for layer in range(COLUMNS):
        for index in range(3):
            graph.add_node(f"L{layer}_F{index}", layer=layer, index=index, label=f"word {layer}.{index}")
            if layer:
                graph.add_edge(f"L{layer - 1}_F{index}", f"L{layer}_F{index}", strength=0.5, span=1, kind="excitatory")
    page = render_interactive_graph(graph, tmp_path / "graph.html")
    for width, beside in ((1280, False), (1920, True)):
        room, takes, picture, window, whole, below = measured(page, width)
        assert window == width
        assert whole <= window
        assert takes <= room
        assert 1100 < picture <= room
        assert (below <= 0) == beside
    room, takes, picture, *_ = measured(page, 700)
    assert takes > room  # here it scrolls
    assert picture > 900


_TABLE = """<script>window.addEventListener("load", () => setTimeout(() => {
  const table = document.querySelector("#edges table");
  document.title = [innerWidth, document.documentElement.scrollWidth, table.parentElement.clientWidth, table.scrollWidth].join(" ");
}, 500));</script></body>"""


@pytest.mark.slow
def test_the_strongest_edges_fit_a_small_window(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path / "run").root, tmp_path / "report.html")
    window, whole, room, takes = measured(page, 1280, _TABLE)
    assert whole <= window
    assert takes <= room
    window, whole, room, takes = measured(page, 500, _TABLE)
    assert whole <= window, "the table scrolls in its own box"
    assert takes > room
