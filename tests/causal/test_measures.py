"""Further measures of chosen edges against known truth: gates, dose curves, insertion, mediation."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from feature_graph.activations import collect_activations
from feature_graph.artifacts import (
    ActivationStore,
    CandidateSet,
    DoseSet,
    FeatureRef,
    GateSet,
    InsertionSet,
    InteractionSet,
    MediationSet,
    Pair,
    Triple,
)
from feature_graph.config import Config
from feature_graph.evaluation.calibration.pairs import all_pairs
from feature_graph.evaluation.planted import PlantedModel
from feature_graph.interactions import (
    MeasureError,
    gating_candidates,
    measure_doses,
    measure_gating,
    measure_insertions,
    measure_interactions,
    measure_mediation,
)
from feature_graph.interactions.followup.factorial import contrast
from feature_graph.interventions import (
    PARTS,
    Clamps,
    JointSource,
    ModelSlices,
    Reading,
    clamp_effects,
    jacobian_effects,
    joint_effects,
    mediated_effects,
)
from feature_graph.interventions.reference import run_hooked
from tests.support.clamping import clamps_of, path_of, setting
from tests.support.interaction_stage import config as tiny_config
from tests.support.overflow import overflowing
from tests.support.tiny_models import SHAPES, make_tiny


@pytest.fixture(scope="module")
def store(planted: PlantedModel, tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    path = tmp_path_factory.mktemp("planted") / "activations.h5"
    return collect_activations(planted.model, planted.saes, planted.config(), tokens=planted.tokens, path=path)


@pytest.fixture(scope="module")
def cfg(planted: PlantedModel) -> Config:
    return planted.config(n_placebo=8, n_intervention_samples=20)


def ref(planted: PlantedModel, site: int, name: str) -> FeatureRef:
    return FeatureRef(*planted.key(site, name))


def triple(planted: PlantedModel, a: tuple[int, str], b: tuple[int, str], target: tuple[int, str]) -> Triple:
    return Triple(ref(planted, *a), ref(planted, *b), ref(planted, *target))


@pytest.fixture(scope="module")
def gates(planted: PlantedModel, store: ActivationStore, cfg: Config) -> GateSet:
    """All pairs of a few sources onto their targets, the planted gate among them; a source and what it drives; a dead one."""
    names = ("excite", "inhibit", "branch", "gate_a", "gate_b", "dense", "pass")
    targets = ("excited", "inhibited", "gated", "branch1", "dense1")
    wanted = [triple(planted, (0, a), (0, b), (1, t)) for a, b in combinations(names, 2) for t in targets]
    wanted.append(triple(planted, (1, "branch1"), (0, "branch"), (2, "branched")))
    wanted.append(triple(planted, (0, "gate_a"), (0, "dead"), (1, "gated")))
    return measure_gating(planted.model, planted.saes, wanted, cfg, store=store, progress=False)


def test_the_planted_gate_is_found_and_no_other(planted: PlantedModel, gates: GateSet) -> None:
    found = gates.frame[gates.frame["significant"]]
    gate = triple(planted, (0, "gate_a"), (0, "gate_b"), (1, "gated"))
    assert found[["a_id", "b_id", "tgt_id"]].to_numpy().tolist() == [[r.id for r in gate]]
    assert found["kind"].item() == "super_additive"
    assert len(gates) == gates.meta["family"] == 21 * 5 + 1


def test_the_contrast_is_that_of_the_gate_by_hand(planted: PlantedModel, gates: GateSet) -> None:
    row = gates.frame[gates.frame["significant"]].iloc[0]
    a, b, threshold = row["a_high"], row["b_high"], planted.wiring.gates[0].threshold
    cells = [max(0.0, x + y - threshold) for x, y in ((a, b), (a, 0), (0, b), (0, 0))]
    np.testing.assert_allclose(row[["f_hh", "f_hl", "f_lh", "f_ll"]].astype(float), cells, atol=1e-4)
    contrast = cells[0] - cells[1] - cells[2] + cells[3]
    assert row["contrast"] == pytest.approx(contrast, rel=1e-4)
    assert row["strength"] == pytest.approx(contrast / np.sqrt(a * b), rel=1e-4)
    assert row["ci_low"] <= row["contrast"] <= row["ci_high"]
    assert row["placebo_quantile"] == 1


def test_effects_that_add_up_have_no_contrast_even_where_one_source_drives_the_other(planted: PlantedModel, gates: GateSet) -> None:
    chain = gates.frame[(gates.frame["a_layer"] == 0) & (gates.frame["b_layer"] == 1)].iloc[0]
    assert (chain["a_id"], chain["tgt_id"]) == (ref(planted, 0, "branch").id, ref(planted, 2, "branched").id)
    assert abs(chain["contrast"]) < 1e-5
    assert chain["p_value"] == 1
    # B is held whatever A does to it: A acts only past the middle dictionary (0.3), B with its own slope (0.5)
    assert chain["f_hl"] - chain["f_ll"] == pytest.approx(0.3 * chain["a_high"], rel=1e-3)
    assert chain["f_lh"] - chain["f_ll"] == pytest.approx(0.5 * chain["b_high"], rel=1e-3)


def test_triples_that_cannot_be_measured_are_left_out_with_the_reason(planted: PlantedModel, gates: GateSet) -> None:
    assert gates.meta["left_out"] == {
        f"{ref(planted, 0, 'gate_a').id} + {ref(planted, 0, 'dead').id} → {ref(planted, 1, 'gated').id}": (
            f"{ref(planted, 0, 'dead').id}: never active"
        )
    }


def test_samples_where_either_is_active(planted: PlantedModel, store: ActivationStore, cfg: Config) -> None:
    wanted = [triple(planted, (0, "gate_a"), (0, "gate_b"), (1, "gated"))]
    either = measure_gating(planted.model, planted.saes, wanted, cfg, store=store, where="either", progress=False)
    assert either.meta["where"] == "either"
    assert either.frame["significant"].all()
    with pytest.raises(MeasureError, match="where: got 'neither'; expected one of both, either"):
        measure_gating(planted.model, planted.saes, wanted, cfg, store=store, where="neither", progress=False)  # type: ignore[arg-type]
    rare = cfg.model_copy(update={"min_documents": 200})
    nobody = measure_gating(planted.model, planted.saes, wanted, rare, store=store, progress=False)
    assert len(nobody) == 0
    assert len(nobody.meta["left_out"]) == 1


def test_candidates_are_pairs_of_edges_onto_one_target(planted: PlantedModel, store: ActivationStore, cfg: Config) -> None:
    pairs = all_pairs(planted, cfg)
    pairs = pairs[(pairs["src_layer"] == 0) & (pairs["tgt_layer"] == 1)]
    edges = measure_interactions(planted.model, planted.saes, CandidateSet(pairs, store), cfg, progress=False)
    chosen = gating_candidates(edges)
    gate = triple(planted, (0, "gate_a"), (0, "gate_b"), (1, "gated"))
    assert gate in chosen
    by_target = edges.frame[edges.frame["significant"]].groupby("tgt_id").size()
    assert len(chosen) == sum(min(10, n * (n - 1) // 2) for n in by_target)
    assert gating_candidates(edges, top=1) == chosen[:1]
    chained = edges.frame.assign(tgt_id=edges.frame["tgt_id"].mask(edges.frame["src_id"] == gate.a.id, gate.b.id))
    both = pd.concat([edges.frame, chained[chained["tgt_id"] == gate.b.id]])
    assert gate not in gating_candidates(InteractionSet(both, edges.meta))
    assert gate in gating_candidates(InteractionSet(both, edges.meta), chains=True)
    nothing = InteractionSet(edges.frame.iloc[:0], edges.meta)
    assert gating_candidates(nothing) == []


def test_gates_are_kept_and_read_back(gates: GateSet, tmp_path: Path) -> None:
    gates.save(tmp_path / "gates.parquet")
    again = GateSet.load(tmp_path / "gates.parquet")
    pd.testing.assert_frame_equal(again.frame, gates.frame)
    assert again.meta == gates.meta


@pytest.mark.parametrize("shape", ["gpt2", "gemma2"])
@pytest.mark.parametrize("kind", ["standard", "topk"])
@pytest.mark.parametrize("second", [0, 1])
def test_joint_cells_equal_hooks(shape: str, kind: str, second: int) -> None:
    """Against full forward passes: B at the same site as A, or re-encoded at a later one."""
    tiny = make_tiny(shape, kind)
    slices = ModelSlices(tiny.model)
    clean = slices.residuals(tiny.tokens, [1, 2, 4], range(1, 4))
    documents, positions = torch.tensor([0, 2, 4]), torch.tensor([3, 11, 6])
    codecs = tiny.codecs
    here = {n: clean.residuals[codecs[n].site.point][documents, positions] for n in (0, second)}
    arms = [
        JointSource(codecs[n], i, 2.0, 0.25, codecs[n].record(here[n])[:, i], codecs[n].w_dec[i].expand(3, -1))
        for n, i in ((0, 7), (second, 9))
    ]
    found = joint_effects(slices, clean, *arms, documents, positions, [Reading(codecs[3], None)])[0]
    for s, (document, p) in enumerate(zip(documents.tolist(), positions.tolist(), strict=True)):
        for cell, (a, b) in enumerate([(2.0, 2.0), (2.0, 0.25), (0.25, 2.0), (0.25, 0.25)]):

            def clamp(x: torch.Tensor, layer: int, i: int, level: float, value: torch.Tensor | None, p: int = p) -> torch.Tensor:
                x = x.clone()
                now = codecs[layer].record(x[:, p])[:, i] if value is None else value
                x[:, p] += (level - now)[:, None] * codecs[layer].w_dec[i]
                return x

            edits = {codecs[0].site.hook: [lambda x, v=a, k=s: clamp(x, 0, 7, v, arms[0].values[k : k + 1])]}
            known = arms[1].values[s : s + 1] if second == 0 else None
            edits.setdefault(codecs[second].site.hook, []).append(lambda x, v=b, k=known: clamp(x, second, 9, v, k))
            hook = codecs[3].site.hook
            truth = codecs[3].encode(run_hooked(tiny.model, tiny.tokens[document][None], edits, [hook])[hook][0, p])
            torch.testing.assert_close(found[s, cell], truth, rtol=1e-4, atol=1e-4)


def test_equal_levels_of_one_source_give_a_contrast_of_exactly_zero() -> None:
    tiny = make_tiny("llama")
    slices = ModelSlices(tiny.model)
    clean = slices.residuals(tiny.tokens, [1, 2, 4], range(1, 4))
    documents, positions = torch.tensor([0, 1, 2, 3]), torch.tensor([3, 4, 5, 6])
    for second in (0, 1):
        a = JointSource(tiny.codecs[0], 3, 2.0, 2.0, torch.rand(4), tiny.codecs[0].w_dec[3].expand(4, -1))
        b = JointSource(tiny.codecs[second], 5, 1.5, 0.0, torch.rand(4), tiny.codecs[second].w_dec[5].expand(4, -1))
        cells = joint_effects(slices, clean, a, b, documents, positions, [Reading(tiny.codecs[3], None)])[0]
        assert np.count_nonzero(contrast(cells.double().numpy())) == 0
        assert cells.abs().sum() > 0


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (((0, "excite"), (0, "excite"), (1, "excited")), "one source twice"),
        (((0, "excite"), (1, "excited"), (1, "gated")), "must lie after both"),
        (((0, "excite"), (0, "inhibit"), (0, "branch")), "must lie after both"),
    ],
)
def test_triples_that_make_no_gate_are_refused(
    planted: PlantedModel, store: ActivationStore, cfg: Config, names: tuple[tuple[int, str], ...], message: str
) -> None:
    with pytest.raises(MeasureError, match=message):
        measure_gating(planted.model, planted.saes, [triple(planted, *names)], cfg, store=store, progress=False)


def pairs(planted: PlantedModel, *names: tuple[tuple[int, str], tuple[int, str]]) -> list[Pair]:
    return [Pair(ref(planted, *s), ref(planted, *t)) for s, t in names]


@pytest.fixture(scope="module")
def doses(planted: PlantedModel, store: ActivationStore, cfg: Config) -> DoseSet:
    wanted = pairs(
        planted,
        ((0, "excite"), (1, "excited")),
        ((0, "gate_a"), (1, "gated")),
        ((0, "push"), (1, "pushed")),
        ((0, "chain"), (2, "chain2")),
        ((0, "decoy"), (1, "decoyed")),
        ((0, "dead"), (1, "excited")),
    )
    return measure_doses(planted.model, planted.saes, wanted, cfg, store=store, progress=False)


def curve(planted: PlantedModel, doses: DoseSet, source: str, target: tuple[int, str]) -> pd.DataFrame:
    frame = doses.frame
    found = frame[(frame["src_id"] == ref(planted, 0, source).id) & (frame["tgt_id"] == ref(planted, *target).id)]
    assert found["level"].is_monotonic_increasing
    assert found["dose"].tolist() == ["low", "q0.1", "q0.25", "q0.5", "q0.75", "high", "1.5 x high", "2 x high"]
    return found


@pytest.mark.parametrize(("source", "target", "slope"), [("excite", (1, "excited"), 0.8), ("chain", (2, "chain2"), 0.63)])
def test_the_dose_curve_of_a_linear_edge_is_a_line(
    planted: PlantedModel, doses: DoseSet, source: str, target: tuple[int, str], slope: float
) -> None:
    found = curve(planted, doses, source, target)
    np.testing.assert_allclose(found["response"], slope * found["level"], rtol=1e-3, atol=1e-5)
    assert (found["r_squared"] > 0.99999).all()
    assert found["slope_low"].iloc[0] == pytest.approx(slope, rel=1e-3)
    assert found["slope_high"].iloc[0] == pytest.approx(slope, rel=1e-3)


def test_the_dose_curve_of_a_push_flattens_at_the_threshold(planted: PlantedModel, doses: DoseSet) -> None:
    found = curve(planted, doses, "push", (1, "pushed"))
    np.testing.assert_allclose(found["response"], -np.minimum(0.8 * found["level"], 1.0), atol=1e-4)
    assert found["slope_high"].iloc[0] == pytest.approx(0, abs=1e-5)
    assert found["slope_low"].iloc[0] < -0.1
    assert found["r_squared"].iloc[0] < 0.9


def test_doses_without_effect_and_sources_that_are_never_active(planted: PlantedModel, doses: DoseSet, tmp_path: Path) -> None:
    assert curve(planted, doses, "decoy", (1, "decoyed"))["response"].abs().max() < 1e-4
    assert doses.meta == {"pairs": 5, "left_out": {ref(planted, 0, "dead").id: "never active"}}
    doses.save(tmp_path / "doses.parquet")
    pd.testing.assert_frame_equal(DoseSet.load(tmp_path / "doses.parquet").frame, doses.frame)


def test_the_dose_at_the_high_level_is_the_edge_itself(planted: PlantedModel, store: ActivationStore, cfg: Config, doses: DoseSet) -> None:
    frame = all_pairs(planted, cfg)
    frame = frame[(frame["src_layer"] == 0) & (frame["src_index"] == ref(planted, 0, "gate_a").index)]
    measured = measure_interactions(planted.model, planted.saes, CandidateSet(frame, store), cfg, progress=False).frame
    edge = measured[measured["tgt_id"] == ref(planted, 1, "gated").id].iloc[0]
    high = doses.frame[(doses.frame["src_id"] == edge["src_id"]) & (doses.frame["dose"] == "high")].iloc[0]
    assert high["response"] == pytest.approx(edge["mean_strength"] * edge["clamp_high"], rel=1e-4)
    assert high["ci_low"] == pytest.approx(edge["ci_low"] * edge["clamp_high"], rel=1e-3)


def test_levels_that_are_none_are_refused(planted: PlantedModel, store: ActivationStore, cfg: Config) -> None:
    wanted = pairs(planted, ((0, "excite"), (1, "excited")))
    for levels in ({"quantiles": [0.0]}, {"multiples": [-1.0]}, {"quantiles": [], "multiples": []}):
        with pytest.raises(MeasureError, match="levels: got"):
            measure_doses(planted.model, planted.saes, wanted, cfg, store=store, progress=False, **levels)
    with pytest.raises(MeasureError, match="pairs: got none"):
        measure_doses(planted.model, planted.saes, [], cfg, store=store, progress=False)
    with pytest.raises(MeasureError, match="runs backwards"):
        measure_doses(planted.model, planted.saes, [Pair(wanted[0].target, wanted[0].source)], cfg, store=store, progress=False)
    with pytest.raises(MeasureError, match="L0_F999 does not exist"):
        measure_doses(planted.model, planted.saes, [Pair(FeatureRef(0, 999), wanted[0].target)], cfg, store=store, progress=False)


@pytest.fixture(scope="module")
def insertions(planted: PlantedModel, store: ActivationStore, cfg: Config) -> InsertionSet:
    wanted = pairs(
        planted,
        ((0, "excite"), (1, "excited")),
        ((0, "gate_a"), (1, "gated")),
        ((0, "skip"), (2, "skipped")),
        ((0, "decoy"), (1, "decoyed")),
        ((0, "dense"), (1, "dense1")),
        ((0, "dead"), (1, "excited")),
    )
    return measure_insertions(planted.model, planted.saes, wanted, cfg, store=store, progress=False)


def test_inserting_a_source_where_it_is_off(planted: PlantedModel, insertions: InsertionSet, tmp_path: Path) -> None:
    frame = insertions.frame.set_index("src_id")
    excite, skip = frame.loc[ref(planted, 0, "excite").id], frame.loc[ref(planted, 0, "skip").id]
    assert (excite["strength"], skip["strength"]) == (pytest.approx(0.8, rel=1e-3), pytest.approx(0.72, rel=1e-3))
    assert excite["active_strength"] == pytest.approx(0.8, rel=1e-3)
    assert excite["significant"]
    assert abs(excite["difference"]) < 1e-5
    gate = frame.loc[ref(planted, 0, "gate_a").id]  # without its partner it does next to nothing
    assert gate["difference"] < -0.1
    assert gate["p_difference"] < 0.05
    assert not frame.loc[ref(planted, 0, "decoy").id, "significant"]
    insertions.save(tmp_path / "insertions.parquet")
    pd.testing.assert_frame_equal(InsertionSet.load(tmp_path / "insertions.parquet").frame, insertions.frame)


def test_sources_that_are_always_on_cannot_be_inserted(planted: PlantedModel, store: ActivationStore, cfg: Config) -> None:
    again = ActivationStore.load(store.path)
    again.valid[:, 0] = False  # BOS, the one token that does not write it
    wanted = pairs(planted, ((0, "dense"), (1, "dense1")), ((0, "dead"), (1, "dense1")), ((0, "excite"), (1, "excited")))
    found = measure_insertions(planted.model, planted.saes, wanted, cfg, store=again, progress=False)
    assert found.meta["left_out"] == {
        ref(planted, 0, "dead").id: "never active",
        ref(planted, 0, "dense").id: "off in fewer than 6 test documents",
    }
    assert found.meta["family"] == 1


@pytest.mark.parametrize("shape", list(SHAPES))
def test_parts_add_up_to_the_jacobian_and_the_clamp_agrees_with_the_engine(shape: str) -> None:
    tiny = make_tiny(shape, "jumprelu")
    slices, clean, counted = setting(tiny)
    clamps, path = clamps_of(tiny), path_of(tiny)
    exact = jacobian_effects(slices, clean, 1, clamps, path, 0, counted)
    finite = clamp_effects(slices, clean, 1, clamps, path, 0, counted)
    linear = mediated_effects(slices, clean, 1, clamps, path, derivative=True)
    alone = mediated_effects(slices, clean, 1, clamps, path, derivative=False)
    for site in range(2):
        scale = float(exact[site].total.abs().max())
        torch.testing.assert_close(linear[site].total, exact[site].total, rtol=0, atol=1e-5 * scale)
        torch.testing.assert_close(sum(linear[site].parts.values()), exact[site].total, rtol=0, atol=1e-5 * scale)  # type: ignore[arg-type]
        torch.testing.assert_close(linear[site].parts["residual"], exact[site].copy, rtol=0, atol=1e-5 * scale)
        torch.testing.assert_close(alone[site].total, finite[site].total, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(alone[site].parts["residual"], finite[site].copy, rtol=1e-4, atol=1e-4)
        assert alone[site].remainder.abs().max() > 1e-3
    there = {name for name, part in linear[1].parts.items() if part.abs().max() > 1e-3 * scale}
    missing = {"attention_only": {"mlp"}, "no_norm": {"normalisation"}}.get(shape, set())
    assert set(PARTS) - there <= missing | {"pattern"}
    assert missing.isdisjoint(there)


@pytest.mark.parametrize("shape", ["gpt2", "llama"])
def test_parts_are_those_of_frozen_hooks(shape: str) -> None:
    """Against full forward passes whose patterns, values and scales are put back by TransformerLens' own hooks."""
    tiny = make_tiny(shape)
    slices, clean, _ = setting(tiny)
    clamps, (reading, _) = clamps_of(tiny), path_of(tiny)
    codec, block = reading.codec, "blocks.1"
    found = mediated_effects(slices, clean, 1, clamps, [reading], derivative=False)[0]
    pattern, value = f"{block}.attn.hook_pattern", f"{block}.attn.hook_v"
    scales = [f"{block}.ln1.hook_scale", f"{block}.ln2.hook_scale"]
    outs = {"attention": f"{block}.hook_attn_out", "pattern": f"{block}.hook_attn_out", "mlp": f"{block}.hook_mlp_out"}
    frozen = {"attention": [scales[0], pattern], "pattern": [scales[0], value], "mlp": [scales[1]]}
    for s, (document, p) in enumerate(zip(clamps.documents.tolist(), clamps.positions.tolist(), strict=True)):
        tokens = tiny.tokens[document].expand(2, -1)

        def clamp(x: torch.Tensor, shift: torch.Tensor = clamps.shift[s], p: int = p) -> torch.Tensor:
            x = x.clone()
            x[:, p] += shift
            return x

        rest = run_hooked(tiny.model, tokens, {}, [pattern, value, *scales, *set(outs.values()), codec.site.hook])
        pre = codec.preactivation(rest[codec.site.hook][:, p])
        for name, held in frozen.items():
            edits = {hook: [lambda x, clean=rest[hook]: clean] for hook in held} | {tiny.codecs[0].site.hook: [clamp]}
            moved = (run_hooked(tiny.model, tokens, edits, [outs[name]])[outs[name]] - rest[outs[name]])[:, p]  # type: ignore[arg-type]
            f = codec.activate(pre + moved @ codec.w_enc)
            torch.testing.assert_close(found.parts[name][s], f[0] - f[1], rtol=1e-3, atol=1e-4)


