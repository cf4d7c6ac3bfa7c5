"""Which servers are let in, by the texts with which real ones describe themselves."""

from __future__ import annotations

import logging

import pytest

from ingest import UnsupportedServer
from ingest.versions import check_version


@pytest.mark.parametrize("version", ["5.26.0", "5.26.30", "Neo4j/5.26.30", "5.26-aura", "5.26.1+5"])
def test_the_tested_series_is_let_in_silently(version: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    check_version(version)
    assert not caplog.records


@pytest.mark.parametrize("version", ["5.27-aura", "2025.01.0", "Neo4j/2025.10.1", "2026.02.0"])
def test_newer_ones_are_let_in_and_noted(version: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    check_version(version)
    assert "tested is Neo4j 5.26" in caplog.text


@pytest.mark.parametrize("version", ["5.25.1", "5.9.0", "5.3.0", "4.4.44", "Neo4j/4.4.44", "3.5.35", "Neo4j/5.20.0"])
def test_older_ones_are_refused(version: str) -> None:
    shown = version.removeprefix("Neo4j/")
    with pytest.raises(UnsupportedServer, match=rf"the server is Neo4j {shown}; supported is 5\.26 \(LTS\) and newer.*db start"):
        check_version(version)


@pytest.mark.parametrize("version", ["", "nothing", "Neo4j/v5.11.0 compatible graph database server - Memgraph", "Neptune/1.3"])
def test_what_is_no_neo4j_is_refused(version: str) -> None:
    with pytest.raises(UnsupportedServer, match=r"expected Neo4j 5\.26 or newer"):
        check_version(version)
