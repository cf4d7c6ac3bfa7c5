"""A cell: the smallest piece of a calibration that is run and kept alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from feature_graph.evaluation.calibration.compiled import measure_program
from feature_graph.evaluation.calibration.errors import CalibrationError
from feature_graph.evaluation.calibration.nulls import NULLS, measure_null
from feature_graph.evaluation.calibration.own_width import DOCUMENTS, measure_own_width
from feature_graph.evaluation.calibration.variants import measure_variant
from feature_graph.evaluation.planted import COMPONENT_VARIANTS, VARIANTS
from feature_graph.evaluation.planted.compiled import LIBRARY, PROGRAMS, read_program
from feature_graph.evaluation.planted.compiled_model import BASES
from feature_graph.utils import sha256_file, sha256_json


@dataclass(frozen=True)
class Cell:
    """One seed of one variant or null run, one compiled program, or one in its own width and a basis.

    Attributes:
        kind: What is run.
        name: Which variant, null run or program.
        seed: Of its world.
        documents: Inputs of a program in its own width; 0 for all others.
        path: File of a program that does not ship; empty for all others.
        digest: Of that program's files.
    """

    kind: Literal["variant", "null", "program", "own_width"]
    name: str
    seed: int
    documents: int = 0
    path: str = ""
    digest: str = ""

    @property
    def file(self) -> str:
        """Name of its part."""
        documents = f"{self.documents}" if self.documents else ""
        return "-".join(filter(None, [self.kind, self.name, f"{self.seed:04d}", documents, self.digest]))


def make_cells(variants: Sequence[str], seeds: int, null_seeds: int, *, nulls: bool = True, programs: bool = True) -> list[Cell]:
    """Cells of planted models and of programs in a wide stream, seed by seed, so that a run cut short has few seeds of everything."""
    cells = [Cell("variant", name, seed) for seed in range(seeds) for name in variants]
    cells += [Cell("null", name, seed) for seed in range(null_seeds) for name in NULLS] if nulls else []
    return cells + ([Cell("program", name, 0) for name in PROGRAMS] if programs else [])


def own_width_cells(library: Sequence[str], own: Sequence[str | Path] = (), documents: int = DOCUMENTS) -> list[Cell]:
    """Programs in their own width, in either basis; files are read once, so that what is wrong with them shows before anything runs.

    Args:
        library: Names of programs that ship.
        own: Files of others.
        documents: Inputs of each.

    Raises:
        ProgramError: If a file holds no program.
        CalibrationError: If two have the same name, or one has that of a program that ships.
    """
    programs = [(read_program(path).name, Path(path)) for path in own]
    names = Counter([*PROGRAMS, *LIBRARY, *(name for name, _ in programs)])
    taken = [str(path) for name, path in programs if names[name] > 1]
    if taken:
        raise CalibrationError(f"programs: got {', '.join(taken)}; expected names of their own, which no other program has")
    digests = [sha256_json([sha256_file(path), sha256_file(path.with_suffix(".safetensors"))])[:8] for _, path in programs]
    files = [(name, str(path), digest) for (name, path), digest in zip(programs, digests, strict=True)]
    every = [*((name, "", "") for name in library), *files]
    return [Cell("own_width", f"{name}-{basis}", 0, documents, path, digest) for basis in BASES for name, path, digest in every]


def run_cell(cell: Cell) -> dict[str, Any]:
    """Run it; plain values.

    Raises:
        KeyError: If there is no variant, null run or program of that name.
    """
    if cell.kind == "own_width":
        name, _, basis = cell.name.rpartition("-")
        program = read_program(cell.path) if cell.path else name
        return measure_own_width(program, "original" if basis == "original" else "rotated", cell.documents)
    if cell.kind == "program":
        return measure_program(cell.name)
    return measure_variant(cell.name, cell.seed) if cell.kind == "variant" else measure_null(cell.name, cell.seed)


def known_variants() -> dict[str, str]:
    """Name → what is different, of every variant."""
    plain = {name: variant.text for name, variant in VARIANTS.items()}
    return plain | {name: variant.text for name, variant in COMPONENT_VARIANTS.items()}
