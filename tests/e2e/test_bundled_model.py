"""The bundled model: the same numbers as transformers, and dictionaries that describe it."""

from __future__ import annotations

import pytest
import torch

from feature_graph.config import Config
from feature_graph.dictionaries.quality import measure_quality
from feature_graph.dictionaries.tokens import valid_mask
from feature_graph.loading import describe_sites, load_model_and_saes
from feature_graph.loading.bundled import load_llama, model_folder
from feature_graph.loading.text import draw_contexts

pytestmark = [pytest.mark.model, pytest.mark.slow]


@pytest.fixture(scope="module")
def loaded():
    return load_model_and_saes(Config())


def test_logits_agree_with_transformers(loaded):
    model, _ = loaded
    tokens = torch.tensor(draw_contexts(model, loaded[1], Config(n_tokens=64, context_length=32)))
    with torch.no_grad():
        theirs = load_llama(model_folder())(tokens).logits
        assert torch.allclose(model(tokens), theirs, atol=1e-4, rtol=1e-5)


def test_it_knows_the_capital_of_france(loaded):
    model, _ = loaded
    with torch.no_grad():
        p = model(model.to_tokens("The capital of France is"))[0, -1].softmax(-1)
    assert model.tokenizer.decode([int(p.argmax())]) == " Paris"
    assert p.max() > 0.7


def test_contexts_are_read_without_bos_and_position_0_is_left_out(loaded):
    model, saes = loaded
    tokens = draw_contexts(model, saes, Config(n_tokens=512, context_length=64))
    assert tokens.shape == (8, 64)
    assert (tokens[:, 0] != model.tokenizer.bos_token_id).all()
    assert model.to_tokens("word")[0, 0] != model.tokenizer.bos_token_id
    valid = valid_mask(model, tokens, [site.hook for site in describe_sites(model, saes).values()])
    assert not valid[:, 0].any()
    assert valid[:, 1:].all()


def test_the_dictionaries_describe_the_model_as_published(loaded):
    model, saes = loaded
    found = measure_quality(model, saes, draw_contexts(model, saes, Config(n_tokens=1024)))
    assert sorted(found) == sorted(saes)
    for quality in found.values():
        assert quality.complaints() == []
        assert quality.explained_variance > 0.7
        assert 30 < quality.l0 < 70
