"""A real tokenizer of words: ``w0`` is token 3, ``w1`` token 4, and so on."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

BOS, EOS, UNK, FIRST = 0, 1, 2, 3
SIZE = 4000


def words(size: int = SIZE, **special: Any) -> PreTrainedTokenizerFast:
    """With BOS ``<s>`` and EOS ``</s>`` unless others are given; no padding token."""
    vocabulary = {"<s>": BOS, "</s>": EOS, "<unk>": UNK} | {f"w{n}": FIRST + n for n in range(size)}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unk>", **({"bos_token": "<s>", "eos_token": "</s>"} | special))
