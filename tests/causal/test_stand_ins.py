"""Transcoders in the place of MLPs, for derivatives along directions: exact ones change nothing, and their parts are linear."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from feature_graph.dictionaries import SiteCodec, build_site_codecs
from feature_graph.interventions import DirectionTokens, InterventionError, ModelSlices, StandIn, carry_site_directions, clean_for
from tests.support import one_token
from tests.support.component_dictionaries import skip_transcoders
from tests.support.tiny_models import tiny_model

DOCUMENTS, POSITIONS = torch.tensor([0, 1, 2]), torch.tensor([4, 9, 11])


def arrived(slices: ModelSlices, tokens: Tensor, codecs: dict[str, SiteCodec], stand_ins: list[StandIn], at: DirectionTokens) -> Tensor:
    """At the last site, along the first features of the first."""
    source, *_, target = codecs.values()
    clean = clean_for(slices, tokens, source.site, [target.site])
    directions = source.w_dec[: len(at.owner)]
    (found,) = carry_site_directions(slices, clean, source.site, at, directions, [target.site], stand_ins)
    return found.arrived


@pytest.mark.parametrize("parallel", [False, True])
def test_exact_transcoders_give_what_the_mlps_give(parallel: bool) -> None:
    model = one_token.tiny_model(parallel)
    codecs = one_token.site_codecs(model, ("tc", ""))
    chosen = {name: codecs[name] for name in ("L0", "L1.tc", "L2.tc", "L2")}
    slices, at = ModelSlices(model), DirectionTokens.distinct(*(x.repeat(4) for x in one_token.AT))
    stand_ins = [StandIn(chosen[name]) for name in ("L1.tc", "L2.tc")]
    found, own, none = (
        arrived(slices, one_token.TOKENS, chosen, some, at)
        for some in (stand_ins, [], [replace(one, features=False, skip=False) for one in stand_ins])
    )
    torch.testing.assert_close(found, own, rtol=1e-6, atol=1e-6)
    assert (none - own).norm() > 0.1 * own.norm()


def test_parts_of_one_add_up() -> None:
    model = tiny_model("llama")
    rows = np.random.default_rng(3).integers(0, 50, (24, 16)).astype(np.int32)
    ids = torch.as_tensor(rows, dtype=torch.long)
    codecs = build_site_codecs(model, skip_transcoders(model, ids, (1, 2, 3)), ids)
    at, one = DirectionTokens(DOCUMENTS, POSITIONS, torch.arange(3)), StandIn(codecs["L2.tc"])
    parts = [(True, True), (True, False), (False, True), (False, False)]
    both, features, skip, none = (
        arrived(ModelSlices(model), ids, codecs, [replace(one, features=f, skip=s)], at) for f, s in parts
    )  # fmt: skip
    torch.testing.assert_close(both + none, features + skip, rtol=1e-4, atol=1e-5)
    assert min(float((x - none).norm()) for x in (features, skip)) > 1e-3 * float(none.norm())
    own = arrived(ModelSlices(model), ids, codecs, [], at)
    mine = arrived(ModelSlices(model), ids, codecs, [StandIn(codecs["L1.tc"]), StandIn(codecs["L3.tc"])], at)
    torch.testing.assert_close(mine, own)  # neither the source's own MLP nor the target's lies between


def test_only_transcoders_stand_in() -> None:
    codec = one_token.site_codecs(one_token.tiny_model(), ("mlp",))["L1.mlp"]
    with pytest.raises(InterventionError, match=r"L1\.mlp: got a dictionary of kind mlp_out; only a transcoder"):
        StandIn(codec)
