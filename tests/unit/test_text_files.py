"""Text files as people have them: each is read rightly, or refused in one plain sentence."""

from __future__ import annotations

import bz2
import gzip
import json
import logging
import lzma

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_graph.config import Config
from feature_graph.dictionaries.tokens import valid_mask
from feature_graph.loading import LoadingError
from feature_graph.loading.text import Text, draw_contexts, load_texts
from tests.tiny import tiny_model
from tests.word_tokens import FIRST, words

BODY = "w1 w2 w3"


def line(**row):
    return json.dumps(row, ensure_ascii=False) + "\n"


def packed(codec):
    return pa.compress(line(text=BODY).encode(), codec=codec, asbytes=True)


@pytest.mark.parametrize(
    ("name", "content", "bodies"),
    [
        ("a.jsonl", line(text="w1\u2028w2") + line(text="w3\u0085w4\u000b"), ["w1\u2028w2", "w3\u0085w4\u000b"]),
        ("a.jsonl", b"\xef\xbb\xbf" + line(text=BODY).replace("\n", "\r\n").encode(), [BODY]),
        ("a.jsonl", line(text=BODY).rstrip("\n"), [BODY]),
        ("a.jsonl", line(text=BODY).encode("utf-16"), [BODY]),
        ("a.txt", b"\xef\xbb\xbf" + BODY.encode(), [BODY]),
        ("a.txt", BODY.encode("utf-16"), [BODY]),
        ("a.txt", BODY.encode("utf-32"), [BODY]),
        ("a.txt", b"w1\r\nw2<|endoftext|>w3", ["w1\nw2", "w3"]),
        ("A.JSONL", line(text=BODY), [BODY]),
        ("a.TXT", BODY, [BODY]),
        ("a.ndjson", line(text=BODY), [BODY]),
        ("a.jsonl.gz", gzip.compress(line(text=BODY).encode(), mtime=0), [BODY]),
        ("A.TXT.GZ", gzip.compress(BODY.encode(), mtime=0), [BODY]),
        ("a.jsonl.bz2", bz2.compress(line(text=BODY).encode()), [BODY]),
        ("a.jsonl.xz", lzma.compress(line(text=BODY).encode()), [BODY]),
        ("a.jsonl.zst", packed("zstd"), [BODY]),
        ("a.json", json.dumps([{"text": BODY}, {"text": "w4"}]), [BODY, "w4"]),
        ("a.json", json.dumps([BODY, "w4"]), [BODY, "w4"]),
        ("a.json", json.dumps({"text": {"0": BODY, "1": "w4"}}), [BODY, "w4"]),
        ("a.json", line(text=BODY) + line(text="w4"), [BODY, "w4"]),
        ("a.csv", 'id,text\n1,"w1, w2\nw3"\n2,NA\n', ["w1, w2\nw3", "NA"]),
        ("a.tsv", "id\ttext\n1\tw1 w2\n", ["w1 w2"]),
        ("a.jsonl", '{"text": "w1 \\ud83d w2"}\n{"text": "\\ud83d\\ude00"}\n', ["w1 \ufffd w2", "\U0001f600"]),
    ],
)
def test_files_as_people_have_them(tmp_path, name, content, bodies):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert [text.body for text in load_texts(Config(dataset=str(tmp_path / name)))] == bodies
    assert [text.body for text in load_texts(Config(dataset=str(tmp_path)))] == bodies  # the folder


CHAT = [{"role": "user", "content": "w1"}, {"role": "assistant", "content": [{"type": "text", "text": "w2"}, {"type": "image"}]}]


@pytest.mark.parametrize(
    ("column", "bodies"),
    [
        (pa.array([BODY, None, "w4"]), [BODY, "w4"]),
        (pa.array([BODY.encode(), "wé".encode()]), [BODY, "wé"]),
        (pa.array([BODY, "w4", BODY]).dictionary_encode(), [BODY, "w4", BODY]),
        (pa.array([BODY], pa.large_string()), [BODY]),
        (pa.array([[{"role": "user", "content": "w1"}, {"role": "system", "content": None}]]), ["user: w1\nsystem: "]),
        (pa.array([[{"from": "human", "value": "w1"}, {"from": "gpt", "value": "w2"}]]), ["user: w1\nassistant: w2"]),
        (pa.array([{"role": ["user"], "content": ["w1"]}]), ["user: w1"]),
    ],
)
def test_columns_of_parquet(tmp_path, column, bodies):
    pq.write_table(pa.table({"x": column}), tmp_path / "a.parquet")
    assert [text.body for text in load_texts(Config(dataset=str(tmp_path / "a.parquet"), dataset_text_field="x"))] == bodies


