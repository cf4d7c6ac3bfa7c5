"""Disk: what the responses will take, known before the first of them, and what is said when the disk is full all the same."""

from __future__ import annotations

import errno
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from feature_graph.artifacts import PartFiles, ResponseBlock
from feature_graph.interventions import MeasureError
from feature_graph.responses.plan import ResponsePlan

log = logging.getLogger(__name__)
#: Left free for the rest of the machine.
RESERVE = 1 << 28
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def bytes_needed(plan: ResponsePlan, d_model: int, kinds: int = 1) -> int:
    """Bytes of all responses in ``responses.h5``: two half-means of each kind and a generic response a source and later site, float16."""
    rows = 2 * kinds + 1
    return sum(len(samples) * len(plan.later[layer]) * rows * (2 * d_model + 4) for layer, samples in plan.samples.items())


def check_space(plan: ResponsePlan, d_model: int, parts: PartFiles[ResponseBlock], names: Sequence[str], kinds: int = 1) -> None:
    """Compare what will be written (the file, and the part files that do not lie there yet) with what is free.

    Raises:
        MeasureError: If it does not fit.
    """
    to_come = sum(not parts.has(name) for name in names) / max(1, len(names))
    needed = int(bytes_needed(plan, d_model, kinds) * (1 + to_come * 2 * kinds / (2 * kinds + 1)))
    folder = parts.folder or Path()
    free = shutil.disk_usage(_existing(folder.absolute())).free
    log.info("responses: about %.2f GB of disk are needed, %.1f GB are free", needed / 1e9, free / 1e9)
    if needed > free - RESERVE:
        raise MeasureError(
            f"disk: about {needed / 1e9:.2f} GB are needed for the responses of {plan.n_sources} sources, {free / 1e9:.2f} GB are free at "
            f"{folder}; give the run another disk, or analyse fewer layers"
        )


@contextmanager
def folder_for_parts(given: str | Path | None, beside: Path) -> Iterator[Path]:
    """The folder given, or one that is gone afterwards."""
    if given is not None:
        yield Path(given)
        return
    with TemporaryDirectory(prefix=".responses.", dir=beside) as made:
        yield Path(made)


@contextmanager
def disk_full_explained(kept: str | Path | None) -> Iterator[None]:
    """Say what stays when the disk is full midway.

    Args:
        kept: Folder whose part files stay.

    Raises:
        MeasureError: Instead of the system's error.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        stays = "" if kept is None else f"; the finished part files stay in {kept}, and the next run goes on from them"
        raise MeasureError(f"disk: full while the responses were written ({error}){stays}") from error


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
