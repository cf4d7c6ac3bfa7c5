"""Side effects and counter-steers on a planted model whose every effect is known, and their output against plain torch hooks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch

from feature_graph.activations import collect_activations
from feature_graph.artifacts import CONFIRM, ActivationStore, feature_id
from feature_graph.evaluation.planted import PlantedModel, Wire, Wiring, planted_model
from feature_graph.interventions import AnalysedModel
from feature_graph.steering import (
    Compensation,
    CompensationOptions,
    SideEffects,
    SideEffectsOptions,
    SteeringError,
    compensate,
    side_effects,
)
from feature_graph.steering.counter_steers import constant_delta
from feature_graph.steering.experiment import SteeringExperiment

#: push → wanted and unwanted; brake and both drive unwanted too, both also wanted; late is reached over two sites.
WIRES = (
    Wire(1, "push", "wanted", 0.8),
    Wire(1, "push", "unwanted", 0.5),
    Wire(1, "brake", "unwanted", -0.6),
    Wire(1, "both", "unwanted", 0.9),
    Wire(1, "both", "wanted", 0.9),
    Wire(2, "unwanted", "late", 0.7),
    Wire(1, "shove", "gone", -0.8),
)
FIRST = ("push", "brake", "both", "shove")


@pytest.fixture(scope="module")
def world() -> PlantedModel:
    filler = [tuple(f"filler{site}_{k}" for k in range(6)) for site in range(3)]
    sites = ((*FIRST, *filler[0]), ("wanted", "unwanted", "gone", *filler[1]), ("late", *filler[2]))
    base = {1: {"wanted": 3.0, "unwanted": 4.0, "gone": 1.0}, 2: {"late": 1.0}}
    driven = (*FIRST, *(name for group in filler for name in group))
    return planted_model(seed=3, wiring=Wiring(sites, WIRES, (), (), base, driven, ()))


@pytest.fixture(scope="module")
def store(world: PlantedModel, tmp_path_factory: pytest.TempPathFactory) -> ActivationStore:
    path = tmp_path_factory.mktemp("side") / "activations.h5"
    return collect_activations(world.model, world.saes, world.config(), world.tokens, path=path)


@pytest.fixture(scope="module")
def truth(world: PlantedModel) -> nx.DiGraph:
    G = nx.DiGraph()
    for (source, target), effect in world.edges.items():
        span = target[0] - source[0]
        G.add_edge(
            feature_id(*source), feature_id(*target), strength=effect.total, total=effect.total, direct=effect.direct, se=0.0, span=span,
            n_documents=60, structural=span == 1 or bool(effect.direct),
        )  # fmt: skip
    return G


def named(world: PlantedModel, name: str) -> str:
    return feature_id(*next(key for site in range(3) for key in world.wiring.keys(site, name)))


@pytest.fixture(scope="module")
def found(world: PlantedModel, store: ActivationStore, truth: nx.DiGraph) -> SideEffects:
    return side_effects(world.model, world.saes, truth, store, named(world, "push"), 0.5, world.config(), SideEffectsOptions(horizon=3))


def test_every_later_feature_moves_as_forecast(found: SideEffects, world: PlantedModel, truth: nx.DiGraph) -> None:
    features = found.features.set_index("feature")
    assert set(features.index) == {n for n in truth if not n.startswith("L0_")}
    assert np.abs(features["measured"] - features["forecast"]).max() < 1e-3
    for name, change, hop in (("wanted", 0.4, 1), ("unwanted", 0.25, 1), ("late", 0.175, 2), ("gone", 0.0, 0)):
        row = features.loc[named(world, name)]
        assert (row["measured"], row["hop"]) == (pytest.approx(change, abs=1e-3), hop)
    assert set(found.table()["feature"]) == {named(world, name) for name in ("wanted", "unwanted", "late")}
    assert found.agreement().slope == pytest.approx(1.0, abs=1e-3)
    assert features["placebo"].max() < 0.1
    assert found.below_zero == 0
    assert found.measured[named(world, "late")] == pytest.approx(0.175, abs=1e-3)


def test_a_feature_that_is_switched_off_is_told_apart_from_its_forecast(
    world: PlantedModel, store: ActivationStore, truth: nx.DiGraph
) -> None:
    """gone = max(0, 1 − 0.8 shove): pushed up by 3, it is off everywhere; the forecast, linear, asks for more."""
    result = side_effects(
        world.model, world.saes, truth, store, named(world, "shove"), 3.0, world.config(), SideEffectsOptions(n_placebo=0)
    )
    row = result.features.set_index("feature").loc[named(world, "gone")]
    assert row["forecast"] == pytest.approx(-2.4)
    assert (row["on_after"], row["turned_on"]) == (0, 0)
    assert row["turned_off"] == row["on_before"] > 0
    assert row["measured"] == pytest.approx(-row["before"], abs=1e-6)
    assert np.isnan(row["placebo"])


def test_a_push_below_zero_is_counted(world: PlantedModel, store: ActivationStore, truth: nx.DiGraph) -> None:
    result = side_effects(
        world.model, world.saes, truth, store, named(world, "push"), -100.0, world.config(), SideEffectsOptions(n_placebo=0)
    )
    assert result.below_zero == 1


def by_hooks(world: PlantedModel, store: ActivationStore, source: str, delta: float, seed: int) -> pd.DataFrame:
    """KL and the next token's log-probability with nothing but TransformerLens hooks, over whole contexts."""
    analysed = AnalysedModel.of(world.model, world.saes, world.config())
    experiment = SteeringExperiment(analysed, nx.DiGraph([(source, source)]), store, world.config(), source, 3)
    samples = experiment.samples.samples(experiment.layer, experiment.index, CONFIRM, 24)
    documents = experiment.samples.documents[CONFIRM][samples.documents]
    sae = world.saes[experiment.layer]
    rows = []
    for document, position in zip(documents, samples.positions, strict=True):
        tokens = torch.from_numpy(store.tokens[document : document + 1])

        def push(x: torch.Tensor, hook: Any, position: int = position) -> torch.Tensor:
            x[:, position] += delta * sae.W_dec[experiment.index]
            return x

        with torch.no_grad():
            clean = world.model(tokens)[0].double().log_softmax(-1)
            steered = world.model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{experiment.layer}.hook_resid_post", push)])[0]
        steered = steered.double().log_softmax(-1)
        kl = torch.nn.functional.kl_div(clean, steered, reduction="none", log_target=True).sum(-1)
        for offset in range(4):
            at = position + offset
            if at < tokens.shape[1] and (offset == 0 or store.valid[document, at]):
                known = at + 1 < tokens.shape[1] and store.valid[document, at + 1]
                change = float((steered - clean)[at, tokens[0, at + 1]]) if known else np.nan
                other = float(steered[at].argmax() != clean[at].argmax())
                rows.append({"offset": offset, "kl": float(kl[at]), "next_change": change, "top_changed": other})
    return pd.DataFrame(rows).groupby("offset").mean()


