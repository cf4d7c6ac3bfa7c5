"""Parts of an effect between sites of any kind: they add up, and dictionaries whose parts are known get them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from feature_graph.activations import collect_activations
from feature_graph.artifacts import FeatureRef, MediationSet, Pair, can_drive
from feature_graph.config import Config
from feature_graph.dictionaries import SiteCodec, build_site_codecs, read_tensors, tensor_hook, width_of
from feature_graph.interactions import MeasureError, measure_mediation
from feature_graph.interventions import (
    SITE_PARTS,
    Clamps,
    Mediated,
    ModelSlices,
    MovedTokens,
    Reading,
    mediated_effects,
    site_mediation,
    tapped_run,
    write_at,
)
from tests.architectures import VOCABULARY
from tests.support.component_dictionaries import copying_sae, linear_transcoder, mlp_as_transcoder
from tests.support.component_models import as_bridge, as_hooked

TOKENS = torch.randint(3, VOCABULARY, (4, 24), generator=torch.Generator().manual_seed(2))
DOCUMENTS, POSITIONS = torch.tensor([0, 1, 1, 3]), torch.tensor([2, 5, 17, 23])
MODELS = [
    (as_hooked, "gpt2"),
    (as_bridge, "gemma2"),
    (as_bridge, "olmo2 head_dim"),
    (as_hooked, "gpt_neox"),
    (as_hooked, "llama head_dim"),
]
KINDS = {"": "resid_post", ".z": "z", ".attn": "attn_out", ".mid": "resid_mid", ".mlpin": "mlp_in", ".mlp": "mlp_out"}


def dictionaries(model: Any, blocks: range = range(4)) -> dict[str, SiteCodec]:
    """Every kind of dictionary on every block."""
    parallel = bool(model.cfg.parallel_attn_mlp)
    saes = {}
    for block in blocks:
        saes |= {f"L{block}{site}": copying_sae(width_of(model, name)) for site, name in KINDS.items() if not (parallel and site == ".mid")}
        hooks = [tensor_hook(model, name, block) for name in ("mlp_in", "mlp_out")]
        reads, writes = (read_tensors(model, TOKENS, [hook])[hook].flatten(0, 1) for hook in hooks)
        skip = 0.1 * torch.randn(len(writes[0]), len(reads[0]), generator=torch.Generator().manual_seed(block))
        saes[f"L{block}.tc"] = linear_transcoder(reads, writes, "skip_transcoder", skip)
    return build_site_codecs(model, saes, TOKENS)


def mediated(slices: ModelSlices, source: SiteCodec, target: SiteCodec, between: list[SiteCodec]) -> Mediated:
    clean, _ = tapped_run(slices, TOKENS, [], range(slices.n_blocks))
    rows = source.w_dec[torch.tensor([1, 4, 7, 9])]
    return site_mediation(slices, clean, source.site, MovedTokens(DOCUMENTS, POSITIONS, rows), Reading(target, torch.arange(12)), between)


def scale(one: Mediated) -> float:
    return float(torch.stack(list(one.parts.values())).abs().max()) + 1e-3


@pytest.mark.parametrize(("form", "name"), MODELS)
def test_the_parts_add_up_between_all_kinds_of_sites(form: Any, name: str) -> None:
    model = form(name)
    slices, codecs = ModelSlices(model), dictionaries(model)
    pairs = [(codecs[s], codecs[t]) for s in codecs for t in codecs if can_drive(codecs[s].site.place, codecs[t].site.place)]
    inside = [pair for pair in pairs if pair[0].site.layer == pair[1].site.layer == 1]
    chosen = inside + [pair for pair in pairs if pair[0].site.layer <= 1][::7]
    assert len(chosen) > 30
    for source, target in chosen:
        for between in ([], list(codecs.values())):
            found = mediated(slices, source, target, between)
            assert tuple(found.parts) == SITE_PARTS
            where = f"{source.site.name} → {target.site.name}, {len(between)} between"
            assert float(found.remainder.abs().max()) < 2e-4 * scale(found), where


@pytest.mark.parametrize(("form", "name"), [(as_hooked, "gpt2"), (as_bridge, "gemma2")])
def test_between_residual_sites_they_are_those_of_the_blocks(form: Any, name: str) -> None:
    model = form(name)
    slices, codecs = ModelSlices(model), dictionaries(model, range(3))
    source, target = codecs["L0"], codecs["L2"]
    found = mediated(slices, source, target, [])
    clean = slices.residuals(TOKENS, [1, 3], range(1, 3))
    rows, none = source.w_dec[torch.tensor([1, 4, 7, 9])], torch.zeros(4)
    clamps = Clamps(DOCUMENTS, POSITIONS, rows, none, none)
    [blocks] = mediated_effects(slices, clean, 1, clamps, [Reading(target, torch.arange(12))], derivative=True)
    near = {"rtol": 1e-4, "atol": 1e-4 * scale(found)}
    assert torch.allclose(found.total, blocks.total, **near)
    assert torch.allclose(found.parts["direct"], blocks.parts["residual"], **near)
    moved = blocks.total - blocks.parts["residual"]
    assert torch.allclose(found.parts["attention"] + found.parts["mlp"], moved, **near)
    assert not any(found.parts[part].any() for part in ("features", "skip", "error"))


def test_what_a_dictionary_describes_exactly_goes_through_its_features() -> None:
    """A ReLU MLP is its own transcoder; an SAE that gives back what it takes is the attention output that it sits on."""
    model = as_hooked("gpt2 relu untied")
    slices = ModelSlices(model)
    saes: dict[str, Any] = {"L0": copying_sae(model.cfg.d_model), "L3": copying_sae(model.cfg.d_model)}
    saes |= {f"L{b}.tc": mlp_as_transcoder(model.blocks[b]) for b in (1, 2, 3)}
    saes |= {"L1.attn": copying_sae(model.cfg.d_model), "L2.z": copying_sae(width_of(model, "z"))}
    codecs = build_site_codecs(model, saes, TOKENS)
    plain = mediated(slices, codecs["L0"], codecs["L3"], [])
    found = mediated(slices, codecs["L0"], codecs["L3"], list(codecs.values()))
    near = {"rtol": 1e-3, "atol": 1e-4 * scale(plain)}
    assert torch.allclose(found.total, plain.total, **near)
    assert torch.allclose(found.parts["direct"], plain.parts["direct"], **near)
    assert float(found.parts["error"].abs().max()) < 2e-4 * scale(plain)
    assert not found.parts["mlp"].any()
    only_mlps = mediated(slices, codecs["L0"], codecs["L3"], [codecs[f"L{b}.tc"] for b in (1, 2, 3)])
    assert torch.allclose(only_mlps.parts["features"], plain.parts["mlp"], **near)
    assert torch.allclose(only_mlps.parts["attention"], plain.parts["attention"], **near)
    assert torch.allclose(found.parts["features"] + found.parts["attention"], plain.parts["mlp"] + plain.parts["attention"], **near)
    assert float((found.parts["attention"] - plain.parts["attention"]).abs().max()) > 1e-2 * scale(
        plain
    )  # blocks 1 and 2 have dictionaries


def test_inside_a_component_everything_is_direct() -> None:
    model = as_hooked("gpt2")
    slices, codecs = ModelSlices(model), dictionaries(model, range(1, 2))
    for source, target in (("L1.z", "L1.attn"), ("L1.mlpin", "L1.mlp")):
        assert write_at(codecs[source].site, 4) != write_at(codecs[target].site, 4)
        found = mediated(slices, codecs[source], codecs[target], list(codecs.values()))
        assert found.total.any()
        assert torch.equal(found.parts["direct"], found.total)


RUN = {"L0": "residual", "L1.attn": "attn_out", "L1.tc": "transcoder", "L2.tc": "transcoder", "L2": "residual", "L3.mlp": "mlp_out"}
TEXT = torch.randint(3, VOCABULARY, (36, 24), generator=torch.Generator().manual_seed(5))


def test_edges_of_a_run_with_components_are_split_on_request(tmp_path: Path) -> None:
    model = as_hooked("gpt2 relu untied")
    saes: dict[str, Any] = {name: copying_sae(model.cfg.d_model) for name, kind in RUN.items() if kind != "transcoder"}
    saes |= {f"L{b}.tc": mlp_as_transcoder(model.blocks[b]) for b in (1, 2)}
    sites = [{"layer": int(name[1]), "kind": kind} for name, kind in RUN.items()]
    cfg = Config(
        model_name="tiny", sites=sites, context_length=24, n_tokens=TEXT.numel(), n_intervention_samples=8, min_documents=3, n_placebo=0
    )
    store = collect_activations(model, saes, cfg, TEXT)
    often = {str(key): int(np.argmax(store.feature_frequencies[key])) for key in store.layers}
    pairs = [
        Pair(*(FeatureRef(int(name[1]), often[name], name.partition(".")[2]) for name in ends))
        for ends in (("L0", "L2"), ("L0", "L3.mlp"), ("L1.tc", "L2"), ("L1.attn", "L2.tc"))
    ]
    found = measure_mediation(model, saes, pairs, cfg, store=store, progress=False)
    found.save(tmp_path / "mediation.parquet")
    frame = MediationSet.load(tmp_path / "mediation.parquet").frame
    assert set(map(tuple, frame[["src_id", "tgt_id"]].to_numpy())) == {(pair.source.id, pair.target.id) for pair in pairs}
    assert set(frame["method"]) == {"jacobian"}
    for _, rows in frame.groupby(["src_id", "tgt_id"]):
        strength = rows.set_index("component")["strength"]
        assert list(strength.index) == ["total", *SITE_PARTS]
        assert strength.drop("total").sum() == pytest.approx(strength["total"], rel=1e-3, abs=1e-4 * strength.abs().max())
        assert abs(strength["error"]) < 1e-3 * (strength.abs().max() + 1e-3)  # every MLP with a dictionary is its own transcoder
    last = frame[frame["src_id"].str.startswith("L1.tc")].set_index("component")["strength"]
    assert last["mlp"] == 0  # between them lies the MLP of block 2, which has a dictionary
    with pytest.raises(MeasureError, match="only jacobian is split"):
        measure_mediation(model, saes, pairs, cfg, methods=["clamping"], store=store, progress=False)
