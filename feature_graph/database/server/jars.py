"""The jars of the embedded server: a pinned list, fetched once into the user's cache, each checked before use.

``jars.txt`` names every jar with its sha256 and size. The jars are fetched one by one with jgo, without transitive resolution, into
``<cache>/neo4j/<hash of the list>``. The folder is filled under another name and renamed, so it is either whole or
absent; a fetch that was cut off is resumed. Neo4j Community is GPLv3: its jars are fetched by the user, never part of this package.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from feature_graph.database.server.errors import JarsUnavailable
from feature_graph.utils import cache_dir, progress_bar, sha256_file

if TYPE_CHECKING:
    from jgo.maven import MavenContext

logger = logging.getLogger(__name__)

THREADS = 8
ATTEMPTS = 3
TIMEOUT_SECONDS = 20


@dataclass(frozen=True)
class Jar:
    """One line of the list."""

    group: str
    artifact: str
    version: str
    classifier: str
    sha256: str
    size: int
    plugin: bool
    """Declares procedures or functions, so it must also lie in the plugin folder."""

    @property
    def name(self) -> str:
        """File name, unique within the list."""
        return "-".join(part for part in (self.artifact, self.version, self.classifier) if part) + ".jar"

    @property
    def coordinate(self) -> str:
        """``group:artifact:version[:classifier]``."""
        return ":".join(part for part in (self.group, self.artifact, self.version, self.classifier) if part)


@dataclass(frozen=True)
class JarFolder:
    """A whole set of jars in the cache."""

    root: Path
    jars: tuple[Jar, ...]

    @property
    def plugins(self) -> Path:
        """The folder Neo4j scans for procedures."""
        return self.root / "plugins"

    @property
    def classpath(self) -> list[Path]:
        """Every jar, in the order of the list."""
        return [self.root / "lib" / jar.name for jar in self.jars]

    def damaged(self) -> list[Jar]:
        """Jars that are missing or have another size than the list says."""
        paths = [(jar, self.root / "lib" / jar.name) for jar in self.jars]
        paths += [(jar, self.plugins / jar.name) for jar in self.jars if jar.plugin]
        return [jar for jar, path in paths if not (path.is_file() and path.stat().st_size == jar.size)]


def list_text() -> str:
    """The list as it lies in the package."""
    return files("feature_graph.database.server").joinpath("jars.txt").read_text(encoding="utf-8")


def parse_list(text: str) -> tuple[Jar, ...]:
    """Read lines ``group:artifact:version[:classifier] sha256 bytes [plugin]``; ``#`` begins a comment line."""
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    jars = []
    for coordinate, sha256, size, *flags in lines:
        group, artifact, version, *classifier = coordinate.split(":")
        jars.append(Jar(group, artifact, version, "".join(classifier), sha256, int(size), "plugin" in flags))
    return tuple(jars)


def jar_folder(cache: Path | None = None, text: str | None = None) -> JarFolder:
    """Where the jars of this list belong, whether or not they are there."""
    text = list_text() if text is None else text
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return JarFolder((cache or cache_dir()) / "neo4j" / digest, parse_list(text))


def ensure_jars(cache: Path | None = None, text: str | None = None) -> JarFolder:
    """The whole set of jars, fetching what the cache lacks (158 MB, once).

    Args:
        cache: Cache directory; the user's by default.
        text: The list; the package's own by default.

    Raises:
        JarsUnavailable: No network, a wrong checksum, or a full disk. What was fetched stays, and the next call goes on from there.
    """
    folder = jar_folder(cache, text)
    if ":" in str(folder.root):  # Java's class path cannot quote it
        raise JarsUnavailable(f"The cache folder {folder.root} has a colon in its name. Set FEATURE_GRAPH_CACHE to another folder.")
    if not folder.damaged():
        return folder
    try:
        folder.root.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder.root}.lock"):
            if folder.damaged():
                _fill(folder)
    except OSError as error:
        raise JarsUnavailable(
            f"The cache {folder.root.parent} cannot be filled: {error}. Set FEATURE_GRAPH_CACHE to another folder."
        ) from error
    return folder


