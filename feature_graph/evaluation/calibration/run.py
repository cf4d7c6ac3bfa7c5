"""``calibrate``: cells, schedule, figures, one file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feature_graph.artifacts import JsonParts, PartFiles
from feature_graph.config import Config
from feature_graph.evaluation.calibration.cells import known_variants, make_cells, own_width_cells
from feature_graph.evaluation.calibration.errors import CalibrationError
from feature_graph.evaluation.calibration.own_width import DOCUMENTS
from feature_graph.evaluation.calibration.provenance import code_key, versions
from feature_graph.evaluation.calibration.report import pool
from feature_graph.evaluation.calibration.schedule import default_workers, run_cells
from feature_graph.evaluation.planted.compiled import LIBRARY, PROGRAMS
from feature_graph.utils import write_json

FILE, PARTS = "calibration.json", "parts"
SEEDS = 20
#: Inputs of a program with which anything can be found.
FEWEST = 50


@dataclass(frozen=True)
class Calibration:
    """What a calibration found.

    Attributes:
        figures: Everything, as in calibration.json: ``variants``, ``nulls``, ``programs``, ``own_width``, ``aims``, and how they came
            about.
    """

    figures: dict[str, Any]

    @property
    def met(self) -> bool:
        """Whether every aim was met."""
        return all(aim["met"] for aim in self.figures["aims"])

    @property
    def missed(self) -> list[str]:
        """Names of the aims that were missed."""
        return [aim["name"] for aim in self.figures["aims"] if not aim["met"]]


def calibrate(
    seeds: int = SEEDS,
    variants: Sequence[str] | None = None,
    *,
    nulls: bool = True,
    programs: bool = True,
    library: Sequence[str] | None = None,
    own: Sequence[str | Path] = (),
    documents: int = DOCUMENTS,
    folder: str | Path | None = None,
    workers: int | None = None,
) -> Calibration:
    """Run the public stages on models whose effects are known, and on models without any.

    Args:
        seeds: Planted worlds per variant, from seed 0 on. Null runs take half as many (at least one).
        variants: Names; None takes all.
        nulls: Whether to run the null runs and the comparison with shuffled weights.
        programs: Whether to run three compiled programs in a wide residual stream.
        library: Compiled programs that ship to run in their own width, in both bases: those three, and Tracr's library. None takes all of
            them, or none without ``programs``.
        own: Files of compiled programs of your own (NAME.json, with NAME.safetensors beside it), which are run in the same way.
        documents: Random inputs of each program in its own width; four tenths of them are test documents.
        folder: Where calibration.json goes, with a part file per cell under ``parts``, from which a killed run resumes. None keeps nothing.
        workers: Processes of one thread each; None: two, where there are two cores.

    Raises:
        CalibrationError: If a number is below 1, or a variant or program is not known.
        ProgramError: If a file of ``own`` is missing or holds no program.
    """
    names = _checked(seeds, variants, workers)
    if documents < FEWEST:
        raise CalibrationError(f"documents: got {documents}; expected at least {FEWEST}, of which four tenths are test documents")
    library = _known("library", library if library is not None or programs else (), [*PROGRAMS, *LIBRARY])
    place = Path(folder) if folder is not None else None
    begun = time.monotonic()
    cells = make_cells(names, seeds, max(1, seeds // 2), nulls=nulls, programs=programs)
    cells += own_width_cells(library, own, documents)
    parts = PartFiles(place / PARTS if place else None, code_key(), JsonParts())
    level = float(Config.model_fields["significance_level"].default)
    results = run_cells(cells, parts, workers or default_workers())
    figures = {"kind": "calibration", "version": 1, "level": level, "seeds": seeds, "cells": len(cells)}
    figures |= {"seconds": round(time.monotonic() - begun, 1), "versions": versions(), "code": parts.key[:16]} | pool(results, level)
    if place:
        write_json(place / FILE, figures)
    return Calibration(figures)


def _checked(seeds: int, variants: Sequence[str] | None, workers: int | None) -> list[str]:
    if seeds < 1 or (workers is not None and workers < 1):
        raise CalibrationError(f"seeds and workers: got {seeds} and {workers}; both must be at least 1")
    return _known("variants", variants, list(known_variants()))


def _known(what: str, asked: Sequence[str] | None, known: list[str]) -> list[str]:
    names = list(dict.fromkeys(asked)) if asked is not None else known
    unknown = [name for name in names if name not in known]
    if unknown:
        raise CalibrationError(f"{what}: got {', '.join(unknown)}; known are {', '.join(known)}")
    return names