@pytest.mark.parametrize("kind", [pa.list_(pa.int32()), pa.list_(pa.int64()), pa.large_list(pa.uint16()), pa.list_(pa.int64(), 3)])
def test_token_ids_are_used_as_they_are(tmp_path, kind):
    pq.write_table(pa.table({"input_ids": pa.array([[3, 4, 5], [6, 7, 8]], kind)}), tmp_path / "a.parquet")
    texts = load_texts(Config(dataset=str(tmp_path / "a.parquet"), dataset_text_field="input_ids"))
    assert [text.tokens.tolist() for text in texts] == [[3, 4, 5], [6, 7, 8]]
    assert [text.body for text in texts] == ["", ""]


def test_null_and_empty_rows_are_counted_aloud(tmp_path, caplog):
    (tmp_path / "a.jsonl").write_text('{"text": null}\n{"text": NaN}\n{"text": "  "}\n\n' + line(text=BODY))
    assert [t.body for t in load_texts(Config(dataset=str(tmp_path / "a.jsonl")))] == [BODY]
    assert "a.jsonl: 2 of 4 rows skipped, being null" in caplog.text
    assert "a.jsonl: 1 of 4 rows skipped, being empty" in caplog.text


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", line(text=BODY) + '{"text": "w1 w', r"line 2 is not JSON: .*\(the last line: is the file cut off\?\)"),
        ("a.jsonl", '{"text": 3}\n', r"row 0: column 'text' holds int, expected text, token ids, or messages"),
        ("a.jsonl", '{"text": ["w1", "w2"]}\n', "holds list of str, expected"),
        ("a.jsonl", '{"text": [1.5]}\n', "holds list of float, expected"),
        ("a.jsonl", '{"text": [[1], [2, 3]]}\n', "holds list of list, expected"),
        ("a.jsonl", '{"text": [true]}\n', "holds list of bool, expected"),
        ("a.jsonl", '{"text": {"a": 1}}\n', "holds dict, expected"),
        ("a.jsonl", '"w1"\n', "line 1 is a str, expected an object with the field 'text'"),
        ("a.jsonl", '{"messages": []}\n', r"no field 'text' .* it has \['messages'\]; set dataset_text_field: messages\?"),
        ("a.json", "{", "is not JSON"),
        ("a.json", '{"data": []}', r"has no field 'text' .* it has \['data'\]"),
        ("a.csv", "body\nw1\n", r"has no field 'text' .* it has \['body'\]"),
        ("a.csv", "", "is not a table"),
        ("a.txt", "café".encode("latin-1"), "is not UTF-8 text .* iconv"),
        ("a.txt", BODY.encode("utf-16-le"), "a quarter or more of it are zero bytes"),
        ("a.jsonl", "", "holds no text in column 'text'"),
        ("a.jsonl.gz", gzip.compress(line(text=BODY).encode(), mtime=0)[:-10], "cannot be read"),
        ("a.jsonl.gz", b"plain", "cannot be read: Not a gzipped file"),
        ("a.jsonl.zst", b"plain", "cannot be read"),
        ("a.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "is a Git LFS pointer"),
        ("a.parquet", b"PAR1garbage", "is not a Parquet file, or is damaged"),
        ("a.arrow", b"garbage", "is not an Arrow file, or is damaged"),
        ("a.xlsx", b"PK", r"got a.xlsx; expected a file that ends in \.txt, \.jsonl"),
        ("a.gz", b"", "got a.gz; expected a file that ends in"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_sentence(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(LoadingError, match=message) as caught:
        load_texts(Config(dataset=str(tmp_path / name)))
    assert "\n" not in str(caught.value)


def test_files_about_the_data_and_hidden_ones_are_no_data(tmp_path, caplog):
    (tmp_path / "a.jsonl").write_text(line(text=BODY))
    for name in ("README.txt", "LICENSE.txt", "readme.en.txt", "config.json", "._a.jsonl"):
        (tmp_path / name).write_text("{}")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "b.jsonl").write_text(line(text="w9"))
    assert [t.body for t in load_texts(Config(dataset=str(tmp_path)))] == [BODY]
    assert "left out, by their names: LICENSE.txt, README.txt, config.json, readme.en.txt" in caplog.text
    (tmp_path / "a.jsonl").unlink()
    with pytest.raises(LoadingError, match=r"holds no \.txt, .* file but LICENSE.txt, README.txt"):
        load_texts(Config(dataset=str(tmp_path)))
    assert load_texts(Config(dataset=str(tmp_path / "README.txt")))  # named by itself, it is data


def test_a_saved_data_set_is_read_with_its_splits(tmp_path):
    rows = datasets.Dataset.from_dict({"text": [BODY, None], "input_ids": [[3, 4], [5]]})
    rows.save_to_disk(str(tmp_path / "one"))
    assert [t.body for t in load_texts(Config(dataset=str(tmp_path / "one")))] == [BODY]
    tokens = load_texts(Config(dataset=str(tmp_path / "one"), dataset_text_field="input_ids"))
    assert [t.tokens.tolist() for t in tokens] == [[3, 4], [5]]
    datasets.DatasetDict(train=rows, test=rows.select([0])).save_to_disk(str(tmp_path / "two"))
    assert len(load_texts(Config(dataset=str(tmp_path / "two"), dataset_text_field="input_ids"))) == 2
    assert len(load_texts(Config(dataset=str(tmp_path / "two"), dataset_split="test"))) == 1
    with pytest.raises(LoadingError, match=r"has no split 'dev' \(dataset_split\); it has \['test', 'train'\]"):
        load_texts(Config(dataset=str(tmp_path / "two"), dataset_split="dev"))
    with pytest.raises(LoadingError, match=r"has no field 'body'"):
        load_texts(Config(dataset=str(tmp_path / "one"), dataset_text_field="body"))
    next((tmp_path / "one").glob("*.arrow")).unlink()
    with pytest.raises(LoadingError, match="cannot be read"):
        load_texts(Config(dataset=str(tmp_path / "one")))


def test_the_tokenizers_chat_template_is_used_where_there_is_one(tmp_path, caplog):
    (tmp_path / "a.jsonl").write_text(line(messages=CHAT) + line(messages=[{"role": "tool", "content": "w3"}]))
    cfg = Config(dataset=str(tmp_path / "a.jsonl"), dataset_text_field="messages")
    tokenizer = words()
    with caplog.at_level(logging.INFO):
        assert [t.body for t in load_texts(cfg, tokenizer)] == ["user: w1\nassistant: w2", "tool: w3"]
        assert "2 of 2 rows of chats, joined as lines 'role: content' for want of a chat template" in caplog.text
        tokenizer.chat_template = (
            "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
            "<s>{{ m.role }} {{ m.content }}</s>{% endfor %}"
        )
        assert [t.body for t in load_texts(cfg, tokenizer)] == ["<s>user w1</s><s>assistant w2</s>", "tool: w3"]
    assert "1 of 2 rows of chats, written by the tokenizer's chat template" in caplog.text
    assert "1 of 2 rows of chats that the tokenizer's chat template refuses" in caplog.text


def a_model(tokenizer):
    model = tiny_model()
    model.tokenizer = tokenizer
    return model


def test_token_ids_pass_through_the_same_draw(tmp_path, caplog):
    """BOS and padding at the ends of rows are put by the draw, not taken over."""
    rows = [[0, *range(5, 20), 1], list(range(20, 30)), [1, 1, *range(30, 33)], [33, 0, 34, 1, 1], [0], []]
    pd.DataFrame({"tokens": rows}).to_parquet(tmp_path / "a.parquet")
    cfg = Config(dataset=str(tmp_path / "a.parquet"), dataset_text_field="tokens", context_length=16, n_tokens=1_000, prepend_bos=True)
    model = a_model(words(60))
    drawn = draw_contexts(model, {}, cfg)
    assert sorted(drawn[drawn >= FIRST]) == list(range(5, 35))
    assert valid_mask(model, drawn, ["blocks.2.hook_resid_pre"]).sum() == 30
    assert (drawn[:, 0] == 0).all()
    assert [0, *range(5, 20)] in drawn.tolist()  # a row as wide as a context, BOS included, stays one
    assert "asked for 1000 tokens" in caplog.text
    without = draw_contexts(a_model(None), {}, cfg.model_copy(update={"prepend_bos": False, "context_length": 8}))
    assert without.shape == (2 + 1, 8)
    assert "neither BOS nor EOS" in caplog.text


@pytest.mark.parametrize("ids", [[3, 64], [-100, 3]])
def test_token_ids_of_another_vocabulary_are_refused(tmp_path, ids):
    pd.DataFrame({"tokens": [[3, 4], ids]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(LoadingError, match=r"a.parquet:1 has token ids from -?\d+ to \d+; the model's vocabulary is 0 to 63"):
        draw_contexts(a_model(words(60)), {}, Config(dataset=str(tmp_path / "a.parquet"), dataset_text_field="tokens", context_length=16))


def test_ids_too_large_for_any_vocabulary(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"t": [3, 99999999999999999999999]}\n')
    with pytest.raises(LoadingError, match="row 0: column 't' holds list of int"):
        load_texts(Config(dataset=str(tmp_path / "a.jsonl"), dataset_text_field="t"))


def test_text_without_a_tokenizer_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text(BODY)
    for dataset in (str(tmp_path / "a.txt"), "builtin:sotu"):
        with pytest.raises(LoadingError, match="the model has no tokenizer"):
            draw_contexts(a_model(None), {}, Config(dataset=dataset, context_length=16))


def test_a_text_knows_whether_it_is_empty():
    assert Text("a", " \n").is_empty
    assert not Text("a", "", np.array([3])).is_empty
