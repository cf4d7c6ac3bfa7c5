"""A few pages for Neo4j Browser, served on this machine for as long as a command runs.

Loopback only, a free port, a path that cannot be guessed; GET of the pages given and nothing else; only requests addressed to this
machine by name (against a foreign name that is made to point here), and no other origin than Browser's.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from feature_graph.database.server.ports import LOOPBACK

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Page:
    """One page: its type, and what makes it anew for each request."""

    content_type: str
    make: Callable[[], bytes]


@dataclass(frozen=True)
class Served:
    """Where the pages are."""

    port: int
    secret: str

    def url(self, name: str) -> str:
        """Address of one page. By the name ``localhost``: Browser allows no other host before one has logged in."""
        return f"http://localhost:{self.port}/{self.secret}/{name}"


@contextmanager
def serve_pages(pages: Callable[[Served], Mapping[str, Page]], origins: frozenset[str]) -> Iterator[Served]:
    """Serve pages for the length of the block.

    Args:
        pages: Given where they will be, the pages by name.
        origins: Origins that may read them, such as ``http://127.0.0.1:7474``.
    """
    server = _Server((LOOPBACK, 0), _Handler)
    served = Served(server.server_port, secrets.token_urlsafe(12))
    server.site = _PageServer(served, dict(pages(served)), origins)
    thread = threading.Thread(target=server.serve_forever, name="pages", daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass(frozen=True)
class _PageServer:
    served: Served
    pages: dict[str, Page]
    origins: frozenset[str]

    @property
    def hosts(self) -> frozenset[str]:
        return frozenset(f"{name}:{self.served.port}" for name in (LOOPBACK, "localhost"))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    site: _PageServer


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "feature-graph", ""

    def do_GET(self) -> None:
        """A page."""
        from neo4j.exceptions import DriverError, Neo4jError

        page = self._page()
        if page is None:
            return
        try:
            body = page.make()
        except (DriverError, Neo4jError) as error:
            logger.error("the page could not be made: %s", error)
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        self._begin(HTTPStatus.OK)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_OPTIONS(self) -> None:
        """May Browser ask? It adds headers (against caching, for tracing), so it asks first."""
        if self._page() is None:
            return
        self._begin(HTTPStatus.NO_CONTENT)
        self.send_header("Access-Control-Allow-Methods", "GET")
        self.send_header("Access-Control-Allow-Headers", "*")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Into the log, not onto the screen."""
        logger.debug(format, *args)

    def _page(self) -> Page | None:
        """The page asked for, or None after having refused."""
        site = self.server.site
        secret, _, name = self.path.removeprefix("/").partition("/")
        if self.headers.get("Host") not in site.hosts:
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST)
        elif self.headers.get("Origin") not in site.origins | {None}:
            self._refuse(HTTPStatus.FORBIDDEN)
        elif not secrets.compare_digest(secret.encode(), site.served.secret.encode()) or name not in site.pages:
            self._refuse(HTTPStatus.NOT_FOUND)
        else:
            return site.pages[name]
        return None

    def _begin(self, status: HTTPStatus) -> None:
        self.send_response(status)
        origin = self.headers.get("Origin")
        if origin is not None:
            self.send_header("Access-Control-Allow-Origin", origin)
        self.send_header("Vary", "Origin")
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")

    def _refuse(self, status: HTTPStatus) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
