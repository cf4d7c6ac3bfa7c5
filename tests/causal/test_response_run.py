"""A run whose candidates are chosen by responses, from its text to its edges, and the screen opened from its directory."""

from __future__ import annotations

import numpy as np
import pytest

from feature_graph.artifacts import CandidateSet, ResponseStore, RunPaths
from feature_graph.config import Config
from feature_graph.pipeline import run, status
from feature_graph.responses import ResponseScreen
from tests.tiny_run import write_tiny_run


@pytest.fixture(scope="module")
def cfg(tmp_path_factory: pytest.TempPathFactory) -> Config:
    tiny = write_tiny_run(tmp_path_factory.mktemp("responses"))
    return tiny.model_copy(update={"candidates": "responses", "shortlist_pairs": 60, "response_documents": 3})


def test_candidates_by_responses_are_measured(cfg: Config) -> None:
    for stage in ("collect", "atlas", "responses", "seeds", "candidates", "measure"):
        run(cfg, only=stage)  # type: ignore[arg-type]
    paths = RunPaths.of(cfg.output_dir)
    found = {stage.stage: stage for stage in status(paths.root).stages}
    assert found["responses"].state == found["measure"].state == "up to date"
    record = found["responses"].record
    assert record is not None
    assert record.rows == sum(len(s.index) for s in ResponseStore(paths.responses).sources.values())
    chosen = CandidateSet.load(paths.candidates)
    assert 0 < (chosen.frame["arm"] != "seed").sum() <= 60
    assert set(chosen.frame["arm"]) <= {"specific", "computed", "total", "seed"}
    assert not paths.parts("responses").exists()


def test_the_screen_opens_without_the_model(cfg: Config) -> None:
    screen = ResponseScreen.open(cfg.output_dir)
    frame = screen.edges(sites=screen.store.pairs[0], effect="computed", top=5)
    assert len(frame) == 5
    np.testing.assert_allclose(frame["computed"], frame["total"] - frame["copy"], rtol=1e-4, atol=1e-7)
