"""What a load is asked to do, and what it did."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ingest.selection import Selection
from ingest.validate import BadRows


@dataclass(frozen=True)
class Options:
    """What is loaded of a run.

    Attributes:
        selection: Which of its edges; another selection is another run in the graph.
        bad_rows: ``refuse`` the run where a row is wrong, or ``skip`` such rows.
        rejected: File (Parquet) for rows that are skipped.
    """

    selection: Selection = field(default_factory=Selection)
    bad_rows: BadRows = "refuse"
    rejected: Path | None = None


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did.

    Attributes:
        run: Id of the run.
        n: Its number.
        already: The same result was ready before; nothing was written.
        nodes: Features observed.
        edges: Edges.
        behaviors: Behaviours.
        resumed: Blocks that an earlier, interrupted try had written.
        digest: Sum of the row hashes, as 16 hex digits.
        seconds: How long it took.
        decoders: Features whose decoder vector was stored now.
        rejected: Rows left out because they are wrong.
        families: Copy families that were stored now.
    """

    run: str
    n: int
    already: bool
    nodes: int
    edges: int
    behaviors: int
    resumed: int
    digest: str
    seconds: float
    decoders: int = 0
    rejected: int = 0
    families: int = 0

    def summary(self) -> str:
        """One line for people."""
        if self.already:
            parts = ((self.decoders, "decoder vectors"), (self.families, "copy families"))
            added = ", ".join(f"{number} {what} added" for number, what in parts if number) or "nothing changed"
            return f"run {self.run} is already there ({self.nodes} features, {self.edges} edges); {added}"
        went_on = f", went on after {self.resumed} blocks" if self.resumed else ""
        vectors = f", {self.decoders} decoder vectors" if self.decoders else ""
        skipped = f", {self.rejected} wrong rows left out" if self.rejected else ""
        counts = f"{self.nodes} features, {self.edges} edges, {self.behaviors} behaviours{vectors}{skipped}"
        return f"run {self.run}: {counts} in {self.seconds:.1f} s{went_on}"
