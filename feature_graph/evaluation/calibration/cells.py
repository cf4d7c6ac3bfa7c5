"""A cell: the smallest piece of a calibration that is run and kept alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from feature_graph.evaluation.calibration.compiled import measure_program
from feature_graph.evaluation.calibration.nulls import NULLS, measure_null
from feature_graph.evaluation.calibration.own_width import measure_own_width
from feature_graph.evaluation.calibration.variants import measure_variant
from feature_graph.evaluation.planted import COMPONENT_VARIANTS, VARIANTS
from feature_graph.evaluation.planted.compiled import PROGRAMS
from feature_graph.evaluation.planted.compiled_model import BASES


@dataclass(frozen=True)
class Cell:
    """One seed of one variant or null run, one compiled program, or one in its own width and a basis.

    Attributes:
        kind: What is run.
        name: Which variant, null run or program.
        seed: Of its world.
    """

    kind: Literal["variant", "null", "program", "own_width"]
    name: str
    seed: int

    @property
    def file(self) -> str:
        """Name of its part."""
        return f"{self.kind}-{self.name}-{self.seed:04d}"


def make_cells(
    variants: Sequence[str], seeds: int, null_seeds: int, *, nulls: bool = True, programs: bool = True, library: Sequence[str] = ()
) -> list[Cell]:
    """All cells of a calibration, seed by seed, so that a run cut short has few seeds of everything rather than all of one."""
    cells = [Cell("variant", name, seed) for seed in range(seeds) for name in variants]
    cells += [Cell("null", name, seed) for seed in range(null_seeds) for name in NULLS] if nulls else []
    cells += [Cell("program", name, 0) for name in PROGRAMS] if programs else []
    return cells + [Cell("own_width", f"{name}-{basis}", 0) for basis in BASES for name in library]


def run_cell(cell: Cell) -> dict[str, Any]:
    """Run it; plain values.

    Raises:
        KeyError: If there is no variant, null run or program of that name.
    """
    if cell.kind == "own_width":
        name, basis = cell.name.split("-")
        return measure_own_width(name, "original" if basis == "original" else "rotated")
    if cell.kind == "program":
        return measure_program(cell.name)
    return measure_variant(cell.name, cell.seed) if cell.kind == "variant" else measure_null(cell.name, cell.seed)


def known_variants() -> dict[str, str]:
    """Name → what is different, of every variant."""
    plain = {name: variant.text for name, variant in VARIANTS.items()}
    return plain | {name: variant.text for name, variant in COMPONENT_VARIANTS.items()}
