"""The settings of the embedded server: few that a user may choose, the rest closed.

Closed by default means: loopback only, a password, no file and no network access from Cypher, no procedure that writes files, nothing sent
home. Every line of ``neo4j.conf`` is here; the file in the home is written anew at each start.
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from feature_graph.database.server.errors import HomeError
from feature_graph.database.server.homes import Home
from feature_graph.database.server.ports import BOLT_PORT, HTTP_PORT, LOOPBACK, any_port, pick_port
from feature_graph.database.server.procedures import allowed_procedures
from feature_graph.utils import whole_file, write_json

logger = logging.getLogger(__name__)

MEMORY = re.compile(r"[1-9][0-9]*[mg]")

# Neo4j Browser without its four addresses in the world: it may talk to this machine only.
CONTENT_POLICY = (
    "default-src 'self'; script-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; font-src 'self' data:; "
    "base-uri 'none'; object-src 'none'; frame-ancestors 'none'; "
    "connect-src 'self' ws://127.0.0.1:* ws://localhost:* http://127.0.0.1:* http://localhost:*"
)


@dataclass(frozen=True)
class Settings:
    """What is remembered of one home between starts."""

    bolt_port: int = BOLT_PORT
    http_port: int = HTTP_PORT
    heap: str = "1g"
    """Java heap: transactions, query results and GDS projections live in it."""
    page_cache: str = "256m"
    """Memory for pages of the store; as large as the store is best."""
    start_seconds: float = 20.0
    """How long the last start took: the estimate of the next."""
    repair_log: bool = False
    """For one start, never remembered: cut off the unreadable end of the transaction log, as a full disk leaves it."""

    @property
    def bolt_uri(self) -> str:
        """Address for drivers."""
        return f"bolt://{LOOPBACK}:{self.bolt_port}"

    @property
    def http_url(self) -> str:
        """Origin of Neo4j Browser."""
        return f"http://{LOOPBACK}:{self.http_port}"


def load_settings(home: Home) -> Settings:
    """The home's settings, or the defaults of a new one.

    Raises:
        HomeError: The file is damaged.
    """
    if not home.settings_file.exists():
        return Settings()
    try:
        settings = Settings(**json.loads(home.settings_file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise HomeError(
            f"{home.settings_file} cannot be read ({error}). It only holds ports and memory sizes: delete it and start again."
        ) from error
    _check_memory(settings)
    return settings


def save_settings(home: Home, settings: Settings) -> None:
    """Remember the settings in the home."""
    write_json(home.settings_file, {name: value for name, value in asdict(settings).items() if name != "repair_log"})


def choose(settings: Settings, heap: str | None, page_cache: str | None, bolt_port: int | None, http_port: int | None) -> Settings:
    """The settings of the next start: what was asked for, else what is remembered.

    Raises:
        HomeError: A memory size is not like ``512m`` or ``2g``.
    """
    chosen = replace(settings, heap=heap or settings.heap, page_cache=page_cache or settings.page_cache)
    _check_memory(chosen)
    return replace(chosen, bolt_port=bolt_port or settings.bolt_port, http_port=http_port or settings.http_port)


def on_free_ports(wanted: Settings) -> Settings:
    """The same with ports that are free now: a port that is taken gives way to the next free one."""
    bolt = pick_port(wanted.bolt_port)
    http = pick_port(wanted.http_port, taken=frozenset({bolt}))
    for name, port, got in (("Bolt", wanted.bolt_port, bolt), ("HTTP", wanted.http_port, http)):
        if got != port:
            logger.info("%s port %d is taken; using %d", name, port, got)
    return replace(wanted, bolt_port=bolt, http_port=http)


def on_any_ports(wanted: Settings) -> Settings:
    """The same with ports that nobody asked for, which hardly anybody takes meanwhile."""
    return on_free_ports(replace(wanted, bolt_port=any_port(), http_port=any_port()))


def _check_memory(settings: Settings) -> None:
    for name in ("heap", "page_cache"):
        value = getattr(settings, name)
        if not (isinstance(value, str) and MEMORY.fullmatch(value)):
            raise HomeError(f"Memory size {name} is {value!r}; expected a number with m or g, such as 512m or 2g.")


def server_conf(settings: Settings, plugins: Path) -> dict[str, str]:
    """Every setting of ``neo4j.conf``."""
    return {
        # Loopback only.
        "server.default_listen_address": LOOPBACK,
        "server.default_advertised_address": LOOPBACK,
        "server.bolt.enabled": "true",
        "server.bolt.listen_address": f"{LOOPBACK}:{settings.bolt_port}",
        "server.bolt.advertised_address": f"{LOOPBACK}:{settings.bolt_port}",
        "server.bolt.tls_level": "DISABLED",
        "server.http.enabled": "true",
        "server.http.listen_address": f"{LOOPBACK}:{settings.http_port}",
        "server.http.advertised_address": f"{LOOPBACK}:{settings.http_port}",
        "server.https.enabled": "false",
        "dbms.security.http_access_control_allow_origin": settings.http_url,
        # A password; no files and no network from Cypher.
        "dbms.security.auth_enabled": "true",
        "dbms.security.allow_csv_import_from_file_urls": "false",
        "internal.dbms.cypher_ip_blocklist": "0.0.0.0/0,::/0",
        "dbms.security.http_static_content_security_policy_header": CONTENT_POLICY,
        "dbms.security.procedures.unrestricted": "gds.*",
        "dbms.security.procedures.allowlist": ",".join(allowed_procedures()),
        # Nothing sent home; Browser stays offline but for guides from this machine.
        "dbms.usage_report.enabled": "false",
        "client.allow_telemetry": "false",
        "browser.remote_content_hostname_whitelist": "127.0.0.1,localhost",
        # A stop waits this long for work that is under way, and as long again for the network; 5 s otherwise.
        "internal.server.bolt.thread_pool_shutdown_wait_time": "1s",
        # Memory and disk.
        "server.memory.heap.max_size": settings.heap,
        "server.memory.pagecache.size": settings.page_cache,
        "server.directories.plugins": str(plugins),
        "server.directories.import": "import",
        "server.directories.run": "run",
        "db.tx_log.preallocate": "false",  # else 512 MB of empty logs in a new home
        "db.tx_log.rotation.retention_policy": "1 days 100M",
        "db.logs.query.enabled": "OFF",  # a batch of an ingest is megabytes of parameters
        # A projection of GDS plans the statement around it again, without its parameters and so anew each time, to guess how many rows it
        # gets. From a text whose literals are hidden it makes no plan, and a question asked again takes 0.03 s instead of 1.2 s.
        "db.logs.query.obfuscate_literals": "true",
        **({"internal.dbms.tx_log.fail_on_corrupted_log_files": "false"} if settings.repair_log else {}),
    }


def write_conf(home: Home, settings: Settings, plugins: Path) -> None:
    """Write ``neo4j.conf`` of a home."""
    lines = [f"{name}={value}" for name, value in server_conf(settings, plugins).items()]
    with whole_file(home.conf / "neo4j.conf") as part:
        part.write_text("# Written by feature-graph at every start; changes here are lost.\n" + "\n".join(lines) + "\n", encoding="utf-8")
