"""What is drawn from a corpus: every token with the same chance, no text joined to another without a separator."""

from __future__ import annotations

import hashlib
import logging
import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import ByteLevelBPETokenizer, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from feature_graph.config import Config
from feature_graph.dictionaries.tokens import valid_mask
from feature_graph.loading import LoadingError
from feature_graph.loading.text import Text, cut_contexts, draw_contexts
from feature_graph.loading.text.rows import best_fit
from tests.tiny import tiny_model
from tests.word_tokens import BOS, EOS, FIRST, SIZE, words

HOOKS = ["blocks.2.hook_resid_pre"]


WORDS = words()


def corpus(lengths):
    """Texts of consecutive words, none of them in two texts."""
    ends = np.cumsum([0, *lengths])
    return [Text(str(n), " ".join(f"w{i}" for i in range(a, b))) for n, (a, b) in enumerate(pairwise(ends))]


def runs(row):
    """The pieces of a row between its separators and padding."""
    marks = np.flatnonzero(np.diff(np.concatenate([[False], row >= FIRST, [False]]).astype(int)))
    return [row[a:b] for a, b in marks.reshape(-1, 2)]


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(0, 150), min_size=1, max_size=25), width=st.integers(4, 40), bos=st.booleans(), seed=st.integers(0, 9))
def test_everything_asked_for_gives_every_token_once_and_joins_no_texts(lengths, width, bos, seed):
    if not any(lengths):
        return
    texts = corpus(lengths)
    rows = cut_contexts(texts, WORDS, 10_000, width, bos, seed)
    assert rows.dtype == np.int64
    assert rows.shape[1] == width
    assert sorted(rows[rows >= FIRST]) == list(range(FIRST, FIRST + sum(lengths)))
    owner = np.repeat(np.arange(len(lengths)), lengths)
    for row in rows:
        assert not bos or row[0] == BOS
        for run in runs(row):
            assert (np.diff(run) == 1).all()  # consecutive words …
            assert len(set(owner[run - FIRST])) == 1  # … of one text
        if len(runs(row)) > 1 or len(runs(row)[0]) < width - bos:  # shared: each behind BOS, padding at the end only
            text_ends = np.flatnonzero(row >= FIRST)[-1] + 1
            assert row[0] == BOS
            assert (row[:text_ends] == BOS).sum() == len(runs(row))
            assert (row[text_ends:] == EOS).all()


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 40), width=st.integers(4, 40), seed=st.integers(0, 9))
def test_no_token_is_drawn_twice_and_more_asked_for_gives_the_same_first(n, width, seed):
    texts = corpus([700, 3, 11, 400, 1, 90])
    rows = cut_contexts(texts, WORDS, n, width, False, seed)
    assert len(np.unique(rows[rows >= FIRST])) == (rows >= FIRST).sum()
    assert np.array_equal(rows, cut_contexts(texts, WORDS, n, width, False, seed))
    most = cut_contexts(texts, WORDS, 5_000, width, False, seed)
    assert np.array_equal(cut_contexts(texts, WORDS, 1_000, width, False, seed), most[:1_000])


def test_the_draw_is_the_same_on_every_machine():
    rows = cut_contexts(corpus([700, 3, 11, 400, 1, 90]), WORDS, 12, 16, True, 5)
    assert not np.array_equal(rows, cut_contexts(corpus([700, 3, 11, 400, 1, 90]), WORDS, 12, 16, True, 6))
    assert hashlib.sha256(rows.tobytes()).hexdigest()[:16] == "615499780f93c070"


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(1, 20), max_size=60))
def test_boxes_are_never_too_full_and_none_is_opened_while_another_has_room(sizes):
    found = best_fit(sizes, 20)
    used = {}
    for size, box in zip(sizes, found.tolist(), strict=True):
        if box not in used:
            assert all(20 - u < size for u in used.values())
        used[box] = used.get(box, 0) + size
        assert used[box] <= 20
    assert sorted(used) == list(range(len(used)))


HAN = [chr(code) for code in range(0x4E00, 0x4E00 + 400)]


@pytest.fixture(scope="module")
def bytes_bpe():
    """A byte-level tokenizer that has seen English words only: a Chinese character is three tokens, an English word one or two."""
    r = random.Random(0)
    plain = ByteLevelBPETokenizer()
    english = [" ".join(r.choice(ENGLISH) for _ in range(200)) for _ in range(50)]
    plain.train_from_iterator(english, vocab_size=600, special_tokens=["<end>"], show_progress=False)
    return PreTrainedTokenizerFast(tokenizer_object=plain._tokenizer, bos_token="<end>", eos_token="<end>", model_max_length=64)


