"""Tokens as the caller gives them: what cannot be measured rightly is refused in one sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from feature_graph.activations import CollectError
from feature_graph.activations.inputs import contexts_of
from feature_graph.config import Config
from tests.tiny import tiny_model
from tests.word_tokens import BOS, EOS, UNK, words

HOOKS = ["blocks.2.hook_resid_pre"]
PAD = 60  # w57 of sixty words


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def given(model, tokens, **special):
    model.tokenizer = words(61, **special) if special else None
    return contexts_of(model, {}, Config(), tokens, HOOKS)


def rows(*marked):
    """Rows of eight ordinary tokens, some of them replaced."""
    found = np.tile(np.arange(10, 18), (len(marked), 1))
    for row, places in enumerate(marked):
        for place, token in places.items():
            found[row, place] = token
    return found


NOTHING = {}


@pytest.mark.parametrize(
    ("special", "places", "where"),
    [
        ({"pad_token": "w57"}, {0: PAD}, "positions 0 to 0"),
        ({"pad_token": "w57"}, {0: PAD, 1: PAD, 2: BOS}, "positions 0 to 1"),
        ({"pad_token": "w57"}, {3: PAD, 7: PAD}, "positions 3 to 3"),
        ({"pad_token": "</s>"}, {0: EOS, 1: EOS}, "positions 0 to 1"),
        ({"pad_token": "</s>"}, {4: EOS, 5: EOS}, "positions 4 to 5"),
        ({"pad_token": "<s>"}, {0: BOS, 1: BOS, 2: BOS}, "positions 0 to 2"),
        ({"pad_token": "</s>", "bos_token": "</s>"}, {0: EOS, 1: EOS}, "positions 0 to 1"),
        ({"pad_token": "</s>", "bos_token": "</s>"}, {3: EOS, 4: EOS, 5: EOS}, "positions 3 to 5"),
        ({"pad_token": "<unk>"}, {0: UNK, 1: UNK}, "positions 0 to 1"),
    ],
)
def test_padding_before_text_is_refused(model, special, places, where):
    with pytest.raises(CollectError, match=rf"row 1 has padding .* before text, at {where}, .* pad on the right") as caught:
        given(model, rows({}, places), **special)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("special", "places"),
    [
        ({"pad_token": "w57"}, {6: PAD, 7: PAD}),
        ({"pad_token": "</s>"}, {0: EOS, 4: EOS, 6: EOS, 7: EOS}),
        ({"pad_token": "<s>"}, {0: BOS, 3: BOS}),
        ({"pad_token": "</s>", "bos_token": "</s>"}, {0: EOS, 3: EOS, 4: EOS}),
        ({"pad_token": "<unk>"}, {1: UNK, 2: UNK, 3: UNK}),
        ({"pad_token": "w57"}, dict.fromkeys(range(8), PAD)),  # an empty row
        ({"eos_token": "</s>"}, {0: EOS, 1: EOS}),  # no padding token
    ],
)
def test_padding_on_the_right_and_marks_between_texts_are_taken_and_not_counted(model, special, places):
    tokens = rows({}, places)
    found = given(model, tokens, **special)
    assert np.array_equal(found.tokens, tokens)  # rows keep their positions
    assert set(np.flatnonzero(~found.valid[1])) == set(places)
    assert found.valid[0].all()


class Gpu(list):
    """Something that is no array."""

    def __array__(self, dtype=None, copy=None):
        raise TypeError("cannot be turned into an array")


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([[3, 4, 5], [6, 7]], r"got rows of 2 to 3 tokens, expected rows of one length: .* pad them on the right"),
        ([torch.arange(3, 6), torch.arange(3, 8)], "got rows of 3 to 5 tokens"),
        ([[3, 4, 5], []], "got rows of 0 to 3 tokens"),
        (np.array([[3, 4], [5]], dtype=object), "got rows of 1 to 2 tokens"),
        ([], r"got shape \(0,\), expected \[documents, context\]"),
        ([[]], r"got shape \(1, 0\)"),
        (7, r"got shape \(\)"),
        (torch.zeros(2, 4, dtype=torch.bfloat16), "got dtype bfloat16, expected int64"),
        (np.ones((2, 4)), "got dtype float64"),
        ([[3, None], [4, 5]], "got dtype object"),
        ([[True, False]], "got dtype bool"),
        ([[3, 2**70]], "got dtype object"),
        (np.full((2, 4), 2**63, dtype=np.uint64), "got ids from 9223372036854775808"),
        ("some text", "got str, expected int64 .* tokenise it first"),
        ({"input_ids": [[3, 4]]}, r'got dict, .* give its \["input_ids"\]'),
        (Gpu([[1, 2]]), "is no array of whole numbers"),
    ],
)
def test_what_is_no_table_of_token_ids_is_named_in_one_sentence(model, tokens, message):
    with pytest.raises(CollectError, match=f"^tokens: .*{message}") as caught:
        given(model, tokens)
    assert "\n" not in str(caught.value)


def test_a_tokenizers_own_answer_is_named(model):
    with pytest.raises(CollectError, match=r'got BatchEncoding, .* give its \["input_ids"\]'):
        given(model, words()(["w1 w2"], return_tensors="pt"))