def test_a_clamp_of_no_width_has_no_parts() -> None:
    tiny = make_tiny("gemma2")
    slices, clean, _ = setting(tiny)
    clamps = clamps_of(tiny)
    same = Clamps(clamps.documents, clamps.positions, clamps.directions, clamps.high, clamps.high)
    for effect in mediated_effects(slices, clean, 1, same, path_of(tiny), derivative=False):
        assert all(torch.count_nonzero(part) == 0 for part in (effect.total, effect.remainder, *effect.parts.values()))


@pytest.fixture(scope="module")
def mediation(planted: PlantedModel, store: ActivationStore, cfg: Config) -> MediationSet:
    wanted = pairs(
        planted,
        ((0, "excite"), (1, "excited")),
        ((0, "pass"), (1, "pass")),
        ((0, "chain"), (2, "chain2")),
        ((0, "gate_a"), (1, "gated")),
        ((0, "decoy"), (1, "decoyed")),
        ((0, "dead"), (1, "decoyed")),
    )
    return measure_mediation(planted.model, planted.saes, wanted, cfg, store=store, progress=False)


def part(planted: PlantedModel, mediation: MediationSet, source: str, method: str) -> pd.DataFrame:
    frame = mediation.frame
    return frame[(frame["src_id"] == ref(planted, 0, source).id) & (frame["method"] == method)].set_index("component")