def test_the_output_is_that_of_plain_hooks(found: SideEffects, world: PlantedModel, store: ActivationStore) -> None:
    independent = by_hooks(world, store, named(world, "push"), 0.5, 0)
    output = found.output.set_index("offset")
    assert list(output.index) == list(independent.index)
    assert output.loc[0, "kl"] > 1e-4
    for name in ("kl", "next_change", "top_changed"):
        np.testing.assert_allclose(output[name], independent[name], atol=2e-6, rtol=1e-4)
    assert found.kl == output.loc[0, "kl"]
    assert (output["kl_low"] <= output["kl"]).all()
    assert (output["kl"] <= output["kl_high"]).all()


def test_tokens_gained_and_lost_add_up(found: SideEffects) -> None:
    here = found.tokens[found.tokens["when"] == "here"]
    gained, lost = (here[here["side"] == side] for side in ("gained", "lost"))
    assert (gained["change"] > 0).all()
    assert (lost["change"] < 0).all()
    assert gained["change"].is_monotonic_decreasing
    np.testing.assert_allclose(here["p_after"] - here["p_before"], here["change"], atol=1e-12)
    assert here["text"].str.startswith("token ").all()  # the planted model has no tokenizer


def test_side_effects_are_kept_as_json(found: SideEffects, tmp_path: Path) -> None:
    again = SideEffects.load(found.save(tmp_path / "deep" / "side.json"))
    assert again.to_dict() == found.to_dict()
    pd.testing.assert_frame_equal(again.features, found.features)
    assert "Steering L0_F0 by +0.5" in again.summary()
    with pytest.raises(SteeringError, match="expected 'compensation', version 1"):
        Compensation.load(tmp_path / "deep" / "side.json")
    (tmp_path / "no.json").write_text("{")
    with pytest.raises(SteeringError, match="not JSON"):
        SideEffects.load(tmp_path / "no.json")


def cancelled(
    world: PlantedModel, store: ActivationStore, truth: nx.DiGraph, names: list[str], delta: float, **options: Any
) -> Compensation:
    wanted = options.pop("target", named(world, "wanted"))
    return compensate(
        world.model, world.saes, truth, store, named(world, "push"), delta, [named(world, n) for n in names], world.config(),
        CompensationOptions(target=wanted, **options),
    )  # fmt: skip


