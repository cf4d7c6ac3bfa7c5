"""Running the cells: those that lie there are read, the others run, one bar over all, two processes where that pays."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import torch

from feature_graph.artifacts import PartFiles
from feature_graph.evaluation.calibration.cells import Cell, run_cell
from feature_graph.utils import progress

Result = tuple[Cell, dict[str, Any]]
#: Starting a process costs about as much as two cells.
_WORTH_A_PROCESS = 4


def run_cells(cells: Sequence[Cell], parts: PartFiles[dict[str, Any]], workers: int) -> dict[Cell, dict[str, Any]]:
    """Result of every cell, in the order asked for.

    Args:
        cells: What to run.
        parts: Where results are kept as soon as they are there.
        workers: Processes, each with one thread; 1 runs everything in this process.
    """
    known = {cell: part for cell in cells if (part := parts.load(cell.file)) is not None}
    missing = [cell for cell in cells if cell not in known]
    workers = min(workers, max(1, len(missing) // _WORTH_A_PROCESS))
    run = _run_here(missing) if workers == 1 else _run_apart(missing, workers)
    with errors_only():
        for cell, result in progress(run, "calibrating", len(missing)) if missing else ():
            parts.save(cell.file, result)
            known[cell] = result
    return {cell: known[cell] for cell in cells}


def _run_here(cells: Sequence[Cell]) -> Iterator[Result]:
    for cell in cells:
        yield cell, run_cell(cell)


def _run_apart(cells: Sequence[Cell], workers: int) -> Iterator[Result]:
    """In fresh processes (a forked one would share this one's threads)."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin) as pool:
        running: dict[Future[dict[str, Any]], Cell] = {pool.submit(run_cell, cell): cell for cell in cells}
        try:
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield running.pop(future), future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _begin() -> None:
    """A worker has one thread, leaves interrupts to its parent, and ends with it: a killed parent must not leave workers behind."""
    torch.set_num_threads(1)
    logging.getLogger("feature_graph").setLevel(logging.ERROR)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def errors_only() -> Iterator[None]:
    """No warnings inside: every world has a dead feature on purpose, and each cell would say so."""
    logger = logging.getLogger("feature_graph")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def default_workers() -> int:
    """Two where there are two cores for this process: cells are small, and more processes mostly wait for memory."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(2, cores))
