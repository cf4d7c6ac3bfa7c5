"""A run one of whose dictionaries is not the one that it used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def changed_dictionary(manifest: Path, place: str) -> Iterator[None]:
    """Inside the block the manifest records other weights of the dictionary at ``place`` than those that are loaded."""
    text = manifest.read_text(encoding="utf-8")
    values = json.loads(text)
    assert len(values["saes"][place]["sha256"]) == 8
    values["saes"][place]["sha256"] = "00000000"
    manifest.write_text(json.dumps(values), encoding="utf-8")
    try:
        yield
    finally:
        manifest.write_text(text, encoding="utf-8")