def _fill(folder: JarFolder) -> None:
    """Complete the set under another name and rename it; the caller holds the lock."""
    part = folder.root.with_name(folder.root.name + ".part")
    if folder.root.exists():  # damaged: keep what is good
        shutil.rmtree(part, ignore_errors=True)
        folder.root.rename(part)
    lib = part / "lib"
    lib.mkdir(parents=True, exist_ok=True)
    missing = [jar for jar in folder.jars if not _is_good(lib / jar.name, jar)]
    _check_space(part, sum(jar.size for jar in missing))
    _fetch_all(missing, part / "download", lib, have=len(folder.jars) - len(missing))
    _link_plugins(folder, part)
    shutil.rmtree(part / "download", ignore_errors=True)
    part.rename(folder.root)


def _check_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part).free
    if free < needed + 50 * 2**20:
        raise JarsUnavailable(
            f"Neo4j needs {needed / 2**20:.0f} MB more in {part.parent}, but only {free / 2**20:.0f} MB are free. "
            "Free some space, or set FEATURE_GRAPH_CACHE to a folder on another disk."
        )


def _link_plugins(folder: JarFolder, part: Path) -> None:
    shutil.rmtree(part / "plugins", ignore_errors=True)
    (part / "plugins").mkdir()
    for jar in folder.jars:
        if jar.plugin:
            shutil.copy2(part / "lib" / jar.name, part / "plugins" / jar.name)


def _is_good(path: Path, jar: Jar) -> bool:
    return path.is_file() and path.stat().st_size == jar.size and sha256_file(path) == jar.sha256


def _fetch_all(missing: list[Jar], download: Path, lib: Path, *, have: int) -> None:
    """Fetch and check ``missing`` in threads, with a progress bar; the first failure stops the rest."""
    if not missing:
        return
    from jgo.maven import MavenContext

    context = MavenContext(repo_cache=download, timeout=TIMEOUT_SECONDS)
    total = sum(jar.size for jar in missing)
    logger.info("Fetching Neo4j into %s: %d jars, %.0f MB, once", lib.parent.parent, len(missing), total / 1e6)
    with ThreadPoolExecutor(THREADS, thread_name_prefix="jar") as pool, progress_bar() as bar:
        task = bar.add_task("Fetching Neo4j (kB)", total=total // 1000)
        futures = {pool.submit(_fetch, jar, context, lib): jar for jar in missing}
        try:
            for future in as_completed(futures):
                future.result()
                bar.advance(task, futures[future].size / 1000)
        except JarsUnavailable as error:
            here = have + sum(f.done() and not f.cancelled() and f.exception() is None for f in futures)
            raise JarsUnavailable(f"{error} {here} of {have + len(missing)} jars are here; the next start goes on from there.") from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _fetch(jar: Jar, context: MavenContext, lib: Path) -> None:
    """Fetch one jar, check it, move it to ``lib``."""
    problem = "no attempt was made"
    for wait in _waits():
        time.sleep(wait)
        artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact(jar.classifier)
        try:
            path = artifact.resolve()
        # jgo reports a missing artifact as RuntimeError; requests' errors are OSError.
        except (RuntimeError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None and not isinstance(error, (ConnectionError, TimeoutError)):
                raise
            problem = f"{type(error).__name__}: {error}"
        else:
            if _is_good(path, jar):
                path.replace(lib / jar.name)
                return
            problem = f"its sha256 is {sha256_file(path)}, expected {jar.sha256}"
        if artifact.cached_path is not None:
            artifact.cached_path.unlink(missing_ok=True)
    raise JarsUnavailable(
        f"Neo4j's jar {jar.coordinate} could not be fetched ({problem}). The first start needs the network; "
        "behind a proxy set HTTPS_PROXY, with your own certificate authority REQUESTS_CA_BUNDLE."
    )


def _waits() -> Iterator[float]:
    """Seconds before each attempt."""
    return iter([0.0, 1.0, 3.0][:ATTEMPTS])
