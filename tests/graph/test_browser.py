"""Neo4j Browser as a person meets it: in a real Chromium, from the log-in to drawn graphs.

The browser is the machine's own: ``FEATURE_GRAPH_CHROMIUM``, else the first Chromium or Chrome found. Where there is none the tests are
skipped; where ``FEATURE_GRAPH_NEEDS_CHROMIUM`` is set (as in ``.ci/run``) that is a failure.
"""

from __future__ import annotations

import base64
import html
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

import queries
from feature_graph.database import server
from feature_graph.database.store import Store
from feature_graph.visualization.style import layer_colors
from queries.browser import STATEMENTS, gather, guide
from tests.signals import heed_interrupts
from tests.support.database import wipe
from tests.support.web_browser import chromium

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Page

pytestmark = [pytest.mark.graph, pytest.mark.slow]

COMMAND = [sys.executable, "-c", "from feature_graph.cli import main; main()", "db", "browser"]
WAIT = 60_000
#: What the content policy keeps from the rest of the world, and the question "is there HTTP?" that Browser puts to the Bolt port.
EXPECTED = re.compile(r"https://.* violates .*Content Security Policy|ERR_EMPTY_RESPONSE", re.DOTALL)
#: Questions about patterns that the shipped run need not have for the feature that the guide chose.
MAY_BE_EMPTY: set[str] = set()
#: Statements that are no templates; whether each finds something is tested in test_plain_cypher.py.
PLAIN = {s.name for s in STATEMENTS}


@pytest.fixture(scope="module")
def run(connected: Store) -> str:
    """The shipped run, alone in the database."""
    wipe(connected)
    return connected.ingest(queries.example_run()).run


@dataclass
class Opened:
    """``feature-graph db browser``, and its page in Chromium.

    Attributes:
        page: The page.
        guide_url: Where the command serves the guide.
        errors: What the console said that is not expected.
    """

    page: Page
    guide_url: str
    errors: list[str]

    def turn_to(self, title: str) -> None:
        """Turn the guide's pages from the first until one has this title."""
        heading = self.page.locator("h3", has_text=re.compile(f"^{title}$"))
        back, on = (self.page.get_by_text(word, exact=True) for word in ("Previous", "Next"))
        while back.is_visible() and back.is_enabled():
            back.click()
        while on.is_enabled() and not heading.is_visible():
            on.click()
        heading.wait_for()

    def ask(self, name: str) -> None:
        """Click the play sign of a question."""
        self.page.locator(f"#{name} i").click()


