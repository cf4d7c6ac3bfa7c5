"""Derivatives between sites, written out: those that forward-mode differentiation of the whole run gives, in float64."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor

from feature_graph.artifacts import can_drive
from feature_graph.dictionaries import SiteCodec, TensorName
from feature_graph.interventions import DirectionTokens, ModelSlices, carry_site_directions, clean_for, site_tangents
from feature_graph.interventions.check import in_float64
from tests.support.component_models import TOKENS
from tests.support.component_sites import MODELS, SOURCES, all_codecs

DOCUMENTS, POSITIONS = torch.tensor([0, 1, 0, 1]), torch.tensor([4, 9, 22, 0])
OWNER = torch.tensor([0, 0, 1, 2, 2, 2, 3])  # some tokens carry several directions
FEATURES = torch.tensor([1, 5, 17, 2, 3, 9, 11])

#: Parallel blocks have no middle.
CASES = [(*model, source) for model in MODELS for source in (*SOURCES, "L1.mid") if (model[1], source) != ("gpt_neox", "L1.mid")]


@pytest.fixture(scope="module")
def codecs_of() -> dict[str, dict[str, SiteCodec]]:
    return {}


def close(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).norm() <= 1e-10 * expected.norm() + 1e-12)


@torch.no_grad()
@pytest.mark.parametrize(("form", "name", "source"), CASES)
def test_they_are_those_of_forward_mode(form: Any, name: str, source: str, codecs_of: Any) -> None:
    model, codecs = all_codecs(form, name, codecs_of)
    slices, site = in_float64(ModelSlices(model)), codecs[source].site
    targets = [codec.site for codec in codecs.values() if can_drive(site.place, codec.site.place)]
    assert {target.kind for target in targets} >= {"residual", "hook_z", "attn_out", "mlp_in", "mlp_out", "transcoder"}
    clean = clean_for(slices, TOKENS, site, targets)
    directions = codecs[source].w_dec[FEATURES].double()
    tokens = DirectionTokens(DOCUMENTS, POSITIONS, OWNER)
    at = (site.point, cast("TensorName", "resid_pre" if site.kind == "residual" else site.writes))
    reads = [
        (t.point - 1, cast("TensorName", "resid_post")) if t.kind == "residual" else (t.point, cast("TensorName", t.reads)) for t in targets
    ]
    expected = site_tangents(slices, clean, DOCUMENTS[OWNER], POSITIONS[OWNER], at, directions, reads)
    found = carry_site_directions(slices, clean, site, tokens, directions, targets)
    for target, arrivals, whole in zip(targets, found, expected, strict=True):
        assert close(arrivals.clean[OWNER], whole.value), target.name
        assert close(arrivals.arrived, whole.tangent), target.name
        if target.kind in ("hook_z", "attn_out", "mlp_out"):
            assert not arrivals.carried.any(), target.name
        elif target.kind == "residual":
            added = directions
            if site.kind == "hook_z":
                added = site_tangents(slices, clean, DOCUMENTS[OWNER], POSITIONS[OWNER], at, directions, [(1, "attn_out")])[0].tangent
            assert close(arrivals.carried, torch.zeros_like(added) if site.kind == "mlp_in" else added), target.name
