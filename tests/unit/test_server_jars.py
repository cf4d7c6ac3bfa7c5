"""The pinned list of jars and the folder they are fetched into; nothing here reaches the network."""

import hashlib
import re
import socket
from pathlib import Path

import pytest

from feature_graph.database.server.errors import JarsUnavailable
from feature_graph.database.server.jars import Jar, ensure_jars, jar_folder, list_text, parse_list

SHA = hashlib.sha256(b"content").hexdigest()
LIST = f"# comment\norg.one:first:1.0 {SHA} 7 plugin\n\norg.two:second:2.0:linux-x86_64 {SHA} 7\n"


def whole(root: Path) -> None:
    """Fill the folder as a finished fetch leaves it."""
    for folder, names in (("lib", ("first-1.0.jar", "second-2.0-linux-x86_64.jar")), ("plugins", ("first-1.0.jar",))):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            (root / folder / name).write_bytes(b"content")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests go to a proxy that nobody runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{probe.getsockname()[1]}"
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, dead)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)


def test_parse() -> None:
    first, second = parse_list(LIST)
    assert first == Jar("org.one", "first", "1.0", "", SHA, 7, plugin=True)
    assert second.name == "second-2.0-linux-x86_64.jar"
    assert second.coordinate == "org.two:second:2.0:linux-x86_64"


def test_shipped_list_is_complete_and_names_no_host() -> None:
    jars = parse_list(list_text())
    assert len(jars) == len({jar.name for jar in jars}) == 344
    assert all(re.fullmatch("[0-9a-f]{64}", jar.sha256) and jar.size > 0 for jar in jars)
    by_name = {f"{jar.group}:{jar.artifact}": jar.version for jar in jars}
    assert by_name["org.neo4j.app:neo4j-server"].startswith("5.26.")
    assert by_name["org.neo4j.gds:proc"].startswith("2.13.")
    assert by_name["org.neo4j.client:neo4j-browser"] == "5.24.0"
    assert sum(jar.plugin for jar in jars) == 12
    assert "://" not in list_text()


def test_whole_folder_is_used_without_network(tmp_path: Path, offline: None) -> None:
    folder = jar_folder(tmp_path, LIST)
    whole(folder.root)
    assert ensure_jars(tmp_path, LIST) == folder
    assert [path.name for path in folder.classpath] == ["first-1.0.jar", "second-2.0-linux-x86_64.jar"]


def test_folder_is_named_by_its_content(tmp_path: Path) -> None:
    assert jar_folder(tmp_path, LIST).root != jar_folder(tmp_path, LIST + "# more\n").root


def test_fetch_cut_off_before_the_rename_goes_on(tmp_path: Path, offline: None) -> None:
    folder = jar_folder(tmp_path, LIST)
    whole(folder.root.with_name(folder.root.name + ".part"))
    assert ensure_jars(tmp_path, LIST).damaged() == []


def test_offline_is_said_and_nothing_good_is_lost(tmp_path: Path, offline: None) -> None:
    folder = jar_folder(tmp_path, LIST)
    whole(folder.root)
    (folder.root / "lib" / "first-1.0.jar").write_bytes(b"conTent")
    (folder.plugins / "first-1.0.jar").unlink()
    with pytest.raises(JarsUnavailable, match=r"org.one:first:1.0 could not be fetched") as caught:
        ensure_jars(tmp_path, LIST)
    assert "HTTPS_PROXY" in str(caught.value)
    assert "1 of 2 jars are here" in str(caught.value)
    assert not folder.root.exists()
    part = folder.root.with_name(folder.root.name + ".part")
    assert (part / "lib" / "second-2.0-linux-x86_64.jar").read_bytes() == b"content"


def test_cache_with_a_colon_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JarsUnavailable, match="colon"):
        ensure_jars(tmp_path / "a:b", LIST)


def test_cache_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JarsUnavailable, match="FEATURE_GRAPH_CACHE"):
        ensure_jars(tmp_path / "file", LIST)
