"""Rows of text files: .txt, .jsonl / .ndjson, .json, .csv / .tsv, .parquet, .arrow, also compressed, and folders of them."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import logging
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from feature_graph.loading.errors import LoadingError
from feature_graph.loading.text.records import no_column

log = logging.getLogger(__name__)

_DOCUMENT_END = "<|endoftext|>"
_OPENERS: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_MARKS = {b"\xff\xfe\x00\x00": "utf-32", b"\x00\x00\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_LFS = b"version https://git-lfs.github.com/spec"
#: Files about a data set, which are no data.
_ABOUT = re.compile(
    r"(readme|licen[cs]e|copying|notice|citation|changelog|authors|requirements)(\.[a-z]+)+"
    r"|(dataset_infos?|dataset_dict|state|config|generation_config|tokenizer|tokenizer_config|special_tokens_map|vocab)\.json",
    re.IGNORECASE,
)


def values_of(path: Path, column: str) -> Iterator[Any]:
    """The column's values in one file; each document of a .txt file is one.

    Raises:
        LoadingError: If the file is of another kind, cannot be read, or has no such column.
    """
    reader = _READERS.get(_ending(path))
    if reader is None:
        raise LoadingError(f"dataset: got {path.name}; expected a file that ends in {ENDINGS}")
    try:
        _refuse_pointer(path)
        yield from reader(path, column)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise LoadingError(f"dataset: {path} cannot be read: {error}") from error


def files_in(folder: Path) -> list[Path]:
    """Every file of a known kind in a folder and below, by name; those about the data, hidden ones and backups are left out, aloud.

    Raises:
        LoadingError: If there is none.
    """
    known = [p for p in folder.rglob("*") if _ending(p) in _READERS and p.is_file()]
    hidden = {p for p in known if any(part.startswith(".") for part in p.relative_to(folder).parts)}
    about = {p for p in known if _ABOUT.fullmatch(p.name)} - hidden
    files = sorted(set(known) - hidden - about, key=lambda p: p.relative_to(folder).as_posix())
    if not files:
        raise LoadingError(f"dataset: {folder} holds no {ENDINGS} file" + (f" but {_named(about)}" if about else ""))
    if about:
        log.warning("dataset: %s: left out, by their names: %s", folder, _named(about))
    log.info("dataset: %s: %d files, the first of them %s", folder, len(files), files[0].relative_to(folder))
    return files


def is_known(name: str) -> bool:
    """Whether the name is that of a file of a known kind."""
    return _ending(Path(name)) in _READERS


def _named(files: set[Path]) -> str:
    return ", ".join(sorted(p.name for p in files)[:5])


def _ending(path: Path) -> str:
    """``.jsonl`` for ``A.JSONL`` and ``a.jsonl.gz``."""
    suffix = path.suffix.lower()
    if suffix in _OPENERS or suffix == ".zst":
        inner = Path(path.stem).suffix.lower()
        return inner if inner in _PLAIN else ""
    return suffix


def _refuse_pointer(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(_LFS)) == _LFS:
            raise LoadingError(f"dataset: {path} is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`")


def _bytes(path: Path) -> Any:
    """The file, uncompressed, open for reading bytes."""
    suffix = path.suffix.lower()
    if suffix == ".zst":
        import pyarrow as pa

        return pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")
    return _OPENERS.get(suffix, lambda p: p.open("rb"))(path)


def _text(path: Path) -> str:
    with _bytes(path) as file:
        return _decoded(file.read(), path)


def _decoded(data: bytes, path: Path) -> str:
    """Text of UTF-8, or of UTF-16 or UTF-32 that begins with its mark; a mark is not text."""
    coding = next((coding for mark, coding in _MARKS.items() if data.startswith(mark)), "utf-8-sig")
    try:
        text = data.decode(coding)
    except UnicodeDecodeError as error:
        raise LoadingError(f"dataset: {path} is not UTF-8 text ({error}); convert it, such as with iconv -f LATIN1 -t UTF-8") from error
    if text.count("\0") * 4 > len(text):
        raise LoadingError(f"dataset: {path} is no UTF-8 text: a quarter or more of it are zero bytes (UTF-16 without a mark, or no text)")
    return text


def _documents(path: Path, _column: str) -> Iterator[str]:
    yield from _text(path).replace("\r\n", "\n").split(_DOCUMENT_END)


def _json_lines(path: Path, column: str) -> Iterator[Any]:
    """Split at line feeds only: a string may contain U+2028 and the like."""
    lines = _text(path).split("\n")
    for number, line in enumerate(lines, 1):
        if line.strip():
            last = " (the last line: is the file cut off?)" if number == len(lines) else ""
            yield _field(_parsed(line, f"{path}, line {number}", last), column, f"{path}, line {number}")


def _parsed(text: str, place: str, note: str = "") -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise LoadingError(f"dataset: {place} is not JSON: {error}{note}") from error


def _field(row: Any, column: str, place: str) -> Any:
    if not isinstance(row, dict):
        raise LoadingError(f"dataset: {place} is a {type(row).__name__}, expected an object with the field {column!r} (dataset_text_field)")
    if column not in row:
        raise no_column(place, column, row)
    return row[column]


def _json(path: Path, column: str) -> Iterator[Any]:
    """An array of objects, or of texts; an object of columns; or JSON lines under another name."""
    text = _text(path)
    try:
        whole = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise LoadingError(f"dataset: {path} is not JSON: {error}") from error
        yield from _json_lines(path, column)
        return
    if isinstance(whole, list):
        for number, row in enumerate(whole):
            yield row if isinstance(row, str) else _field(row, column, f"{path}, row {number}")
        return
    found = _field(whole, column, str(path))
    columns = found.values() if isinstance(found, dict) else found
    yield from columns if not isinstance(found, str) else [found]


def _separated(path: Path, column: str) -> Iterator[Any]:
    import pandas as pd

    separator = "\t" if ".tsv" in path.suffixes[-2:] else ","
    try:
        frame = pd.read_csv(io.StringIO(_text(path)), sep=separator, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise LoadingError(f"dataset: {path} is not a table: {error}") from error
    if column not in frame:
        raise no_column(str(path), column, frame.columns)
    yield from frame[column]


def _parquet(path: Path, column: str) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        if column not in file.schema_arrow.names:
            raise no_column(str(path), column, file.schema_arrow.names)
        for batch in file.iter_batches(1_000, columns=[column]):
            yield from batch.column(0).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise LoadingError(f"dataset: {path} is not a Parquet file, or is damaged: {error}") from error


def _arrow(path: Path, column: str) -> Iterator[Any]:
    import pyarrow as pa

    with pa.memory_map(str(path)) as file:
        try:
            table = pa.ipc.open_stream(file).read_all()
        except pa.ArrowInvalid:
            try:
                table = pa.ipc.open_file(file).read_all()
            except pa.ArrowInvalid as error:
                raise LoadingError(f"dataset: {path} is not an Arrow file, or is damaged: {error}") from error
        if column not in table.column_names:
            raise no_column(str(path), column, table.column_names)
        for batch in table.select([column]).to_batches(1_000):
            yield from batch.column(0).to_pylist()


_PLAIN: dict[str, Callable[[Path, str], Iterator[Any]]] = {
    ".txt": _documents,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _separated,
    ".tsv": _separated,
}
_READERS = _PLAIN | {".parquet": _parquet, ".arrow": _arrow}
ENDINGS = f"{', '.join(_READERS)} (text files also compressed, with .gz, .bz2, .xz or .zst at the end)"
