"""Samples double where the select documents say that power lacks: on a tiny model, through the stage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import feature_graph.interactions.probes as probes_module
from feature_graph.artifacts import FrameFiles
from feature_graph.interactions.plan import make_plan
from feature_graph.interactions.power import with_power
from feature_graph.interventions import CLEAN_BYTES, AnalysedModel, MeasurementContext
from tests.support.interaction_stage import SAMPLES, Stage

KEYS = ["src_id", "tgt_id"]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("more"), n_placebo=0)


def test_sources_that_lack_power_get_more_and_the_others_stay_as_they_are(stage: Stage, tmp_path: Path) -> None:
    few = stage.run()
    cfg = stage.cfg.model_copy(update={"sample_doublings": 2})
    more = stage.run(cfg=cfg, parts_dir=tmp_path / "parts")
    n = more.frame.groupby("src_id")["n_samples"].first()
    before = few.frame.groupby("src_id")["n_samples"].first()
    assert (n > SAMPLES).any()
    assert (n <= 4 * SAMPLES).all()
    same = n.index[(n == before) & (n == SAMPLES)]
    assert len(same) > 0
    one, two = (f[f["src_id"].isin(same)].set_index(KEYS).sort_index() for f in (few.frame, more.frame))
    np.testing.assert_allclose(two["mean_strength"], one["mean_strength"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(two["p_value"], one["p_value"], rtol=1e-2, atol=1e-9)
    assert any(path.name.startswith("select-") for path in (tmp_path / "parts").iterdir())
    again = stage.run(cfg=cfg, parts_dir=tmp_path / "parts")
    pd.testing.assert_frame_equal(again.frame, more.frame)


def test_the_first_samples_stay_and_test_documents_have_no_say(stage: Stage, tmp_path: Path) -> None:
    cfg = stage.cfg.model_copy(update={"sample_doublings": 2})
    model = AnalysedModel.of(stage.tiny.model, stage.tiny.saes, cfg)
    context = MeasurementContext.open(model, stage.store, cfg)
    plan = make_plan(stage.store, stage.candidates.frame, context.codecs, context.norms, cfg)
    found = with_power(context, plan, FrameFiles(None, "key"), progress=False, clean_bytes=CLEAN_BYTES)
    for layer, sources in plan.sources.items():
        for old, new in zip(sources, found.sources[layer], strict=True):
            pairs = [set(zip(s.test.documents.tolist(), s.test.positions.tolist(), strict=True)) for s in (old, new)]
            assert pairs[0] <= pairs[1]
            assert (old.low, old.high) == (new.low, new.high)
    assert found.n_pairs == plan.n_pairs


def test_a_batch_in_pieces_gives_the_same(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = stage.run()
    monkeypatch.setattr(probes_module, "BATCH_SAMPLES", 7)
    pieces = stage.run()
    for column in ("mean_strength", "direct_strength", "later_strength", "copy_strength", "confirm_strength", "se_computed"):
        np.testing.assert_allclose(pieces.frame[column], whole.frame[column], rtol=1e-4, atol=2e-6, err_msg=column)
