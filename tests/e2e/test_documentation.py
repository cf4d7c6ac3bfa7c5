"""The documentation, built strict and opened from disk as a reader does: its pages, and its search."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.web_browser import chromium

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages as `make docs` builds them."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"})
    return folder


def test_the_log_is_built_and_not_in_the_navigation(site: Path) -> None:
    assert (site / "log.html").is_file()
    start = (site / "index.html").read_text(encoding="utf-8")
    navigation = start[start.index('class="md-nav md-nav--primary') :].split("</nav>\n  </div>")[0]
    assert 'href="glossary.html"' in navigation
    assert 'href="log.html" class="md-nav__link"' not in start


def test_no_page_asks_another_host_for_a_script_or_a_style(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert 'src="http' not in text, page.name
        assert 'rel="stylesheet" href="http' not in text, page.name


@pytest.mark.slow
def test_search_works_in_pages_opened_from_disk(site: Path) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        window = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = window.new_page()
        page.set_default_timeout(60_000)
        page.goto((site / "index.html").as_uri() + "?q=placebo")
        page.locator(".md-search-result__link").first.wait_for(state="attached")
        found = [link.get_attribute("href") or "" for link in page.locator(".md-search-result__link").all()]
        window.close()
    assert any("method.html" in link or "glossary.html" in link for link in found), found
