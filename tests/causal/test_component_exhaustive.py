"""``targets: all`` with dictionaries on components finds what measuring every pair finds, with the same numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from feature_graph.activations import collect_activations
from feature_graph.artifacts import ActivationStore, CandidateSet, InteractionSet, SiteError, with_sites
from feature_graph.candidates import window_of
from feature_graph.config import Config
from feature_graph.dictionaries import read_tensors, tensor_hook, width_of
from feature_graph.evaluation.planted import COMPONENT_VARIANTS
from feature_graph.graph import load_graph
from feature_graph.interactions import Exhaustive, MeasureError, measure_exhaustive, measure_interactions
from feature_graph.interactions.finish import add_q
from feature_graph.interventions import AnalysedModel
from feature_graph.pipeline import run as run_pipeline
from ingest.formats import CANDIDATES
from ingest.rundir import open_run
from ingest.validate import validate
from tests.support.component_dictionaries import copying_sae, linear_transcoder
from tests.support.component_models import TOKENS, as_bridge, as_hooked
from tests.support.mixed_run import NAMES, write_mixed_run

KEYS = ["src_id", "tgt_id"]
EFFECTS = ["mean_strength", "direct_strength", "later_strength", "copy_strength", "computed_strength", "preactivation_strength"]
OTHERS = [
    "se",
    "se_computed",
    "ci_low",
    "p_on_change",
    "confirm_strength",
    "confirm_computed",
    "standardised_effect",
    "floor",
    "achieved",
    "spill",
]
EXACT = ["src_layer", "tgt_layer", "span", "blocks", "n_samples", "n_documents", "n_later", "n_confirm", "interaction_type"]
SITES = [(0, "residual", "resid_post"), (1, "hook_z", "z"), (1, "attn_out", "attn_out"), (1, "transcoder", "mlp_in"),
         (2, "mlp_out", "mlp_out"), (2, "residual", "resid_post")]  # fmt: skip


@dataclass(frozen=True)
class Both:
    """One run measured in both ways."""

    model: AnalysedModel
    cfg: Config
    store: ActivationStore
    pairwise: InteractionSet
    found: Exhaustive

    def measure(self, folder: Path, **changes: Any) -> Exhaustive:
        """Every pair once more, with another configuration or other arguments."""
        arguments = {name: changes.pop(name) for name in ("sources",) if name in changes}
        cfg = self.cfg.model_copy(update=changes)
        return exhaustive(self.model, self.store, cfg, folder, **arguments)


def exhaustive(model: AnalysedModel, store: ActivationStore, cfg: Config, folder: Path, **arguments: Any) -> Exhaustive:
    cfg = Config(**cfg.model_dump() | {"targets": "all"})
    path = folder / "interactions.parquet"
    return measure_exhaustive(model, model.saes, store, cfg, path, parts_dir=folder / "parts", progress=False, **arguments)


def every_pair(model: AnalysedModel, cfg: Config) -> pd.DataFrame:
    rows = []
    for source, target in window_of(model.codecs, cfg):
        ends = np.ogrid[: model.codecs[source].d_sae, : model.codecs[target].d_sae]
        rows += [(source, i, target, j, 0.0, 0.0, 0, 0.0, "kept") for i in ends[0].ravel() for j in ends[1].ravel()]
    return with_sites(pd.DataFrame(rows, columns=CANDIDATES.given))


def random_run(name: str, form: Any = as_hooked, sites: Any = SITES) -> tuple[Any, dict[str, Any], Config, Any]:
    """A random model with dictionaries of several kinds, and a text."""
    model = form(name)
    saes: dict[str, Any] = {}
    for layer, kind, tensor in sites:
        site = f"L{layer}" + {"residual": "", "hook_z": ".z", "attn_out": ".attn", "transcoder": ".tc", "mlp_out": ".mlp"}[kind]
        if kind == "transcoder":
            hooks = [tensor_hook(model, which, layer) for which in ("mlp_in", "mlp_out")]
            read = read_tensors(model, TOKENS, hooks)
            saes[site] = linear_transcoder(*(read[hook].flatten(0, 1) for hook in hooks))
        else:
            saes[site] = copying_sae(width_of(model, tensor), scale=1.0)
    tokens = np.random.default_rng(3).integers(3, int(TOKENS.max()), (60, 16))
    cfg = Config(
        model_name="tiny", sites=[{"layer": layer, "kind": kind} for layer, kind, _ in sites], context_length=16, n_tokens=tokens.size,
        n_intervention_samples=16, min_documents=3, specificity_directions=0, position_horizon=2, significance_level=0.2, layer_window=2,
    )  # fmt: skip
    return model, saes, cfg, tokens


def planted_run() -> tuple[Any, dict[str, Any], Config, Any]:
    planted = COMPONENT_VARIANTS["skip"].build(7)
    cfg = planted.config(specificity_directions=0, layer_window=3, activity_threshold=1e-3)
    return planted.model, planted.saes, cfg, planted.tokens


@pytest.fixture(scope="module", params=["gpt2", "planted"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Both:
    given, saes, cfg, tokens = planted_run() if request.param == "planted" else random_run(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    model = AnalysedModel.of(given, saes, cfg, components=True)
    store = collect_activations(model, model.saes, cfg, tokens=tokens, path=folder / "activations.h5")
    pairwise = measure_interactions(model, model.saes, CandidateSet(every_pair(model, cfg), store), cfg, progress=False)
    return Both(model, cfg, store, pairwise, exhaustive(model, store, cfg, folder))


def edges_of(found: InteractionSet) -> pd.DataFrame:
    return found.frame[found.frame["significant"].astype(bool)].set_index(KEYS).sort_index()


def test_the_same_edges_with_the_same_numbers(both: Both) -> None:
    one, two = edges_of(both.pairwise), edges_of(InteractionSet.load(both.found.path))
    assert len(two) == both.found.n_edges > 20
    assert len(one.index.symmetric_difference(two.index)) <= 0.01 * len(one)  # rounding may move a pair over its level
    shared = one.index.intersection(two.index)
    one, two = one.loc[shared], two.loc[shared]
    for column in EFFECTS + OTHERS:
        spread = max(float(one[column].abs().median()), 1e-3)
        np.testing.assert_allclose(two[column], one[column], rtol=2e-3, atol=2e-3 * spread, err_msg=column)
    for column in EXACT:
        assert (one[column] == two[column]).all(), column
    assert (one["significant_by"] == two["significant_by"]).mean() > 0.98
    passed = two["q_value"] < 1
    np.testing.assert_allclose(two["q_value"][passed], one["q_value"][passed], rtol=0.05, atol=1e-12)


def test_weight_pairs_are_among_all_pairs_on_request(both: Both, tmp_path: Path) -> None:
    found, asked = both.measure(tmp_path, weight_pairs=True), both.cfg.model_copy(update={"weight_pairs": True})
    ends = {*window_of(both.model.codecs, asked)} - {*window_of(both.model.codecs, both.cfg)}
    names = {(str(s), str(t)) for s, t in ends}
    edges = edges_of(InteractionSet.load(found.path)).reset_index()
    own = edges[[(u.partition("_F")[0], v.partition("_F")[0]) in names for u, v in zip(edges["src_id"], edges["tgt_id"], strict=True)]]
    assert (found.n_tests > both.found.n_tests) == bool(ends) == bool(len(own))
    np.testing.assert_allclose(own["computed_strength"], 0, atol=1e-5)
    assert (own["direct_strength"] == own["mean_strength"]).all()


def test_families_and_what_was_left_out_are_those_of_all_pairs(both: Both) -> None:
    assert both.found.n_tests == len(both.pairwise) == both.found.meta["families"]["total"]
    assert both.found.meta["sources"]["left_out"] == both.pairwise.meta["sources"]["left_out"]
    assert both.found.meta["placebos"]["floors"].keys() == both.pairwise.meta["placebos"]["floors"].keys()


def test_one_family_of_all_effects_is_as_large(both: Both, tmp_path: Path) -> None:
    """With dictionaries on components a direct effect is tested apart where an MLP lies between."""
    cfg = both.cfg.model_copy(update={"correction_method": "bonferroni"})
    one = add_q(both.pairwise.frame, cfg).set_index(KEYS)
    two = InteractionSet.load(both.measure(tmp_path, correction_method="bonferroni").path).frame.set_index(KEYS)
    one = one.loc[two.index]
    for name, p in (("q_value", "p_value"), ("q_computed", "p_computed")):
        where = (two[name] < 1) & (two[name] > 0)
        assert where.any()
        own, other = one[where], two[where]
        # far out in the tail p multiplies the rounding of its effect: there the logarithms are close, and q is compared per p
        assert (np.log(other[p] / own[p]).abs() <= 1e-3 * np.log(own[p]).abs().clip(lower=1)).all(), p
        ratio = other[name] / own[name] * own[p] / other[p]  # a list does not count the direct effect of a pair whose effects are all 0
        assert ratio.between(1 - 1e-3, 1.03).all(), name


def test_random_directions_set_the_same_floors_in_both_ways(both: Both, tmp_path: Path) -> None:
    """Of what each site writes: the floor of a target differs from site to site, and is the same for all sources of one."""
    cfg = both.cfg.model_copy(update={"n_placebo": 12})
    source = window_of(both.model.codecs, cfg)[0][0]
    pairs = every_pair(both.model, cfg)
    few = pairs[pairs["src_site"] == str(source)] if len(pairs) > 10_000 else pairs
    one = measure_interactions(both.model, both.model.saes, CandidateSet(few, both.store), cfg, progress=False).frame.set_index(KEYS)
    two = InteractionSet.load(both.measure(tmp_path, n_placebo=12).path).frame.set_index(KEYS)
    shared = one.index.intersection(two.index)
    assert len(shared) > 5
    one, two = one.loc[shared], two.loc[shared]
    for name in ("floor", "floor_direct", "floor_later", "floor_computed", "placebo_quantile"):
        np.testing.assert_allclose(two[name], one[name], rtol=2e-3, atol=1e-5, err_msg=name)
    assert (one["floor"] >= cfg.min_effect).all()
    assert (one["floor"] > cfg.min_effect).any()
    assert (one["mean_strength"].abs() >= one["floor"])[one["significant_by"].str.contains("total")].all()


def test_placebos_are_as_long_as_what_a_site_writes(tmp_path: Path) -> None:
    """Heads of this model are wider than the stream together."""
    given, saes, cfg, tokens = random_run("llama head_dim", as_bridge, [site for site in SITES if site[1] != "transcoder"])
    cfg = cfg.model_copy(update={"n_placebo": 3})
    model = AnalysedModel.of(given, saes, cfg, components=True)
    assert model.codecs["L1.z"].w_dec.shape[1] != model.codecs["L1.attn"].w_dec.shape[1]  # type: ignore[index]
    store = collect_activations(model, model.saes, cfg, tokens=tokens, path=tmp_path / "activations.h5")
    pairs = every_pair(model, cfg)
    few = pairs[(pairs["src_site"] == "L1.z") & (pairs["src_index"] < 8) & (pairs["tgt_index"] < 8)]
    frame = measure_interactions(model, model.saes, CandidateSet(few, store), cfg, progress=False).frame
    assert (frame["floor"] > cfg.min_effect).any()
    assert frame["placebo_quantile"].between(0, 1).all()


def test_chosen_sources_are_named_by_their_sites(both: Both, tmp_path: Path) -> None:
    source = InteractionSet.load(both.found.path).frame["src_id"].iloc[-1]
    site, _, index = source.rpartition("_F")
    some = both.measure(tmp_path, sources={site: [int(index)]})
    assert some.n_sources == 1
    assert set(InteractionSet.load(some.path).frame["src_id"]) == {source}
    with pytest.raises(MeasureError, match=f"{site}_F99999 does not exist"):
        both.measure(tmp_path, sources={site: [99999]})
    with pytest.raises(SiteError, match="expected a layer with the kind of site"):
        both.measure(tmp_path, sources={"tc": [1]})


def test_a_run_that_was_cut_off_goes_on_with_the_same_bytes(both: Both, tmp_path: Path) -> None:
    whole = both.measure(tmp_path)
    expected = whole.path.read_bytes()
    parts = sorted((tmp_path / "parts").glob("*.parquet"))
    assert {part.stem.partition("-")[0] for part in parts} == {str(key) for key, _ in window_of(both.model.codecs, both.cfg)}
    for part in parts[1:4]:
        part.unlink()
    assert both.measure(tmp_path).path.read_bytes() == expected


def test_every_stage_goes_on_from_an_exhaustive_run(tmp_path: Path) -> None:
    cfg = write_mixed_run(tmp_path, targets="all", max_edges_per_target=6, significance_level=0.3)
    run_pipeline(cfg)
    root = Path(cfg.output_dir)
    found = InteractionSet.load(root / "interactions.parquet")
    assert found.frame["significant"].all()
    assert found.frame.groupby("tgt_id").size().max() <= 6
    graph = load_graph(root / "graph.json")
    assert {node.rpartition("_F")[0] for node in graph} == set(NAMES)
    assert json.loads((root / "graph.json").read_text())["graph"]["tested"] == found.meta["families"]["total"]
    checked = validate(open_run(root))
    assert (checked.rows, checked.edges) == (len(found), len(found))
    assert (root / "report.html").is_file()
