"""Data sets of the hub: prepared or saved by ``datasets``, downloaded by the hub's client, or still there."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from feature_graph.config import Config
from feature_graph.loading import hub
from feature_graph.loading.errors import LoadingError
from feature_graph.loading.text.files import ENDINGS
from feature_graph.loading.text.records import no_column

log = logging.getLogger(__name__)

_SHARD = re.compile(r"-\d{5}-of-\d{5}\.")


def is_saved(folder: Path) -> bool:
    """Whether ``datasets`` has saved a data set here (``save_to_disk``)."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def is_hub_layout(folder: Path) -> bool:
    """Whether a folder is laid out as repositories of the hub are: numbered shards of splits, or configurations in README.md."""
    card = folder / "README.md"
    if card.is_file() and re.match(r"---\n(.*\n)*?configs:\n", card.read_text(encoding="utf-8", errors="replace")):
        return True
    return any(_SHARD.search(p.name) for p in folder.rglob("*"))


def saved_values(folder: Path, cfg: Config) -> Iterator[Any]:
    """The column's values in a folder of ``save_to_disk``; of several splits, ``dataset_split``.

    Raises:
        LoadingError: If files are missing, or there is no such split or column.
    """
    import datasets

    with _plain_errors(str(folder), cfg):
        found = datasets.load_from_disk(str(folder))
        if isinstance(found, datasets.DatasetDict):
            if cfg.dataset_split not in found:
                raise LoadingError(f"dataset: {folder} has no split {cfg.dataset_split!r} (dataset_split); it has {sorted(found)}")
            found = found[cfg.dataset_split]
    yield from _values(found, str(folder), cfg)


def folder_values(folder: Path, cfg: Config, name: str = "") -> Iterator[Any]:
    """The column's values in a folder laid out as repositories of the hub are.

    Raises:
        LoadingError: If it cannot be read, or the configuration must be named.
    """
    import datasets

    name = name or str(folder)
    with _plain_errors(name, cfg), hub.cache_only():
        config = _config(name, [n for n in datasets.get_dataset_config_names(str(folder)) if n], cfg)
        rows = datasets.load_dataset(str(folder), config, split=cfg.dataset_split).shuffle(seed=cfg.seed)
    yield from _values(rows, name, cfg)


def hub_values(cfg: Config) -> Iterator[Any]:
    """The column's values of a data set that is named as on the hub, in random order: from the caches if it is there, else from the hub.

    Raises:
        LoadingError: If there is no such data set, configuration, split or column.
        OfflineError: If it is in neither cache and the hub cannot be reached.
    """
    import datasets

    name = cfg.dataset
    prepared = _prepared_configs(name)
    snapshot = hub.dataset_snapshot(name)
    if prepared and (snapshot is None or cfg.dataset_config in (None, *prepared)):
        folder = prepared[_config(name, list(prepared), cfg)]
        with _plain_errors(name, cfg):
            rows = _prepared_rows(folder, name, cfg.dataset_split).shuffle(seed=cfg.seed)
    elif snapshot is not None:
        yield from folder_values(snapshot, cfg, name)
        return
    else:
        hub.require_hub(hub.Need(f"dataset {name}", name, local_way=f"a file that ends in {ENDINGS}, or builtin:sotu, as dataset"))
        part = "[" in cfg.dataset_split  # which the hub cannot stream
        with _plain_errors(name, cfg):
            rows = datasets.load_dataset(name, cfg.dataset_config, split=cfg.dataset_split, streaming=not part)
            rows = rows.shuffle(seed=cfg.seed) if part else rows.shuffle(seed=cfg.seed, buffer_size=10_000)
    yield from _values(rows, name, cfg)


def _prepared_configs(name: str) -> dict[str, Path]:
    """Configuration → folder of Arrow files, of a data set that ``datasets`` has in its cache; the newest where there are several."""
    import datasets

    *owner, last = name.split("/")
    root = Path(datasets.config.HF_DATASETS_CACHE) / "___".join([*owner, datasets.naming.camelcase_to_snakecase(last)])
    infos = sorted(root.glob("*/*/*/dataset_info.json"), key=lambda p: p.stat().st_mtime)
    found = {info.parts[-4]: info.parent for info in infos if not info.parent.name.endswith(".incomplete")}
    return dict(sorted(found.items()))


def _prepared_rows(folder: Path, name: str, split: str) -> Any:
    """As ``datasets`` reads its own cache, without its search for it, which asks the hub and other folders first."""
    import datasets
    from datasets.arrow_reader import ArrowReader

    info = datasets.DatasetInfo.from_directory(str(folder))
    last = datasets.naming.camelcase_to_snakecase(name.split("/")[-1])
    return datasets.Dataset(**ArrowReader(str(folder), info).read(last, split, list((info.splits or {}).values())))


def _config(name: str, there: list[str], cfg: Config) -> str:
    """The configuration to read: the one named, else the only one, else ``default``."""
    if cfg.dataset_config is not None:
        if cfg.dataset_config in there:
            return cfg.dataset_config
        raise LoadingError(f"dataset: {name} has no configuration {cfg.dataset_config!r} here (dataset_config); there are {there}")
    if len(there) == 1 or "default" in there:
        return there[0] if len(there) == 1 else "default"
    raise LoadingError(f"dataset: {name} has {len(there)} configurations: {', '.join(there)}; name one (dataset_config)")


def _values(rows: Any, name: str, cfg: Config) -> Iterator[Any]:
    column = cfg.dataset_text_field
    names = rows.column_names
    if names is not None and column not in names:
        raise no_column(name, column, names)
    with _plain_errors(name, cfg):
        for row in rows.select_columns([column]) if names is not None else rows:
            if column not in row:
                raise no_column(name, column, row)
            yield row[column]


@contextmanager
def _plain_errors(name: str, cfg: Config) -> Iterator[None]:
    """What the libraries raise, as one sentence."""
    import datasets
    import pyarrow as pa

    try:
        yield
    except LoadingError:
        raise
    except (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError, KeyError, pa.ArrowException) as error:
        config = f", configuration {cfg.dataset_config}" if cfg.dataset_config else ""
        said = " ".join(str(error).split()) or type(error).__name__
        raise LoadingError(f"dataset: {name} (split {cfg.dataset_split}{config}) cannot be read: {said}") from error
