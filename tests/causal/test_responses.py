"""Responses: means of derivatives that the reference gives, exact on planted models, the same after a kill, kept when the disk is full."""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch

from feature_graph.activations import collect_activations
from feature_graph.artifacts import SELECT, ActivationStore, ResponseStore, halve_documents
from feature_graph.evaluation.planted import planted_model
from feature_graph.interventions import AnalysedModel, CleanDocuments, MeasureError, MeasurementContext, ModelSlices, arrivals
from feature_graph.responses import generic_responses, measure, measure_responses, plan_responses
from feature_graph.responses.measure import half_means
from tests.support.interaction_stage import Stage

CHANGES = {"response_samples": 7, "response_documents": 3}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("responses"), **CHANGES)


def context_of(stage: Stage) -> MeasurementContext:
    return MeasurementContext.open(AnalysedModel.of(stage.tiny.model, stage.tiny.saes, stage.cfg), stage.store, stage.cfg)


def run(stage: Stage, path: Path, **changes: object) -> ResponseStore:
    return measure_responses(stage.tiny.model, stage.tiny.saes, stage.store, stage.cfg, path, progress=False, **changes)  # type: ignore[arg-type]


def test_samples_are_select_tokens_where_the_source_is_active(stage: Stage) -> None:
    plan = plan_responses(context_of(stage))
    halves = halve_documents(len(stage.store.tokens), stage.cfg.seed)
    assert set(plan.samples) == {0, 1}  # the last site has no later one
    for layer, samples in plan.samples.items():
        active = stage.store.activations[layer].toarray() > 0
        for k in range(len(samples)):
            one = samples.part(k, k + 1)
            rows = one.documents * stage.store.context_length + one.positions
            mine = np.flatnonzero(active[:, one.index[0]] & (stage.store.splits == SELECT).repeat(stage.store.context_length))
            assert set(rows) <= set(mine)
            documents = np.unique(mine // stage.store.context_length)
            assert len(set(one.documents)) == min(len(documents), 7)  # distinct documents first
            assert len(rows) == len(set(rows)) == min(len(mine), 7)
            assert (one.half == halves[one.documents]).all()
            for half in set(one.half.tolist()):
                assert one.weight[one.half == half].sum() == pytest.approx(1)
        assert (samples.counts().n_documents.sum(axis=1) >= 3).all()


def test_sources_share_tokens(stage: Stage) -> None:
    samples = plan_responses(context_of(stage)).samples[0]
    distinct = len(np.unique(np.stack([samples.documents, samples.positions]), axis=1).T)
    assert distinct < 0.4 * len(samples.documents)


def test_responses_are_means_within_and_then_over_documents(stage: Stage, tmp_path: Path) -> None:
    found = run(stage, tmp_path / "responses.h5")
    context = context_of(stage)
    plan = plan_responses(context)
    slices = ModelSlices(stage.tiny.model)
    clean = slices.residuals(stage.store.tokens, [1, 2], range(1, 4))
    samples = plan.samples[0]
    for k in (0, len(samples) // 2, len(samples) - 1):
        one = samples.part(k, k + 1)
        direction = stage.tiny.codecs[0].w_dec[int(one.index[0])].expand(len(one.documents), 1, -1)
        where = torch.as_tensor(one.documents), torch.as_tensor(one.positions)
        (vectors,) = (v[:, 0].numpy() for v in arrivals(slices, clean, 1, *where, direction, [4]))
        for half in (0, 1):
            mine = one.half == half
            documents = [vectors[mine & (one.documents == d)].mean(0) for d in np.unique(one.documents[mine])]
            expected = np.mean(documents, axis=0) if documents else np.zeros(32)
            got = found.halves(0, 3)[k, half]
            assert np.abs(got - expected).max() <= (2.0**-12 + 1e-5) * np.abs(expected).max()
    assert found.pairs == [(0, 1), (0, 3), (1, 3)]
    assert found.meta["dictionaries"].keys() == {"0", "1", "3"}


def test_planted_responses_are_exact_before_rounding(tmp_path: Path) -> None:
    planted = planted_model(seed=3, n_docs=60)
    cfg = planted.config(n_tokens=60 * 24, **CHANGES)
    store = collect_activations(planted.model, planted.saes, cfg, tokens=torch.as_tensor(planted.tokens), path=tmp_path / "a.h5")
    context = MeasurementContext.open(AnalysedModel.of(planted.model, planted.saes, cfg), store, cfg)
    plan = plan_responses(context)
    clean = CleanDocuments(context, plan.documents)
    checked = 0
    for layer, samples in plan.samples.items():
        later = plan.later[layer]
        means = half_means(clean.setting([layer, *later]), layer, later, samples)
        for k, target in enumerate(later):
            reader = context.codecs[target].w_enc.double().numpy()
            for half, pre in enumerate(np.moveaxis(means[k] @ reader, 1, 0)):
                for n, index in enumerate(samples.index.tolist()):
                    if not (samples.part(n, n + 1).half == half).any():
                        continue
                    for (source, aim), effect in planted.edges.items():
                        if source == (layer, index) and aim[0] == target:
                            assert pre[n, aim[1]] == pytest.approx(effect.total, abs=2e-6)
                            checked += 1
    assert checked > 20


def test_a_block_that_was_measured_is_not_measured_again(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "BLOCK_SOURCES", 16)
    whole = run(stage, tmp_path / "whole.h5")
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(stage.store.path), str(tmp_path)], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    kept = sorted((tmp_path / "parts").glob("*.npz"))
    assert len(kept) == 3
    stamps = [part.stat().st_mtime_ns for part in kept]
    resumed = run(stage, tmp_path / "responses.h5", parts_dir=tmp_path / "parts")
    assert [part.stat().st_mtime_ns for part in kept] == stamps
    for pair in whole.pairs:
        np.testing.assert_array_equal(resumed.halves(*pair), whole.halves(*pair))
        np.testing.assert_array_equal(resumed.generic(*pair), whole.generic(*pair))


_KILLED = """
import os, signal, sys
from pathlib import Path
from feature_graph.artifacts import ActivationStore, PartFiles
from feature_graph.responses import measure
from tests.causal.test_responses import CHANGES
from tests.support.interaction_stage import config
from tests.support.tiny_models import make_tiny
save = PartFiles.save
def dying(parts, name, value):
    if len(list(Path(sys.argv[2], "parts").glob("*.npz"))) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    save(parts, name, value)
PartFiles.save = dying
measure.BLOCK_SOURCES = 16
tiny = make_tiny("llama", n_docs=50)
folder = Path(sys.argv[2])
measure.measure_responses(tiny.model, tiny.saes, ActivationStore.load(sys.argv[1]), config(**CHANGES), folder / "responses.h5",
                          parts_dir=folder / "parts", progress=False)
"""


def test_a_disk_that_is_too_small_is_said_before_any_work(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, (1 << 40) - 1000, 1000))
    with pytest.raises(MeasureError, match=r"are needed for the responses of \d+ sources"):
        run(stage, tmp_path / "responses.h5", parts_dir=tmp_path / "parts")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_midway_keeps_the_finished_parts(stage: Stage, tmp_path: Path) -> None:
    chosen = {0: range(10), 1: range(40)}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, before[1]))  # the part of layer 0 fits, that of layer 1 does not
    try:
        with pytest.raises(MeasureError, match=r"disk: full while the responses were written .* next run goes on from them"):
            run(stage, tmp_path / "responses.h5", parts_dir=tmp_path / "parts", sources=chosen)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["parts"]  # no half file
    (kept,) = (tmp_path / "parts").iterdir()
    stamp = kept.stat().st_mtime_ns
    assert run(stage, tmp_path / "responses.h5", parts_dir=tmp_path / "parts", sources=chosen).pairs
    assert kept.stat().st_mtime_ns == stamp