@pytest.fixture(scope="module")
def address(neo4j_running: server.RunningServer, run: str) -> Iterator[str]:
    """What ``feature-graph db browser`` prints; Ctrl-C ends it."""
    with subprocess.Popen(
        [*COMMAND, "--no-open", "--serve", "--home", str(neo4j_running.home.root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=heed_interrupts,
    ) as told:
        assert told.stdout is not None
        try:
            yield told.stdout.readline().strip()
        finally:
            told.send_signal(signal.SIGINT)
            try:
                rest, _ = told.communicate(timeout=60)
            finally:
                told.kill()  # nothing if it has ended; else the block would wait for it for ever
        assert (told.returncode, rest) == (0, "")


@pytest.fixture(scope="module")
def opened(neo4j_running: server.RunningServer, address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """A person who opens that address and logs in."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        window = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = window.new_page(viewport={"width": 1500, "height": 950})
        page.set_default_timeout(WAIT)
        made = Opened(page, address.partition("&arg=")[2], [])

        def listen(message: ConsoleMessage) -> None:
            if message.type == "error" and not EXPECTED.search(message.text + str(message.location)):
                made.errors.append(message.text)

        page.on("console", listen)
        page.on("pageerror", lambda error: made.errors.append(str(error)))
        page.goto(address)
        page.fill('input[type="password"]', neo4j_running.connection().password)
        page.keyboard.press("Enter")
        page.get_by_text("You are connected as user").wait_for()
        try:
            yield made
        finally:
            page.screenshot(path=tmp_path_factory.mktemp("pictures") / "browser.png")
            window.close()


def test_the_guide_asks_and_browser_draws(opened: Opened, connected: Store, run: str) -> None:
    page = opened.page
    page.get_by_text(f"Run {run}").wait_for()
    page.get_by_text("Colour the layers").locator("i").click()
    page.get_by_text("node.Layer8").first.wait_for()
    page.get_by_text("Draw only the edges").locator("i").click()
    page.get_by_text('"autoComplete": false').wait_for()

    opened.turn_to("Features")
    opened.ask("neighbours-drawn")
    page.locator("g.node").first.wait_for()
    feature = re.search(r"feature is '(\w+)'", page.locator("#neighbours").get_attribute("data-populate") or "")
    assert feature is not None
    paths = connected.ask("neighbours", visual=True, run=run, feature=feature[1]).records
    nodes = {node["properties"]["uid"]: node["properties"]["layer"] for row in paths for node in row["path"]["nodes"]}
    edges = [edge["properties"]["type"] for row in paths for edge in row["path"]["relationships"]]
    assert page.locator("g.node").count() == len(nodes)
    assert page.locator("g.relationship").count() == len(edges)
    drawn = [circle.get_attribute("fill") for circle in page.locator("g.node circle.b-outline").all()]
    colors = layer_colors([2, 5, 8, 11])
    assert sorted(map(str, drawn)) == sorted(colors[layer] for layer in nodes.values())
    written = [text.text_content() for text in page.locator("g.relationship text").all()]
    assert sorted(map(str, written)) == sorted(edges)

    opened.turn_to("Hubs")
    opened.ask("hubs")
    page.get_by_text("Started streaming 20 records").wait_for()
    opened.turn_to("Cascades")
    opened.ask("cascade")
    page.locator("article").first.get_by_text("effect", exact=True).wait_for()
    assert opened.errors == []


def test_a_script_is_told_the_address_and_never_kept_waiting(neo4j_running: server.RunningServer, run: str) -> None:
    told = subprocess.run(
        [*COMMAND, "--no-open", "--home", str(neo4j_running.home.root)], capture_output=True, text=True, timeout=120, check=True
    )
    assert told.stdout.strip() == neo4j_running.browser_url
    assert "Log in as user neo4j" in told.stderr
    assert neo4j_running.connection().password not in told.stdout + told.stderr


def statements_of_the_guide(connected: Store) -> list[tuple[str, str]]:
    """Name and text of each, which are those of every question."""
    page = guide(gather(connected.driver), "http://localhost/style.grass", "http://localhost/favourites.zip")
    found = [(name, html.unescape(text)) for name, text in re.findall(r'<a id="([^"]+)" data-populate="([^"]*)"', page)]
    needs_two_runs = {t.name for t in queries.templates().values() if any(p.type == "other_run" for p in t.parameters)}
    assert {name.removesuffix("-drawn") for name, _ in found} - PLAIN == set(queries.names()) - needs_two_runs
    return found


def run_as_browser_does(connected: Store, statements: list[tuple[str, str]]) -> None:
    """As they stand, in transactions of their own that may write; each finds something, and none leaves anything."""
    with connected.driver.session(notifications_min_severity="OFF") as session:
        before = session.run("MATCH (n) RETURN count(n)").single()
        empty = {name for name, text in statements if not session.run(text).fetch(1)}
        assert session.run("MATCH (n) RETURN count(n)").single() == before
        assert session.run("CALL gds.graph.list() YIELD graphName RETURN graphName").data() == []
    assert empty - PLAIN <= MAY_BE_EMPTY


def test_statements_of_the_guide_can_be_run(connected: Store, run: str) -> None:
    """Of all kinds of parameters: one after the other, each that has a kind which none before has. Values are written out in them, so
    that the server plans each anew."""
    kinds: set[tuple[str, bool]] = set()
    chosen = []
    for name, text in statements_of_the_guide(connected):
        plain = name.removesuffix("-drawn")
        mine = {(p.type, plain != name) for p in queries.template(plain).parameters} if plain in queries.names() else {(name, False)}
        if mine - kinds and plain not in PLAIN:
            chosen.append((name, text))
            kinds |= mine
    assert len(chosen) > 5
    run_as_browser_does(connected, chosen)


@pytest.mark.long
def test_every_statement_of_the_guide_can_be_run(connected: Store, run: str) -> None:
    run_as_browser_does(connected, statements_of_the_guide(connected))


@pytest.mark.long
def test_a_click_on_a_question_puts_it_into_the_editor(opened: Opened) -> None:
    opened.turn_to("Runs")
    link = opened.page.locator("#quality")
    box = link.bounding_box()
    assert box is not None
    link.click(position={"x": box["width"] - 5, "y": box["height"] / 2})
    opened.page.locator(".view-lines").get_by_text("Quality of a run").wait_for()
    assert opened.errors == []


@pytest.mark.long
def test_the_archive_dropped_onto_the_window_becomes_favourites(opened: Opened) -> None:
    with urllib.request.urlopen(opened.guide_url.replace("/guide", "/favourites.zip"), timeout=30) as answer:
        archive = base64.b64encode(answer.read()).decode()
    opened.page.evaluate(
        """(archive) => {
          const dropped = new DataTransfer()
          dropped.items.add(new File([Uint8Array.from(atob(archive), c => c.charCodeAt(0))], 'favourites.zip'))
          document.querySelector('.filedrop').dispatchEvent(new DragEvent('drop', {dataTransfer: dropped, bubbles: true, cancelable: true}))
        }""",
        archive,
    )
    opened.page.get_by_test_id("navigationFavorites").click()
    for family in {t.family for t in queries.templates().values()}:
        opened.page.get_by_text(family, exact=True).wait_for()
    opened.page.get_by_text("motifs", exact=True).click()
    opened.page.get_by_text(queries.template("chain").title, exact=True).wait_for()


def test_the_guide_is_for_this_machine_only(opened: Opened) -> None:
    """The port that the running command serves on is bound to loopback."""
    import psutil

    port = urlsplit(opened.guide_url).port
    listening = [c.laddr for c in psutil.net_connections("tcp") if c.status == psutil.CONN_LISTEN and c.laddr.port == port]
    assert [address.ip for address in listening] == ["127.0.0.1"]
