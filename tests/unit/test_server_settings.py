"""Ports, memory and the closed settings of neo4j.conf."""

import fnmatch
import socket
from pathlib import Path

import pytest

from feature_graph.database.server.errors import HomeError
from feature_graph.database.server.homes import Home
from feature_graph.database.server.ports import is_free, pick_port
from feature_graph.database.server.procedures import allowed_procedures
from feature_graph.database.server.settings import (
    Settings,
    choose,
    load_settings,
    on_any_ports,
    on_free_ports,
    save_settings,
    server_conf,
    write_conf,
)


@pytest.fixture
def taken() -> int:
    """A port somebody listens on."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_taken_port_gives_way_to_the_next_free_one(taken: int) -> None:
    assert not is_free(taken)
    picked = pick_port(taken)
    assert picked != taken
    assert is_free(picked)


def test_port_taken_on_every_address_is_seen() -> None:
    with socket.socket() as server:
        server.bind(("0.0.0.0", 0))
        server.listen()
        assert not is_free(server.getsockname()[1])


def test_both_ports_differ_even_if_the_same_is_asked_for(taken: int) -> None:
    chosen = on_free_ports(choose(Settings(), None, None, taken, taken))
    assert taken not in (chosen.bolt_port, chosen.http_port)
    assert chosen.bolt_port != chosen.http_port


def test_the_last_try_is_on_ports_that_nobody_asks_for(taken: int) -> None:
    wanted = choose(Settings(), None, None, taken, taken)
    chosen = on_any_ports(wanted)
    assert min(abs(port - taken) for port in (chosen.bolt_port, chosen.http_port)) > 0
    assert is_free(chosen.bolt_port)
    assert is_free(chosen.http_port)
    assert chosen.bolt_port != chosen.http_port
    assert (chosen.heap, chosen.page_cache) == (wanted.heap, wanted.page_cache)


def test_memory_is_remembered_and_checked(tmp_path: Path) -> None:
    home = Home(tmp_path)
    save_settings(home, choose(Settings(), "2g", None, None, None))
    assert load_settings(home).heap == "2g"
    assert load_settings(home).page_cache == "256m"
    with pytest.raises(HomeError, match="'2 GB'; expected a number with m or g"):
        choose(Settings(), "2 GB", None, None, None)


@pytest.mark.parametrize("text", ["{", '{"heap": "lots"}', '{"unknown": 1}', "[1]"])
def test_damaged_settings_say_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(HomeError, match=r"delete it and start again|expected a number"):
        load_settings(Home(tmp_path))


def test_everything_is_closed() -> None:
    conf = server_conf(Settings(bolt_port=1111, http_port=2222), Path("/plugins"))
    assert conf["internal.dbms.cypher_ip_blocklist"] == "0.0.0.0/0,::/0"
    assert conf["dbms.security.allow_csv_import_from_file_urls"] == "false"
    assert conf["dbms.security.http_access_control_allow_origin"] == "http://127.0.0.1:2222"
    assert conf["dbms.security.auth_enabled"] == "true"
    listening = [value for name, value in conf.items() if "listen_address" in name or "advertised_address" in name]
    assert all(value.split(":")[0] == "127.0.0.1" for value in listening)


def test_conf_has_one_line_a_setting(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.conf.mkdir()
    write_conf(home, Settings(), Path("/a path/plugins"))
    lines = (home.conf / "neo4j.conf").read_text().splitlines()
    assert "server.directories.plugins=/a path/plugins" in lines
    assert len(lines) == 1 + len(server_conf(Settings(), Path("/x")))


@pytest.mark.parametrize(
    "name", ["gds.graph.export", "gds.graph.export.csv", "gds.model.store", "gds.model.load", "gds.backup", "gds.restore"]
)
def test_no_procedure_that_writes_files_is_allowed(name: str) -> None:
    assert not any(fnmatch.fnmatchcase(name, pattern) for pattern in allowed_procedures())