def test_a_part_damaged_inside_is_measured_again(stage: Stage, tmp_path: Path) -> None:
    chosen = {0: range(40)}
    whole = run(stage, tmp_path / "one.h5", parts_dir=tmp_path / "parts", sources=chosen)
    (part,) = (tmp_path / "parts").glob("*.npz")
    good = part.read_bytes()
    broken = bytearray(good)
    broken[len(good) // 2] ^= 0xFF  # in the values: the key is still read
    part.write_bytes(bytes(broken))
    again = run(stage, tmp_path / "two.h5", parts_dir=tmp_path / "parts", sources=chosen)
    for pair in whole.pairs:
        np.testing.assert_array_equal(again.halves(*pair), whole.halves(*pair))
    assert part.read_bytes() == good


def test_a_response_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    broken = Stage(tmp_path, **CHANGES)
    context = context_of(broken)
    plan = plan_responses(context)
    setting = CleanDocuments(context, plan.documents).setting([0, 1, 3])
    with torch.no_grad():
        broken.tiny.model.blocks[3].mlp.W_out.mul_(1e39)
    with pytest.raises(MeasureError, match=r"responses: those of \d+ features are NaN or infinite"):
        measure._measured(lambda: setting, 0, [1, 3], plan.samples[0])


def test_features_that_do_not_exist_are_refused(stage: Stage) -> None:
    with pytest.raises(MeasureError, match="L0_F40 does not exist"):
        plan_responses(context_of(stage), {0: [3, 40]})


def test_generic_responses_are_those_of_a_fit_without_the_parallels() -> None:
    rng = np.random.default_rng(1)
    directions = rng.normal(size=(60, 12))
    directions[7] = directions[3] + 0.1 * directions[7]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    computed = directions @ rng.normal(size=(12, 12)) + 0.3 * rng.normal(size=(60, 12))
    found = generic_responses(directions, computed)
    ridges = [share * (60 / 12) for share in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)]
    for i in (0, 3, 7):
        kept = np.abs(directions @ directions[i]) < 0.3
        assert not kept[i]
        fits = []
        for ridge in ridges:
            d = directions[kept]
            fits.append(directions[i] @ np.linalg.solve(d.T @ d + ridge * np.eye(12), d.T @ computed[kept]))
        assert min(np.abs(found[i] - fit).max() for fit in fits) < 1e-9


def test_a_pure_copy_has_no_generic_response() -> None:
    directions = np.eye(9)
    np.testing.assert_allclose(generic_responses(directions, np.zeros((9, 9))), 0.0, atol=1e-12)


def test_the_activations_must_be_of_the_same_dictionaries(stage: Stage, tmp_path: Path) -> None:
    store = ActivationStore.load(stage.store.path)
    other = Stage(tmp_path, **CHANGES)
    saes = {layer: other.tiny.saes[layer] for layer in (0, 3)}
    found = measure_responses(other.tiny.model, saes, store, stage.cfg, tmp_path / "responses.h5", progress=False)
    assert found.pairs == [(0, 3)]  # a subset of the sites is fine