def test_planted_wires_go_through_the_mlp_and_pass_through_is_residual(planted: PlantedModel, mediation: MediationSet) -> None:
    for source, slope in (("excite", 0.8), ("chain", 0.63)):
        for method in ("jacobian", "clamping"):
            found = part(planted, mediation, source, method)
            assert found.loc["total", "strength"] == pytest.approx(slope, rel=1e-3)
            assert found.loc["mlp", "share"] == pytest.approx(1, rel=1e-3)
    through = part(planted, mediation, "pass", "jacobian")
    assert through.loc["residual", "share"] == pytest.approx(1, rel=1e-3)
    assert through["share"].drop(["total", "residual"]).abs().max() < 1e-3
    assert list(through.index) == ["total", *PARTS]
    assert list(part(planted, mediation, "pass", "clamping").index) == ["total", *PARTS, "remainder"]
    decoy = part(planted, mediation, "decoy", "clamping")
    assert decoy["share"].isna().all()
    assert mediation.meta == {"pairs": 5, "left_out": {ref(planted, 0, "dead").id: "never active"}}


def test_mediation_is_kept_and_read_back_and_bad_methods_refused(
    planted: PlantedModel, store: ActivationStore, cfg: Config, mediation: MediationSet, tmp_path: Path
) -> None:
    mediation.save(tmp_path / "mediation.parquet")
    pd.testing.assert_frame_equal(MediationSet.load(tmp_path / "mediation.parquet").frame, mediation.frame)
    with pytest.raises(MeasureError, match=r"methods: got \['live'\]"):
        measure_mediation(
            planted.model, planted.saes, pairs(planted, ((0, "excite"), (1, "excited"))), cfg, store=store, methods=["live"], progress=False
        )