_R = random.Random(1)
ENGLISH = ["".join(_R.choice("etaoinshrdlu") for _ in range(_R.randint(2, 9))) for _ in range(80)]


def mixture(n=60, size=2_000):
    """Half Chinese, half English, by characters; texts of many lengths, long and short."""
    r = random.Random(2)
    texts = []
    for k in range(n):
        length = r.choice([40, 400, size, 3 * size])
        texts += [Text(f"zh{k}", "".join(r.choice(HAN) for _ in range(length)))]
        texts += [Text(f"en{k}", " ".join(r.choice(ENGLISH) for _ in range(length // 6)))]
    return texts


def is_han(rows, tokenizer):
    """Byte tokens of Chinese characters are no ASCII, English ones are."""
    names = np.array([t.isascii() for t in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))])
    names |= np.array([t.startswith("Ġ") for t in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))])
    return ~names[rows]


@pytest.mark.parametrize("n_docs", [150, 20])  # all texts are tokenised, or a part of them
def test_a_mixture_of_kinds_has_the_shares_of_the_corpus(bytes_bpe, n_docs):
    texts = mixture()
    ids = [np.array(i) for i in bytes_bpe([t.body for t in texts], add_special_tokens=False, verbose=False)["input_ids"]]
    every = np.concatenate(ids)
    share = is_han(every, bytes_bpe).mean()
    assert 0.7 < share < 0.95  # far from half
    drawn = []
    for seed in range(12):
        rows = cut_contexts(texts, bytes_bpe, n_docs, 64, False, seed)
        drawn.append(is_han(rows[rows != bytes_bpe.bos_token_id], bytes_bpe).mean())
    error = np.sqrt(share * (1 - share) / n_docs)  # of one draw, at most: a context is of one kind, or nearly
    assert abs(np.mean(drawn) - share) < 4 * error / np.sqrt(len(drawn))
    assert max(abs(d - share) for d in drawn) < 5 * error


def test_text_without_spaces_is_drawn_from_everywhere(bytes_bpe, caplog):
    r = random.Random(3)
    texts = [Text(str(k), "".join(r.choice("ACGT") for _ in range(6_000))) for k in range(10)]
    n_ids = [len(i) for i in bytes_bpe([t.body for t in texts], add_special_tokens=False, verbose=False)["input_ids"]]
    assert sum(n_ids) == 60_000
    with caplog.at_level(logging.WARNING):
        rows = cut_contexts(texts, bytes_bpe, 900, 64, False, 0)
        assert not caplog.records  # not a word about "sequence length is longer" either
    windows = [bytes_bpe.decode(row) for row in rows if row[0] != bytes_bpe.bos_token_id]
    starts = sorted(text.body.index(w) for w in windows for text in texts if w in text.body)
    assert len(starts) == len(windows)
    assert len(windows) > 870
    assert np.allclose(np.histogram(starts, bins=6, range=(0, 6_000))[0], len(windows) / 6, rtol=0.15)
    with caplog.at_level(logging.WARNING):
        everything = cut_contexts(texts, bytes_bpe, 2_000, 64, False, 0)
    kept = everything[everything != bytes_bpe.bos_token_id]
    assert len(kept) == 60_000
    assert f"asked for 2000 contexts of 64 tokens; the text holds {len(everything)}: all are taken" in caplog.text
    assert len(everything) == 930 + 10 // 1  # 93 windows of 64 a sequence, and ten ends of 48, none of which fits beside another


def a_model(tokenizer, n_ctx=64):
    model = tiny_model(d_vocab=FIRST + SIZE, n_ctx=n_ctx)
    model.tokenizer = tokenizer
    return model


def tweets(path, n, longest=8):
    r = random.Random(0)
    path.write_text("<|endoftext|>".join(" ".join(f"w{r.randrange(SIZE)}" for _ in range(r.randint(3, longest))) for _ in range(n)))
    return str(path)


def test_short_documents_give_the_tokens_asked_for(tmp_path, caplog):
    model = a_model(WORDS)
    cfg = Config(dataset=tweets(tmp_path / "t.txt", 3_000), context_length=64, n_tokens=6_400)
    with caplog.at_level(logging.INFO):
        tokens = draw_contexts(model, {}, cfg)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING and "n_tokens" in r.getMessage()]
    counted = valid_mask(model, tokens, HOOKS)
    assert 6_400 <= counted.sum() < 6_400 + 64
    assert np.array_equal(counted, tokens >= FIRST)
    assert f"drew {counted.sum()} tokens of text in {len(tokens)} contexts" in caplog.text
    assert counted.mean() > 0.8  # little padding


