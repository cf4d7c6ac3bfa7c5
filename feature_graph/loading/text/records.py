"""One value of a column as a text: text itself, bytes, token ids, or the messages of a chat."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_graph.loading.errors import LoadingError

log = logging.getLogger(__name__)

_CHAT_ROLES = {"human": "user", "gpt": "assistant"}
#: Columns that are suggested where the one that is asked for does not exist.
_USUAL = ("text", "input_ids", "tokens", "messages", "conversations", "content")


@dataclass(frozen=True)
class Text:
    """One text.

    Attributes:
        title: Where it is from, for people.
        body: The text; empty where there are ``tokens``.
        tokens: int64 [n], token ids of a text that is already tokenised; else None.
    """

    title: str
    body: str
    tokens: NDArray[np.int64] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing but white space."""
        return not self.body.strip() if self.tokens is None else len(self.tokens) == 0


def texts_of(values: Iterable[Any], source: str, column: str, tokenizer: Any = None) -> Iterator[Text]:
    """A text for each value that is one; what was left out or changed is counted and said at the end.

    Args:
        values: The column: text, UTF-8 bytes, lists of token ids, lists of messages (``role`` and ``content``), or null.
        source: File or dataset, for titles and messages.
        column: Its name, for messages.
        tokenizer: Its chat template makes text of messages; where it has none, they are joined as ``role: content`` lines.

    Raises:
        LoadingError: Naming the first row that is none of these.
    """
    noted: Counter[str] = Counter()
    number = -1
    for number, value in enumerate(values):
        if value is None or (isinstance(value, float) and isnan(value)):
            noted["skipped, being null"] += 1
            continue
        place = f"{source}, row {number}: column {column!r} holds"
        value = _one_by_one(value)
        if isinstance(value, str | bytes):
            text = Text(f"{source}:{number}", _sound(_decoded(value, place), noted))
        elif _is_chat(value):
            text = Text(f"{source}:{number}", _sound(_chat(value, tokenizer, noted), noted))
        else:
            text = Text(f"{source}:{number}", "", _ids(value, place))
        noted["skipped, being empty"] += text.is_empty
        if not text.is_empty:
            yield text
    for what, n in noted.items():
        if n:
            log.log(
                logging.INFO if what.startswith("of") else logging.WARNING, "dataset: %s: %d of %d rows %s", source, n, number + 1, what
            )


def no_column(place: str, column: str, names: Iterable[Any]) -> LoadingError:
    """The error for a column that is not there: those that are, and which of them may be meant."""
    found = sorted(map(str, names))
    near = next((name for name in _USUAL if name in found), None)
    hint = f"; set dataset_text_field: {near}?" if near else ""
    return LoadingError(f"dataset: {place} has no field {column!r} (dataset_text_field); it has {found}{hint}")


def _decoded(value: str | bytes, place: str) -> str:
    if isinstance(value, str):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LoadingError(f"dataset: {place} bytes that are not UTF-8 text ({error})") from error


def _sound(text: str, noted: Counter[str]) -> str:
    """The text with halves of surrogate pairs joined, or replaced where they stand alone: no tokenizer takes those."""
    if text.isascii():
        return text
    sound = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if "\ufffd" in sound and sound != text:
        noted["with a lone surrogate (half a character), replaced by U+FFFD"] += 1
    return sound


def _ids(value: Any, place: str) -> NDArray[np.int64]:
    wrong = f"dataset: {place} {_kind(value)}, expected text, token ids, or messages with role and content"
    if not isinstance(value, Sequence | np.ndarray):
        raise LoadingError(wrong)
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise LoadingError(wrong) from error
    if array.size and (array.ndim != 1 or array.dtype.kind not in "iu"):
        raise LoadingError(wrong)
    return array.astype(np.int64).ravel()


def _kind(value: Any) -> str:
    inner = type(value[0]).__name__ if isinstance(value, list | tuple) and value else ""
    return type(value).__name__ + (f" of {inner}" if inner else "")


def _one_by_one(value: Any) -> Any:
    """Messages as a list, where they come as one object of lists."""
    if isinstance(value, Mapping) and value and all(isinstance(part, list) for part in value.values()):
        return [dict(zip(value, parts, strict=True)) for parts in zip(*value.values(), strict=True)]
    return value


def _is_chat(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(m, Mapping) and ({"role", "content"} <= m.keys() or {"from", "value"} <= m.keys()) for m in value)
    )


def _chat(messages: list[Mapping[str, Any]], tokenizer: Any, noted: Counter[str]) -> str:
    from jinja2 import TemplateError

    plain = [
        {"role": _CHAT_ROLES.get(role, role), "content": _content(m["content"] if "content" in m else m["value"])}
        for m in messages
        for role in [str(m["role"] if "role" in m else m["from"])]
    ]
    if getattr(tokenizer, "chat_template", None):
        try:
            text = str(tokenizer.apply_chat_template(plain, tokenize=False))
        except (TemplateError, ValueError, TypeError):
            noted["of chats that the tokenizer's chat template refuses, joined as lines 'role: content'"] += 1
        else:
            noted["of chats, written by the tokenizer's chat template"] += 1
            return text
    else:
        noted["of chats, joined as lines 'role: content' for want of a chat template"] += 1
    return "\n".join(f"{m['role']}: {m['content']}" for m in plain)


def _content(content: Any) -> str:
    """The text of a message: its parts of kind ``text`` where it has parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, Mapping))
    return "" if content is None else str(content)
