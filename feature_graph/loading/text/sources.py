"""Texts: built in, from files, or from a dataset of the hub."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from feature_graph.config import Config
from feature_graph.loading import hub
from feature_graph.loading.builtin_text import sotu_speeches
from feature_graph.loading.errors import LoadingError

BUILTIN: dict[str, Callable[[], list[tuple[str, str]]]] = {"builtin:sotu": sotu_speeches}
SUFFIXES = (".txt", ".jsonl", ".parquet")
_MOST_HUB_TEXTS = 50_000
_SEPARATOR = "<|endoftext|>"


@dataclass(frozen=True)
class Text:
    """One text.

    Attributes:
        title: Where it is from, for people.
        body: The text.
    """

    title: str
    body: str


def load_texts(cfg: Config) -> list[Text]:
    """Read the texts that ``cfg.dataset`` names.

    Raises:
        LoadingError: If there is no such dataset, file or column, or nothing in it.
        OfflineError: If it is on the hub, not cached, and the hub cannot be reached.
    """
    if cfg.dataset in BUILTIN:
        return [Text(title, body) for title, body in BUILTIN[cfg.dataset]()]
    if cfg.dataset.startswith("builtin:"):
        raise LoadingError(f"dataset: got {cfg.dataset!r}; built in: {', '.join(BUILTIN)}")
    path = Path(cfg.dataset).expanduser()
    texts = _files(path, cfg.dataset_text_field) if path.exists() else _hub(cfg)
    texts = [text for text in texts if text.body.strip()]
    if not texts:
        raise LoadingError(f"dataset: {cfg.dataset} holds no text")
    return texts


def _files(path: Path, column: str) -> list[Text]:
    files = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES) if path.is_dir() else [path]
    if not files:
        raise LoadingError(f"dataset: {path} holds no {', '.join(SUFFIXES)} file")
    return [text for file in files for text in _file(file, column)]


def _file(path: Path, column: str) -> Iterator[Text]:
    if path.suffix == ".txt":
        bodies: Iterator[Any] = iter(_read(path).split(_SEPARATOR))
    elif path.suffix == ".jsonl":
        bodies = _jsonl(path, column)
    elif path.suffix == ".parquet":
        bodies = _parquet(path, column)
    else:
        raise LoadingError(f"dataset: got {path.name}; expected a file that ends in {', '.join(SUFFIXES)}")
    for number, body in enumerate(bodies):
        if not isinstance(body, str):
            raise LoadingError(f"dataset: {path}, row {number}: column {column!r} holds {type(body).__name__}, expected text")
        yield Text(f"{path.name}:{number}", body)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise LoadingError(f"dataset: {path} is not UTF-8 text ({error})") from error


def _jsonl(path: Path, column: str) -> Iterator[Any]:
    for number, line in enumerate(_read(path).splitlines()):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise LoadingError(f"dataset: {path}, line {number + 1} is not JSON: {error}") from error
        if not isinstance(row, dict) or column not in row:
            got = sorted(row) if isinstance(row, dict) else type(row).__name__
            raise LoadingError(f"dataset: {path}, line {number + 1} has no field {column!r} (dataset_text_field); it has {got}")
        yield row[column]


def _parquet(path: Path, column: str) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = pq.read_schema(path).names
    except pa.ArrowInvalid as error:
        raise LoadingError(f"dataset: {path} is not a Parquet file: {error}") from error
    if column not in names:
        raise LoadingError(f"dataset: {path} has no column {column!r} (dataset_text_field); it has {names}")
    yield from pq.read_table(path, columns=[column])[column].to_pylist()


def _hub(cfg: Config) -> list[Text]:
    name = cfg.dataset
    if name.endswith(SUFFIXES) or name.startswith((".", "/", "~")):
        raise LoadingError(f"dataset: there is no file {name}")
    import datasets

    need = hub.Need(f"dataset {name}", name, local_way="a .txt, .jsonl or .parquet file, or builtin:sotu, as dataset")
    prepared = (Path(datasets.config.HF_DATASETS_CACHE) / name.replace("/", "___")).is_dir()
    try:
        if prepared:
            with hub.cache_only():
                rows = datasets.load_dataset(name, split=cfg.dataset_split).shuffle(seed=cfg.seed)
        else:
            hub.require_hub(need)
            rows = datasets.load_dataset(name, split=cfg.dataset_split, streaming=True).shuffle(seed=cfg.seed, buffer_size=10_000)
    except (datasets.exceptions.DatasetsError, FileNotFoundError, ValueError) as error:
        raise LoadingError(f"dataset: {name} (split {cfg.dataset_split}) cannot be read: {error}") from error
    texts = []
    for number, row in enumerate(islice(rows, _MOST_HUB_TEXTS)):
        if cfg.dataset_text_field not in row:
            raise LoadingError(f"dataset: {name} has no column {cfg.dataset_text_field!r} (dataset_text_field); it has {sorted(row)}")
        texts.append(Text(f"{name}:{number}", row[cfg.dataset_text_field]))
    return texts