def test_counter_steers_cancel_exactly_what_is_linear(world: PlantedModel, store: ActivationStore, truth: nx.DiGraph) -> None:
    """push +0.5 lifts unwanted by 0.25; brake by 0.25 / 0.6 takes it back, and leaves wanted alone, which both would not."""
    result = cancelled(world, store, truth, ["unwanted"], 0.5, ridge=0.0, at_most=1)
    (counter,) = result.counters.to_dict("records")
    assert counter["feature"] == named(world, "brake")
    assert counter["delta"] == pytest.approx(0.25 / 0.6)
    assert counter["realised"] == pytest.approx(counter["planned"], rel=1e-5)
    assert counter["turned_off"] == 0
    effects = result.effects.set_index("feature")
    side, target = effects.loc[named(world, "unwanted")], effects.loc[named(world, "wanted")]
    assert side["before"] == pytest.approx(0.25, abs=1e-3)
    assert side["after"] == pytest.approx(0.0, abs=1e-4)
    assert side["forecast_after"] == pytest.approx(0.0, abs=1e-9)
    assert target["after"] == pytest.approx(0.4, abs=1e-3)
    assert target["after"] == pytest.approx(target["forecast_after"], abs=1e-3)
    assert result.kept == pytest.approx(1.0, abs=1e-4)
    assert result.remaining < 1e-3
    assert result.verdict.startswith("helped")
    assert {"kl_before", "kl_after", "kl_change"} <= set(result.output)


def test_two_sites_away_and_by_what_was_measured(world: PlantedModel, store: ActivationStore, truth: nx.DiGraph) -> None:
    for aim in ("forecast", "measured"):
        result = cancelled(world, store, truth, ["late"], 0.5, ridge=0.0, aim=aim)
        assert result.remaining < 0.02
        assert result.verdict.startswith("helped")
        assert result.kept == pytest.approx(1.0, abs=0.02)


def test_a_named_feature_may_be_pushed_back_itself(world: PlantedModel, store: ActivationStore, truth: nx.DiGraph) -> None:
    result = cancelled(world, store, truth, ["unwanted"], 0.5, ridge=0.0, themselves=True)
    assert result.remaining < 1e-3
    assert set(result.counters["feature"]) <= {named(world, "unwanted"), named(world, "brake")}


def test_what_cannot_go_below_off_is_clipped_and_the_help_is_partial(
    world: PlantedModel, store: ActivationStore, truth: nx.DiGraph
) -> None:
    """push −3 lowers unwanted by 1.5. Without both (which moves the target) only brake is left; turning it off is not enough."""
    G = nx.DiGraph(truth)
    G.remove_node(named(world, "both"))
    result = cancelled(world, store, G, ["unwanted"], -3.0, ridge=0.0)
    (counter,) = result.counters.to_dict("records")
    assert counter["feature"] == named(world, "brake")
    assert counter["turned_off"] > 0
    assert -0.05 >= counter["realised"] > counter["delta"]
    assert 0 < result.remaining < 1


def test_a_wrong_graph_is_found_out(world: PlantedModel, store: ActivationStore, truth: nx.DiGraph) -> None:
    """With the sign of brake wrong, the counter-steer doubles what it should cancel, and the verdict says so."""
    G = nx.DiGraph(truth)
    G.remove_node(named(world, "both"))
    edge = G.edges[named(world, "brake"), named(world, "unwanted")]
    edge.update({k: -edge[k] for k in ("strength", "total", "direct")})
    result = cancelled(world, store, G, ["unwanted"], -0.5, ridge=0.0)
    assert result.effects["forecast_after"].iloc[0] == pytest.approx(0.0, abs=1e-9)
    assert result.remaining == pytest.approx(2.0, abs=0.05)
    assert result.verdict == "made it worse"
    assert not result.helped


def test_a_counter_steer_that_costs_the_target_is_called_so(world: PlantedModel, store: ActivationStore, truth: nx.DiGraph) -> None:
    G = nx.DiGraph(truth)
    G.remove_node(named(world, "brake"))
    G.edges[named(world, "both"), named(world, "wanted")].update(strength=0.0, total=0.0, direct=0.0)
    result = cancelled(world, store, G, ["unwanted"], -0.5, ridge=0.0)
    assert set(result.counters["feature"]) == {named(world, "both")}
    assert result.kept == pytest.approx((0.4 - 0.9 * 0.25 / 0.9) / 0.4, abs=0.02)
    assert "the target is weakened too" in result.costs
    assert result.verdict.startswith("helped, but the target is weakened too")


