"""Small helpers that every floor may use: logging, seeds, progress with an estimate, files that are whole or absent."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import tempfile
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import pandas as pd
    from rich.progress import Progress

T = TypeVar("T")

CACHE_ENV = "FEATURE_GRAPH_CACHE"

_bars: ContextVar[bool] = ContextVar("bars", default=True)


def setup_logging(level: str | int = "INFO") -> None:
    """Send the log of this library to standard error, readable by people.

    Args:
        level: A name (``"DEBUG"``, ``"INFO"``, …) or number of the logging module.

    Raises:
        ValueError: If the name is not a level.
    """
    from rich.logging import RichHandler

    from feature_graph.terminal import SafeConsole, VisibleHandler

    number = logging.getLevelName(level.upper()) if isinstance(level, str) else level
    if not isinstance(number, int):
        raise ValueError(f"level: got {level!r}; expected DEBUG, INFO, WARNING, ERROR or CRITICAL")
    for name in ("feature_graph", "ingest", "queries"):
        logging.getLogger(name).setLevel(number)
    # On the root: other libraries' warnings look the same, and their calls to logging.warning() do not add a second handler there.
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, RichHandler)]:
        root.removeHandler(old)
    root.addHandler(VisibleHandler(console=SafeConsole(stderr=True), show_path=False, rich_tracebacks=False))


def set_seed(seed: int) -> None:
    """Seed Python, NumPy and torch (CPU and every GPU)."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def derived_seed(seed: int, *names: object) -> int:
    """A seed of 63 bits for one purpose, so that adding a purpose never shifts the draws of another."""
    text = json.dumps([seed, *[str(n) for n in names]])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def progress_bar() -> Progress:
    """The one progress bar of the project: standard error, with share, count, elapsed and remaining time."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

    from feature_graph.terminal import SafeConsole

    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), "elapsed,", TimeRemainingColumn(), "left")
    return Progress(*columns, console=SafeConsole(stderr=True), transient=False)


def progress(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield from ``items`` while a progress bar with an estimate runs on standard error (none inside :func:`without_progress`).

    Args:
        items: What to go through.
        description: What is being done, in three or four words.
        total: How many there are, if ``items`` has no length.
    """
    if not _bars.get():
        yield from items
        return
    count = total if total is not None else (len(items) if isinstance(items, Sized) else None)
    with progress_bar() as bar:
        task = bar.add_task(description, total=count)
        for item in items:
            yield item
            bar.advance(task)


@contextmanager
def without_progress() -> Iterator[None]:
    """No progress bars inside: for many short runs under one bar of their own."""
    token = _bars.set(False)
    try:
        yield
    finally:
        _bars.reset(token)


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path next to ``path``; rename it over ``path`` when the block ends well, remove it otherwise.

    A killed process therefore never leaves a half file that looks whole.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        mask = os.umask(0)
        os.umask(mask)
        part.chmod(0o666 & ~mask)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON; NaN and infinity are refused, since they are not JSON."""
    with whole_file(path) as part:
        part.write_text(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8")


def read_object(path: str | Path, error: type[Exception]) -> dict[str, Any]:
    """A JSON object.

    Args:
        path: File.
        error: What is raised, with the path in its message.

    Raises:
        Exception: ``error``, if the file is not JSON, or something else than an object.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as cause:
        raise error(f"{path}: not JSON: {cause}") from cause
    if not isinstance(values, dict):
        raise error(f"{path}: got {type(values).__name__}; expected a JSON object")
    return values


def missing_as_none(frame: pd.DataFrame) -> pd.DataFrame:
    """A copy of a table in which what is missing is None in every column: an empty cell of a table for people, null in JSON."""
    return frame.astype(object).where(frame.notna(), None)


def sha256_file(path: str | Path) -> str:
    """Hex sha256 of a file's bytes."""
    with Path(path).open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def sha256_json(value: Any) -> str:
    """Hex sha256 of a JSON value, keys sorted."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def cache_dir() -> Path:
    """Where downloaded parts (jars, the bundled model) lie: ``$FEATURE_GRAPH_CACHE``, else the user's cache directory."""
    import platformdirs

    return Path(os.environ.get(CACHE_ENV) or platformdirs.user_cache_dir("feature-graph"))
