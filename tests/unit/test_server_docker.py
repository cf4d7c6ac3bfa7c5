"""The compose file is closed in the same way as the embedded server, and runs the same Neo4j."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from feature_graph.database.server.jars import list_text, parse_list
from feature_graph.database.server.settings import Settings, server_conf

COMPOSE = Path(__file__).parents[2] / "docker" / "compose.yaml"
SAME = (
    "dbms.security.allow_csv_import_from_file_urls",
    "internal.dbms.cypher_ip_blocklist",
    "dbms.security.http_access_control_allow_origin",
    "dbms.security.procedures.unrestricted",
    "dbms.security.procedures.allowlist",
    "dbms.usage_report.enabled",
    "client.allow_telemetry",
    "browser.remote_content_hostname_whitelist",
    "server.memory.heap.max_size",
    "server.memory.pagecache.size",
    "db.logs.query.enabled",
    "db.logs.query.obfuscate_literals",
    "db.tx_log.rotation.retention_policy",
)


@pytest.fixture(scope="module")
def service() -> dict:
    return yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]["neo4j"]


def test_same_neo4j(service: dict) -> None:
    version = next(jar.version for jar in parse_list(list_text()) if jar.artifact == "neo4j-server")
    assert service["image"] == f"neo4j:{version}-community"


def test_published_on_loopback_only(service: dict) -> None:
    assert service["ports"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_password_is_a_secret(service: dict) -> None:
    assert "NEO4J_AUTH" not in service["environment"]
    assert service["environment"]["NEO4J_AUTH_FILE"] == "/run/secrets/neo4j_auth"
    assert (COMPOSE.parent / ".gitignore").read_text().split() == ["neo4j_auth.txt"]


@pytest.mark.parametrize("setting", SAME)
def test_same_settings(service: dict, setting: str) -> None:
    variable = "NEO4J_" + setting.replace("_", "__").replace(".", "_")
    assert service["environment"][variable].replace(", ", ",") == server_conf(Settings(), Path("/plugins"))[setting]


def test_gds_is_checked_at_the_start(service: dict) -> None:
    """Healthy, for which `docker compose up --wait` waits, is a container whose Neo4j has answered with the version of GDS."""
    check = service["healthcheck"]["test"][1]
    assert "RETURN gds.version()" in check
    assert "NEO4J_PASSWORD=" in check  # the shell's environment: an argument could be read by every user of the machine
    assert " -p" not in check


def has_compose() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not has_compose(), reason="the Docker client with its compose plugin is not here")
def test_docker_reads_the_file(tmp_path: Path) -> None:
    (tmp_path / "neo4j_auth.txt").write_text("neo4j/unused")
    shutil.copy2(COMPOSE, tmp_path / "compose.yaml")
    command = ["docker", "compose", "--file", str(tmp_path / "compose.yaml"), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