def test_a_source_that_makes_the_model_overflow_is_left_out_of_every_measure(tmp_path: Path) -> None:
    tiny, settings = make_tiny("llama", n_docs=50), tiny_config()
    whole = collect_activations(tiny.model, tiny.saes, settings, tokens=tiny.tokens, path=tmp_path / "whole.h5")
    often_off = np.argsort(abs(whole.feature_frequencies[0] - 0.5))
    good, third, target = FeatureRef(0, int(often_off[0])), FeatureRef(0, int(often_off[1])), FeatureRef(1, 3)
    bad = FeatureRef(0, 33)
    store = overflowing(whole, 0, bad.index, tmp_path / "bad.h5")
    both = [Pair(good, target), Pair(bad, target)]
    reason = {bad.id: "the model gives NaN or infinity under its clamp"}
    for measure in (measure_doses, measure_insertions, measure_mediation):
        found = measure(tiny.model, tiny.saes, both, settings, store=store, progress=False)  # type: ignore[operator]
        assert found.meta["left_out"] == reason
        alone = measure(tiny.model, tiny.saes, both[:1], settings, store=store, progress=False)  # type: ignore[operator]
        pd.testing.assert_frame_equal(found.frame, alone.frame, rtol=1e-3, atol=1e-3)
    everything = [Triple(good, other, FeatureRef(1, j)) for other in (bad, third) for j in range(40)]
    gates = measure_gating(tiny.model, tiny.saes, everything, settings, store=store, progress=False)
    assert set(gates.meta["left_out"].values()) == {reason[bad.id]}
    assert all(bad.id in name for name in gates.meta["left_out"])
    assert (len(gates.meta["left_out"]), len(gates)) == (40, 40)
