"""Text and the contexts drawn from it.

1. Texts come from ``builtin:sotu``, a .txt / .jsonl / .parquet file (or a folder of them), or a dataset of the hub.
2. Each text is cut into stretches of characters long enough for one context; stretches are drawn at random, without
   replacement, over all texts, so that no two contexts overlap and none crosses two texts.
3. A context is the first ``context_length`` tokens of a stretch, from its first whole word on; BOS is put before it if
   the dictionaries were trained so. Only texts that are shorter than a context are padded.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_graph.config import Config
from feature_graph.loading import hub
from feature_graph.loading.builtin_text import sotu_speeches
from feature_graph.loading.errors import LoadingError
from feature_graph.loading.saes import trained_with_bos
from feature_graph.utils import derived_seed

log = logging.getLogger(__name__)

BUILTIN: dict[str, Callable[[], list[tuple[str, str]]]] = {"builtin:sotu": sotu_speeches}
SUFFIXES = (".txt", ".jsonl", ".parquet")
#: A stretch provides for this many times the usual characters a token.
_SPARE = 1.25
_BROKEN_WORD = re.compile(r"^\S+\s*")
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


def resolve_prepend_bos(saes: Mapping[int, Any], cfg: Config) -> bool:
    """Whether contexts begin with BOS: the configuration's word, else as the dictionaries were trained, else not."""
    if cfg.prepend_bos is not None:
        return cfg.prepend_bos
    said = trained_with_bos(saes)
    if said is None:
        log.warning("the SAEs do not say whether they were trained with BOS; contexts begin without it (set prepend_bos)")
    return bool(said)


def draw_contexts(model: Any, saes: Mapping[int, Any], cfg: Config) -> NDArray[np.int64]:
    """The contexts of a run: enough for ``cfg.n_tokens``, drawn at random over the texts, the same for the same seed.

    Returns:
        int64 [n_docs, context_length].

    Raises:
        LoadingError: If the model has no tokenizer, or there is too little text.
    """
    if getattr(model, "tokenizer", None) is None:
        raise LoadingError("the model has no tokenizer, so no text can be read; give tokens= (int64 [n_docs, context]) instead")
    if cfg.context_length > model.cfg.n_ctx:
        raise LoadingError(f"context_length: got {cfg.context_length}; the model reads at most {model.cfg.n_ctx} tokens")
    n_docs = -(-cfg.n_tokens // cfg.context_length)
    seed = derived_seed(cfg.seed, "contexts")
    return cut_contexts(load_texts(cfg), model.tokenizer, n_docs, cfg.context_length, resolve_prepend_bos(saes, cfg), seed)


def cut_contexts(
    texts: Sequence[Text], tokenizer: Any, n_docs: int, context_length: int, prepend_bos: bool, seed: int
) -> NDArray[np.int64]:
    """Draw ``n_docs`` contexts that do not overlap and do not cross two texts.

    Args:
        texts: Where from.
        tokenizer: A transformers tokenizer.
        n_docs: How many.
        context_length: Tokens each, BOS included.
        prepend_bos: Begin each with BOS.
        seed: Of the draw.

    Returns:
        int64 [n_docs, context_length]; a text shorter than a context is padded on the right.

    Raises:
        LoadingError: If the texts do not hold as many contexts, saying how many they hold.
    """
    start = [tokenizer.bos_token_id] if prepend_bos else []
    if start == [None]:
        raise LoadingError("prepend_bos is true, but the model's tokenizer has no BOS token; set prepend_bos: false")
    stretches = _stretches(texts, ceil(context_length * _SPARE * _characters_a_token(texts, tokenizer)))
    order = np.random.default_rng(seed).permutation(len(stretches))
    rows: list[list[int]] = []
    for batch in range(0, len(order), 256):
        if len(rows) >= n_docs:
            break
        picked = [stretches[i] for i in order[batch : batch + 256]]
        bodies = [_whole_words(texts[s.text].body, s) for s in picked]
        for ids, stretch in zip(tokenizer(bodies, add_special_tokens=False)["input_ids"], picked, strict=True):
            row = start + ids[: context_length - len(start)]
            if len(row) == context_length or (stretch.whole and len(ids) > 1):
                rows.append(row)
    if len(rows) < n_docs:
        raise LoadingError(
            f"the text holds {len(rows)} contexts of {context_length} tokens, but {n_docs} are asked for (n_tokens / context_length): "
            f"lower n_tokens to {len(rows) * context_length} or give more text"
        )
    return _padded(rows[:n_docs], context_length, tokenizer)


@dataclass(frozen=True)
class _Stretch:
    text: int
    start: int
    stop: int
    whole: bool


def _stretches(texts: Sequence[Text], length: int) -> list[_Stretch]:
    """Stretches of ``length`` characters; a text that is shorter is one stretch of its own."""
    found = []
    for number, text in enumerate(texts):
        size = len(text.body)
        if size < length:
            found.append(_Stretch(number, 0, size, whole=True))
        found += [_Stretch(number, i, i + length, whole=False) for i in range(0, size - length + 1, length)]
    return found


def _characters_a_token(texts: Sequence[Text], tokenizer: Any) -> float:
    """Mean over the beginnings of up to 32 texts, evenly spaced."""
    some = [text.body[:2_000] for text in texts[:: max(1, len(texts) // 32)]]
    n_tokens = sum(len(ids) for ids in tokenizer(some, add_special_tokens=False)["input_ids"])
    return sum(map(len, some)) / max(n_tokens, 1)


def _whole_words(body: str, stretch: _Stretch) -> str:
    """The stretch without the halves of words at its ends."""
    text = body[stretch.start : stretch.stop]
    if stretch.start and not body[stretch.start - 1].isspace():
        text = _BROKEN_WORD.sub("", text)
    if stretch.stop < len(body) and not body[stretch.stop].isspace() and any(map(str.isspace, text)):
        text = text.rsplit(maxsplit=1)[0]
    return text.lstrip() if stretch.start else text


def _padded(rows: list[list[int]], width: int, tokenizer: Any) -> NDArray[np.int64]:
    if all(len(row) == width for row in rows):
        return np.asarray(rows, dtype=np.int64)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    if pad is None:
        raise LoadingError("some texts are shorter than context_length and the tokenizer has no padding token; lower context_length")
    return np.asarray([row + [pad] * (width - len(row)) for row in rows], dtype=np.int64)
