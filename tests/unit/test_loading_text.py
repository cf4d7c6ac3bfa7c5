"""Texts and the contexts drawn from them."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from feature_graph.config import Config
from feature_graph.dictionaries.tokens import special_ids, valid_mask
from feature_graph.loading import LoadingError
from feature_graph.loading.text import Text, cut_contexts, load_texts, resolve_prepend_bos
from tests.tiny import tiny_model

VOCABULARY = {"<s>": 0, "</s>": 1, "<unk>": 2} | {f"t{text}w{i}": 3 + 1000 * text + i for text in range(4) for i in range(1000)}


def tokenizer(**special):
    plain = Tokenizer(models.WordLevel(VOCABULARY, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unk>", **({"bos_token": "<s>", "eos_token": "</s>"} | special))


TOKENIZER = tokenizer()
TEXTS = [Text(str(n), " ".join(f"t{n}w{i}" for i in range(1000))) for n in range(3)]


def test_bos_without_a_bos_token_is_refused():
    with pytest.raises(LoadingError, match="no BOS token"):
        cut_contexts(TEXTS, tokenizer(bos_token=None), 2, 8, True, 0)


def test_files_of_every_kind_hold_the_same_texts(tmp_path):
    bodies = ["one text", "another"]
    (tmp_path / "a.txt").write_text("<|endoftext|>".join(bodies))
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"body": b}) + "\n" for b in bodies))
    pd.DataFrame({"body": bodies}).to_parquet(tmp_path / "a.parquet")
    for name in ("a.txt", "a.jsonl", "a.parquet"):
        texts = load_texts(Config(dataset=str(tmp_path / name), dataset_text_field="body"))
        assert [t.body for t in texts] == bodies
    assert len(load_texts(Config(dataset=str(tmp_path), dataset_text_field="body"))) == 6


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"body": "x"}\n', "line 1 has no field 'text'"),
        ("a.jsonl", "{not json}\n", "line 1 is not JSON"),
        ("a.jsonl", '{"text": 3}\n', "holds int, expected text"),
        ("a.txt", "  \n", "holds no text"),
        ("a.xlsx", "x", "expected a file that ends in"),
        ("a.parquet", "x", "is not a Parquet file"),
    ],
)
def test_bad_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(LoadingError, match=message):
        load_texts(Config(dataset=str(tmp_path / name)))


def test_text_that_is_not_utf8_is_named(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(LoadingError, match="not UTF-8"):
        load_texts(Config(dataset=str(tmp_path / "a.txt")))


@pytest.mark.parametrize(("dataset", "message"), [("builtin:novels", "built in: builtin:sotu"), ("./missing.txt", "there is no file")])
def test_unknown_datasets_are_refused(dataset, message):
    with pytest.raises(LoadingError, match=message):
        load_texts(Config(dataset=dataset))


@pytest.mark.slow
def test_a_dataset_that_the_hub_client_has_prepared_is_read_off_line(tmp_path):
    """As `datasets` leaves it in its cache: made here from a file, then named as if it came from the hub."""
    pd.DataFrame({"body": [f"text {n}" for n in range(5)]}).to_parquet(tmp_path / "a.parquet")
    code = """
import sys
from pathlib import Path
import datasets
cache = Path(datasets.config.HF_DATASETS_CACHE)
datasets.load_dataset("parquet", data_files=sys.argv[1], split="train")
(cache / "parquet").rename(cache / "someone___texts")
config = next((cache / "someone___texts").iterdir())
info = next(config.rglob("dataset_info.json"))
info.write_text(info.read_text().replace(config.name, "default"))
for arrow in list(config.rglob("parquet-train.arrow")):
    arrow.rename(arrow.with_name("texts-train.arrow"))
config.rename(config.with_name("default"))
from feature_graph.config import Config
from feature_graph.loading.text import load_texts
print(sorted(t.body for t in load_texts(Config(dataset="someone/texts", dataset_text_field="body"))))
"""
    env = {"HF_HOME": str(tmp_path / "home"), "PATH": "/usr/bin", "HTTPS_PROXY": "http://127.0.0.1:9"}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.parquet")], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str([f"text {n}" for n in range(5)])


class Said:
    """An SAE as far as its word about BOS goes."""

    def __init__(self, prepend_bos):
        self.cfg = type("C", (), {"metadata": {"prepend_bos": prepend_bos}})()


@pytest.mark.parametrize(
    ("asked", "said", "expected"),
    [
        (None, [True, True], True),
        (None, [False], False),
        (False, [True], False),
        (True, [False], True),
        (None, [True, False], False),
        (None, [None], False),
    ],
)
def test_bos_as_trained_unless_the_configuration_says_otherwise(asked, said, expected):
    saes = {n: Said(word) for n, word in enumerate(said)}
    assert resolve_prepend_bos(saes, Config(prepend_bos=asked)) is expected


def test_special_tokens_do_not_count_and_position_0_only_if_it_is_an_outlier():
    model = tiny_model()
    hooks = ["blocks.2.hook_resid_pre"]
    tokens = np.tile(np.arange(3, 19), (4, 1))
    assert valid_mask(model, tokens, hooks).all()  # no tokenizer, no outlier
    model.tokenizer = tokenizer(pad_token="<unk>")
    tokens[0, 5], tokens[1, 7], tokens[2, 9] = 0, 1, 2
    expected = np.ones((4, 16), dtype=bool)
    expected[0, 5] = expected[1, 7] = expected[2, 9] = False
    assert np.array_equal(valid_mask(model, tokens, hooks), expected)
    assert special_ids(model) == [0, 1, 2]
    model.pos_embed.W_pos.data[0] += 50
    expected[:, 0] = False
    assert np.array_equal(valid_mask(model, tokens, hooks), expected)
