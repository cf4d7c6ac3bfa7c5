"""A tokenizer of fifty words."""

from __future__ import annotations

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    PreTrainedTokenizerFast,
)


def tokenizer() -> PreTrainedTokenizerFast:
    words = {"<u>": 0} | {f"t{i}": i for i in range(1, 50)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="<u>")), unk_token="<u>", eos_token="<u>", pad_token="<u>"
    )
