"""Which addresses a password may be sent to."""

from __future__ import annotations

import pytest

from feature_graph.database.store import AddressError, LoginRefused, NotEncrypted, check_address, connect

HERE = ["bolt://127.0.0.1:7687", "neo4j://localhost", "bolt://[::1]:7687", "bolt://127.8.0.1"]
ENCRYPTED = [f"{scheme}://db.example.org:7687" for scheme in ("bolt+s", "bolt+ssc", "neo4j+s", "neo4j+ssc")]
PLAIN = ["bolt://db.example.org", "neo4j://10.0.0.7:7687", "bolt://localhost.example.org"]


@pytest.mark.parametrize("uri", HERE + ENCRYPTED)
def test_this_machine_or_encrypted(uri: str) -> None:
    check_address(uri)


@pytest.mark.parametrize("uri", PLAIN)
def test_another_machine_in_the_clear_only_if_one_insists(uri: str) -> None:
    with pytest.raises(NotEncrypted, match=r"is not encrypted.*use (bolt|neo4j)\+s://.*--insecure"):
        check_address(uri)
    check_address(uri, insecure=True)


@pytest.mark.parametrize("uri", ["http://localhost:7474", "localhost:7687", "bolt://", ""])
def test_what_is_no_address(uri: str) -> None:
    with pytest.raises(AddressError, match=r"expected one of .*bolt://127\.0\.0\.1:7687"):
        check_address(uri)


def test_a_password_is_asked_for_before_connecting() -> None:
    with pytest.raises(LoginRefused, match="set NEO4J_PASSWORD"):
        connect("bolt://127.0.0.1:1", "neo4j")
