"""A million tokens drawn from the bundled text: each at most once, and from everywhere alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from feature_graph.config import Config
from feature_graph.loading.bundled import model_folder
from feature_graph.loading.text import Text, cut_contexts, load_texts

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.model]

CONTEXT, N_DOCS = 128, 8_000


def test_no_context_comes_twice_and_both_halves_have_their_share() -> None:
    tokenizer = AutoTokenizer.from_pretrained(model_folder())
    texts = load_texts(Config())
    rows = cut_contexts(texts, tokenizer, N_DOCS, CONTEXT, prepend_bos=False, seed=3)
    assert rows.shape == (N_DOCS, CONTEXT)
    assert len(np.unique(rows, axis=0)) == N_DOCS
    halves = texts[::2], texts[1::2]
    sizes = [_tokens(half, tokenizer) for half in halves]
    share = sizes[0] / sum(sizes)
    bodies = ["\n".join(text.body for text in half) for half in halves]
    found = [[tokenizer.decode(row[20:50]).strip() in body for body in bodies] for row in rows[::4]]
    told = np.array([one for one, other in found if one != other])
    assert len(told) > 0.8 * len(found)
    assert abs(told.mean() - share) < 4.5 * (share * (1 - share) / len(told)) ** 0.5


def _tokens(texts: list[Text], tokenizer: Any) -> int:
    return sum(map(len, tokenizer([text.body for text in texts], add_special_tokens=False, verbose=False)["input_ids"]))
