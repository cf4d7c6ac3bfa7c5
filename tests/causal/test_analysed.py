"""The analysed model is built once, knows its sites, and is taken as it is where it fits."""

from __future__ import annotations

import pytest
import torch

from feature_graph.config import Config
from feature_graph.dictionaries import LoadingError, build_codecs
from feature_graph.interventions import AnalysedModel, InterventionError
from tests.support.tiny_models import make_tiny, tiny_saes


def test_it_holds_the_slices_and_the_codecs_of_each_site() -> None:
    tiny = make_tiny("gpt2")
    analysed = AnalysedModel.of(tiny.model, tiny.saes)
    assert analysed.model is tiny.model
    assert analysed.points == [1, 2, 4]
    assert [analysed.point(layer) for layer in (0, 1, 3)] == [1, 2, 4]
    assert (analysed.later(0), analysed.later(1), analysed.later(3)) == ([1, 3], [3], [])
    for layer, codec in build_codecs(tiny.model, tiny.saes).items():
        assert torch.equal(analysed.codecs[layer].w_enc, codec.w_enc)
    assert analysed.check(tiny.tokens) < 1e-5


def test_mean_norms_are_those_of_the_residual_stream() -> None:
    tiny = make_tiny("gpt2")
    found = AnalysedModel.of(tiny.model, tiny.saes).mean_norms(tiny.tokens)
    _, cache = tiny.model.run_with_cache(tiny.tokens)
    for layer, norm in found.items():
        assert norm == pytest.approx(float(cache[f"blocks.{layer}.hook_resid_post"][:, 1:].norm(dim=-1).mean()), rel=1e-5)


def test_an_analysed_model_is_taken_as_it_is_where_it_fits() -> None:
    tiny = make_tiny("gpt2")
    analysed = AnalysedModel.of(tiny.model, tiny.saes, Config(activity_threshold=0.5))
    assert AnalysedModel.of(analysed, dict(tiny.saes), Config(activity_threshold=0.5)) is analysed
    fewer = AnalysedModel.of(analysed, {1: tiny.saes[1]}, Config(activity_threshold=0.5))
    assert list(fewer.codecs) == [1]
    assert fewer.model is tiny.model
    other = AnalysedModel.of(analysed, tiny.saes)
    assert not torch.equal(other.codecs[1].activity_threshold, analysed.codecs[1].activity_threshold)


def test_what_cannot_be_analysed_is_refused() -> None:
    tiny = make_tiny("gpt2")
    with pytest.raises(InterventionError):
        AnalysedModel.of(torch.nn.Linear(2, 2), tiny.saes)
    with pytest.raises(LoadingError):
        AnalysedModel.of(tiny.model, tiny_saes([9]))