def test_fewer_tokens_than_asked_for_are_taken_with_a_warning(tmp_path, caplog):
    model = a_model(WORDS)
    cfg = Config(dataset=tweets(tmp_path / "t.txt", 100), context_length=64, n_tokens=6_400)
    tokens = draw_contexts(model, {}, cfg)
    n = int((tokens >= FIRST).sum())
    assert n == len((tmp_path / "t.txt").read_text().replace("<|endoftext|>", " ").split())
    assert f"asked for 6400 tokens, but {cfg.dataset} gives {n}" in caplog.text


def test_no_token_at_all_is_an_error(tmp_path):
    (tmp_path / "t.txt").write_text("</s> <s>")
    with pytest.raises(LoadingError, match="the 1 texts give no token that counts"):
        draw_contexts(a_model(WORDS), {}, Config(dataset=str(tmp_path / "t.txt"), context_length=16))


def test_without_any_special_token_only_windows_can_be_drawn(caplog):
    bare = PreTrainedTokenizerFast(tokenizer_object=WORDS._tokenizer)
    rows = cut_contexts(corpus([100, 5, 7]), bare, 50, 16, False, 0)
    assert rows.shape == (6, 16)
    assert "neither BOS nor EOS (of a tokenizer) to stand between two texts: 16 of 112 tokens" in caplog.text
    with pytest.raises(LoadingError, match="12 tokens are in texts shorter than a context: lower context_length"):
        cut_contexts(corpus([5, 7]), bare, 50, 16, False, 0)


@pytest.mark.parametrize("end", ["<s>", "</s>", "w99"])  # w99: a word that stands in the texts as well
def test_one_token_for_everything_loses_only_that_token(end, tmp_path):
    tokenizer = words(bos_token=end, eos_token=end, pad_token=end)
    mark = tokenizer.convert_tokens_to_ids(end)
    (tmp_path / "t.txt").write_text("<|endoftext|>".join(t.body for t in corpus([100, 5, 7, 30])))
    model = a_model(tokenizer)
    tokens = draw_contexts(model, {}, Config(dataset=str(tmp_path / "t.txt"), context_length=16, n_tokens=1_000, prepend_bos=True))
    valid = valid_mask(model, tokens, HOOKS)
    assert sorted(tokens[valid]) == [i for i in range(FIRST, FIRST + 142) if i != mark]


def test_text_cut_into_pieces_has_the_tokens_of_the_whole(bytes_bpe):
    """Pieces are cut before spaces and joined again: 40 x 16 characters a piece, some fifteen of them."""
    r = random.Random(4)
    body = " ".join(r.choice(ENGLISH) for _ in range(1_500))
    whole = bytes_bpe(body, add_special_tokens=False, verbose=False)["input_ids"]
    rows = cut_contexts([Text("a", body)], bytes_bpe, 10_000, 16, False, 0)
    windows = {tuple(whole[k : k + 16]) for k in range(0, len(whole) - 15, 16)}
    assert {tuple(row) for row in rows.tolist() if row[0] != bytes_bpe.bos_token_id} == windows


def sentencepiece(normalizer, pre_tokenizer):
    r = random.Random(5)
    plain = Tokenizer(models.BPE(unk_token="<unk>"))
    plain.normalizer, plain.pre_tokenizer = normalizer, pre_tokenizer
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>", "<s>"], show_progress=False)
    plain.train_from_iterator([" ".join(r.choice(ENGLISH) for _ in range(3_000))], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=plain, bos_token="<s>", unk_token="<unk>")


@pytest.mark.parametrize("style", ["Llama 2", "Metaspace", "bare words"])
def test_every_style_of_spaces_survives_the_cut_into_pieces(style):
    """Llama 2's tokenizer puts a space before every text, so that a piece that begins with one would have two."""
    llama = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    parts = {
        "Llama 2": (llama, pre_tokenizers.Split("▁", "merged_with_next")),
        "Metaspace": (normalizers.NFC(), pre_tokenizers.Metaspace()),
        "bare words": (normalizers.NFC(), pre_tokenizers.WhitespaceSplit()),
    }
    tokenizer, r = sentencepiece(*parts[style]), random.Random(6)
    body = " ".join(r.choice(ENGLISH) for _ in range(1_500))
    whole = tokenizer(body, add_special_tokens=False)["input_ids"]
    rows = cut_contexts([Text("a", body)], tokenizer, 10_000, 16, False, 0)
    windows = {tuple(whole[k : k + 16]) for k in range(0, len(whole) - 15, 16)}
    assert {tuple(row) for row in rows.tolist() if row[0] != tokenizer.bos_token_id} == windows
