"""What a load is asked to do, and what it did."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ingest.selection import Selection
from ingest.text import counted
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
            parts = ((self.decoders, "decoder vector", ""), (self.families, "copy family", "copy families"))
            added = ", ".join(f"{counted(*part)} added" for part in parts if part[0]) or "nothing changed"
            return f"run {self.run} is already there ({counted(self.nodes, 'feature')}, {counted(self.edges, 'edge')}); {added}"
        went_on = f", went on after {counted(self.resumed, 'block')}" if self.resumed else ""
        counts = [counted(self.nodes, "feature"), counted(self.edges, "edge"), counted(self.behaviors, "behaviour")]
        counts += [counted(self.decoders, "decoder vector")] if self.decoders else []
        counts += [f"{counted(self.rejected, 'wrong row')} left out"] if self.rejected else []
        return f"run {self.run}: {', '.join(counts)} in {self.seconds:.1f} s{went_on}"
