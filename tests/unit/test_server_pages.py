"""The pages for Neo4j Browser: the given ones, to this machine, to one origin, and nothing else."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator

import pytest

from feature_graph.database.server import Page, Served, serve_pages

ORIGIN = "http://127.0.0.1:7474"


@pytest.fixture
def served() -> Iterator[Served]:
    made = {"guide": Page("text/html", b"<slide></slide>".strip), "style.grass": Page("text/plain", b"node {}".strip)}
    with serve_pages(lambda _: made, frozenset({ORIGIN})) as where:
        yield where


def ask(served: Served, path: str | None = None, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    given = {"Host": f"localhost:{served.port}"} | headers
    connection.request(method, f"/{served.secret}/guide" if path is None else path, headers=given)
    return connection.getresponse()


def test_a_page_is_given_to_browser_s_origin(served: Served) -> None:
    answer = ask(served, Origin=ORIGIN)
    assert (answer.status, answer.read()) == (200, b"<slide></slide>")
    assert answer.getheader("Access-Control-Allow-Origin") == ORIGIN
    assert answer.getheader("Content-Type") == "text/html"
    assert answer.getheader("Cache-Control") == "no-store"
    assert served.url("style.grass").endswith("/style.grass")
    assert ask(served, Host=f"127.0.0.1:{served.port}").status == 200


def test_browser_may_ask_with_headers_of_its_own(served: Served) -> None:
    answer = ask(served, method="OPTIONS", Origin=ORIGIN)
    assert answer.status == 204
    assert answer.getheader("Access-Control-Allow-Headers") == "*"
    assert answer.getheader("Access-Control-Allow-Methods") == "GET"


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "evil.example:80"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:7475"}, 403),
    ],
)
def test_others_are_refused(served: Served, method: str, headers: dict[str, str], status: int) -> None:
    answer = ask(served, method=method, **headers)
    assert (answer.status, answer.read()) == (status, b"")
    assert answer.getheader("Access-Control-Allow-Origin") is None


@pytest.mark.parametrize(
    "path", ["/", "/guide", "/{secret}/", "/{secret}/other", "/{secret}/../guide", "/{secret}x/guide", "/{secret}/guide?x"]
)
def test_other_paths_are_not_there(served: Served, path: str) -> None:
    assert ask(served, path.format(secret=served.secret)).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD"])
def test_only_get(served: Served, method: str) -> None:
    assert ask(served, method=method).status == 501


def test_it_listens_on_loopback_and_ends_with_the_block() -> None:
    with serve_pages(lambda _: {}, frozenset()) as where:
        assert socket.create_connection(("127.0.0.1", where.port), timeout=5).close() is None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", where.port), timeout=5)


def test_two_have_different_secrets(served: Served) -> None:
    with serve_pages(lambda _: {}, frozenset()) as other:
        assert other.secret != served.secret


def test_a_database_that_is_gone_is_told(caplog: pytest.LogCaptureFixture) -> None:
    from neo4j.exceptions import ServiceUnavailable

    def gone() -> bytes:
        raise ServiceUnavailable("nobody there")

    with serve_pages(lambda _: {"guide": Page("text/html", gone)}, frozenset({ORIGIN})) as where:
        assert ask(where).status == 503
    assert "nobody there" in caplog.text