def test_where_the_graph_offers_nothing_it_is_said(world: PlantedModel, store: ActivationStore, truth: nx.DiGraph, tmp_path: Path) -> None:
    G = nx.DiGraph(truth)
    G.remove_nodes_from([named(world, "brake"), named(world, "both")])
    result = cancelled(world, store, G, ["unwanted"], 0.5)
    assert result.verdict == "no counter-steers"
    assert np.isnan(result.remaining)
    assert "offers no counter-steer" in result.summary()
    again = Compensation.load(result.save(tmp_path / "c.json"))
    assert again.to_dict() == result.to_dict()
    assert again.counters.empty


def test_the_target_is_the_largest_forecast_effect_if_none_is_named(world: PlantedModel, store: ActivationStore, truth: nx.DiGraph) -> None:
    result = cancelled(world, store, truth, ["unwanted"], 0.5, target=None)
    units = {n: float(store.mean_activations[site][world.key(site, n)[1]]) for site, n in ((1, "wanted"), (2, "late"))}
    assert result.target == named(world, "wanted" if 0.4 / units["wanted"] > 0.175 / units["late"] else "late")
    assert "target" in result.summary()


@pytest.mark.parametrize(("source", "delta", "message"), [
    ("L0_F99", 1.0, "source: 'L0_F99' is not among the .* features of the graph; near: L0_F"),
    ("nothing", 1.0, "source: 'nothing' is not among"),
    ("L0_F0", 0.0, "delta: got 0.0, expected a finite number of activation units other than 0"),
    ("L0_F0", float("nan"), "delta: got nan"),
    ("L0_F0", float("inf"), "delta: got inf"),
])  # fmt: skip
def test_what_cannot_be_steered_is_refused_before_any_work(
    store: ActivationStore, truth: nx.DiGraph, source: str, delta: float, message: str
) -> None:
    for refuse in (
        lambda: side_effects(None, {}, truth, store, source, delta),
        lambda: compensate(None, {}, truth, store, source, delta, ["L1_F1"]),
    ):
        with pytest.raises(SteeringError, match=message):
            refuse()


@pytest.mark.parametrize(("names", "options", "message"), [
    ([], {}, "named: got .*expected at least one feature"),
    (["L1_F88"], {}, "named: 'L1_F88' is not among"),
    (["L0_F1"], {}, "expected features of layers after that of L0_F0"),
    (["L1_F1"], {"target": "L1_F1"}, "a feature that is not among those to be cancelled"),
    (["L1_F1"], {"target": "L9_F1"}, "target: 'L9_F1' is not among"),
    (["L1_F2"], {}, "forecasts no change of L1_F2 by a steer of L0_F0"),
    (["L1_F1"], {"aim": "hope"}, "aim: got 'hope', expected forecast or measured"),
    (["L1_F1"], {"at_most": 0}, "at_most: got 0"),
    (["L1_F1"], {"ridge": -1.0}, "ridge: got -1.0"),
    (["L1_F1"], {"reach": 0.0}, "reach: got 0.0"),
])  # fmt: skip
def test_what_cannot_be_cancelled_is_refused_before_any_work(
    store: ActivationStore, truth: nx.DiGraph, names: list[str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SteeringError, match=message):
        compensate(None, {}, truth, store, "L0_F0", 0.5, names, options=CompensationOptions(**options))


def test_a_graph_of_other_layers_and_too_few_documents_are_refused(world: PlantedModel, store: ActivationStore, truth: nx.DiGraph) -> None:
    with pytest.raises(SteeringError, match=r"features of layers \[2\]; dictionaries were given for \[0, 1\]"):
        side_effects(world.model, {n: world.saes[n] for n in (0, 1)}, truth, store, "L0_F0", 0.5)
    with pytest.raises(SteeringError, match="documents that are kept for this; expected 1000 or more"):
        side_effects(world.model, world.saes, truth, store, "L0_F0", 0.5, options=SideEffectsOptions(min_documents=1000))
    with pytest.raises(SteeringError, match="horizon: got -1"):
        side_effects(world.model, world.saes, truth, store, "L0_F0", 0.5, options=SideEffectsOptions(horizon=-1))


def test_one_delta_for_all_samples_has_the_planned_mean() -> None:
    activity = np.array([0.0, 1.0, 3.0, 4.0])
    for change in (-0.5, -1.2, -2.0, 0.7):
        delta = constant_delta(change, activity)
        assert (np.maximum(delta, -activity).mean() if change < 0 else delta) == pytest.approx(change)
    assert constant_delta(-1.0, activity) == pytest.approx(-1.5)
