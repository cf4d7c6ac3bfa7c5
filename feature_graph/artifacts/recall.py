"""What pruning loses, measured on an exhaustive slice: its figures and their file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from feature_graph.artifacts.errors import ArtifactError
from feature_graph.utils import write_json

KIND, VERSION = "pruning_recall", 1
#: Stage → its name for people, in the order in which a pair meets them.
STAGE_NAMES = {
    "source": "importance of the source",
    "target": "importance of the target",
    "coactivation": "co-activation",
    "alignment": "alignment (next site)",
    "all_stages": "these together",
    "layer_window": "window",
}
#: The other way to choose, judged where the run has responses.
SHORTLIST = {"responses": "shortlist by responses instead"}


@dataclass(frozen=True)
class StageLoss:
    """What one stage, asked alone, would lose of the significant edges.

    Attributes:
        stage: ``source`` or ``target`` (importance), ``coactivation``, ``alignment``, ``all_stages`` (any of these four), ``layer_window``;
            ``responses`` (the shortlist by responses, which takes the place of these four).
        sources: Whose edges: ``all`` testable sources, the ``top`` ones by importance, or the ``chosen`` ones of the shortlist.
        sign: ``both``, ``excitatory`` or ``inhibitory``; what takes from a copy is counted in ``both`` only.
        edges: Significant edges of the slice that the stage was asked about.
        lost: Those that it would remove.
        share: Share lost of the edges of all the sources that the measured ones stand for; None without edges.
        low: Lower end of the 95 % interval of ``share``, by resampling sources.
        high: Upper end.
        strength_share: The same share with each edge counted by its |strength|.
    """

    stage: str
    sources: str
    sign: str
    edges: int
    lost: int
    share: float | None
    low: float | None
    high: float | None
    strength_share: float | None


@dataclass(frozen=True)
class PruningRecall:
    """What pruning loses, measured on an exhaustive slice.

    Attributes:
        losses: One entry per stage, group of sources and sign.
        tested: Pairs measured.
        edges: Significant ones.
        sources: Per site: alive, testable, chosen, top and drawn features, and how many of the drawn gave edges.
        left_out: Reason → drawn sources that could not be measured.
        settings: Thresholds that were judged, how far was measured, level and correction.
    """

    losses: tuple[StageLoss, ...]
    tested: int
    edges: int
    sources: dict[str, dict[str, int]] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def of(self, stage: str, sources: str = "all", sign: str = "both") -> StageLoss:
        """One entry.

        Raises:
            KeyError: If there is none.
        """
        for loss in self.losses:
            if (loss.stage, loss.sources, loss.sign) == (stage, sources, sign):
                return loss
        raise KeyError(f"no figures for {stage}, {sources} sources, sign {sign}")

    def has(self, sources: str) -> bool:
        """Whether a group of sources was drawn apart from the others."""
        return any(loss.sources == sources for loss in self.losses)

    @property
    def stage_names(self) -> dict[str, str]:
        """Stage → its name for people, of those that were judged."""
        judged = {loss.stage for loss in self.losses}
        return {stage: name for stage, name in (STAGE_NAMES | SHORTLIST).items() if stage in judged}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they lie in the file."""
        return {"kind": KIND, "version": VERSION, **asdict(self), "losses": [asdict(loss) for loss in self.losses]}

    def save(self, path: str | Path) -> None:
        """Write ``pruning_recall.json``."""
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read ``pruning_recall.json``.

        Raises:
            ArtifactError: If it is missing, no JSON, or of another kind or version.
        """
        path = Path(path)
        if not path.is_file():
            raise ArtifactError(f"{path}: no such file; `feature-graph pruning-recall` writes it")
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ArtifactError(f"{path}: not JSON: {error}; run `feature-graph pruning-recall` again") from error
        got = (values.pop("kind", None), values.pop("version", None)) if isinstance(values, dict) else (None, None)
        if got != (KIND, VERSION):
            raise ArtifactError(f"{path}: got kind {got[0]} version {got[1]}; expected {KIND} version {VERSION}")
        return cls(**(values | {"losses": tuple(StageLoss(**loss) for loss in values["losses"])}))
