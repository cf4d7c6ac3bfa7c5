"""Shares of what is computed between transcoders of a band, on a random model of four blocks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from feature_graph.dictionaries import build_site_codecs
from feature_graph.interventions import read_at
from scripts.band.arrivals import CleanText
from scripts.band.shares import POOLED, part_shares
from tests.support.component_dictionaries import skip_transcoders
from tests.support.tiny_models import tiny_model

BLOCKS = (1, 2, 3)


def test_shares_add_up_and_between_neighbours_only_attention_computes() -> None:
    model = tiny_model("llama")
    rows = np.random.default_rng(3).integers(0, 50, (24, 16)).astype(np.int32)
    ids = torch.as_tensor(rows, dtype=torch.long)
    codecs = {codec.site.layer: codec for codec in build_site_codecs(model, skip_transcoders(model, ids, BLOCKS), ids).values()}
    reads = [read_at(codec.site, int(model.cfg.n_layers)) for codec in codecs.values()]
    found = part_shares(CleanText(model, rows, reads, BLOCKS), codecs, seed=1)
    assert {source: list(shares) for source, shares in found.items()} == {POOLED: ["1", "2"], "1": ["1", "2"], "2": ["1"]}
    assert found["1"]["2"] == found[POOLED]["2"]
    assert found[POOLED]["1"]["attention"]["n"] == found["1"]["1"]["attention"]["n"] + found["2"]["1"]["attention"]["n"]
    shares = found[POOLED]
    for parts in shares.values():
        assert sum(part["value"] for part in parts.values()) == pytest.approx(1, abs=1e-6)
    assert shares["1"]["attention"]["value"] == pytest.approx(1, abs=1e-6)
    assert all(abs(shares["2"][name]["value"]) > 1e-3 for name in ("features", "skip", "error"))
    features = shares["2"]["features"]
    assert features["ci_low"] < features["value"] < features["ci_high"]
