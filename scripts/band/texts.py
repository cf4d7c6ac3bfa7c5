"""Rows of tokens: what is read in training, and what is held out, of each register and of the model's own writing."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from feature_graph.loading.bundled import model_folder
from feature_graph.utils import derived_seed, progress, whole_file
from scripts.band.registers import documents
from scripts.band.settings import REGISTERS, BandSettings
from scripts.train_bundled_saes import TrainingSettings, held_out, sample_rows

log = logging.getLogger("feature_graph.band")
SAMPLED = "sampled"
_PART = 256
_LONGEST = 100_000
#: What a row of the model's own writing begins with, and the special tokens that it must not write.
_KINDS = (("<|endoftext|>", [0, 1, 2]), ("<|im_start|>user\n", [0]))


def register_rows(settings: BandSettings, register: str, n_tokens: int, *, evaluation: bool) -> NDArray[np.int32]:
    """Whole contexts of a register's training or held-out documents, shuffled. int32 [rows, context].

    Args:
        settings: Context and seed of the texts.
        register: Its name.
        n_tokens: How many tokens are wanted; fewer where there are not so many.
        evaluation: The held-out documents instead of the others.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder())
    chosen = [text for title, text in documents(register) if held_out(title, settings.text_seed) == evaluation]
    order = np.random.default_rng(derived_seed(settings.text_seed, "documents", register)).permutation(len(chosen))
    rows: list[NDArray[np.int32]] = []
    for index in order:
        ids = np.asarray(tokenizer(chosen[index][:_LONGEST], add_special_tokens=False)["input_ids"], dtype=np.int32)
        whole = len(ids) // settings.context * settings.context
        rows.extend(ids[:whole].reshape(-1, settings.context))
        if register != "speeches" and len(rows) * settings.context >= 2 * n_tokens:
            break
    picked = np.random.default_rng(derived_seed(settings.text_seed, "rows", register)).permutation(len(rows))
    return np.stack(rows)[picked[: n_tokens // settings.context]]


def sample(settings: BandSettings, workdir: Path, device: str) -> None:
    """Write ``sampled-NNN.npy``, the model's own writing: half after a document's start, half in its chat format."""
    import torch

    widths = TrainingSettings(sampled_context=settings.context)
    for part in progress(range(-(-settings.sampled_rows // _PART)), "sampling text"):
        path = workdir / f"sampled-{part:03d}.npy"
        if not path.exists():
            torch.manual_seed(derived_seed(settings.text_seed, "band sample", part))
            prefix, banned = _KINDS[part % 2]
            save_rows(path, sample_rows(widths, _PART, prefix, banned, device))


def sampled_split(settings: BandSettings, workdir: Path, *, evaluation: bool) -> NDArray[np.int32]:
    """The training rows, or the held-out eleventh, of the model's own writing."""
    rows = np.concatenate([np.load(path) for path in sorted(workdir.glob("sampled-*.npy"))])[: settings.sampled_rows]
    order = np.random.default_rng(derived_seed(settings.text_seed, "band sampled")).permutation(len(rows))
    cut = len(rows) * 10 // 11
    return rows[order[cut:] if evaluation else order[:cut]]


def training_rows(settings: BandSettings, workdir: Path) -> NDArray[np.int32]:
    """All rows that are recorded, mixed at random; kept in ``rows.npy``."""
    path = workdir / "rows.npy"
    if not path.exists():
        parts = [
            register_rows(settings, name, int(share * settings.register_tokens), evaluation=False) for name, share in REGISTERS.items()
        ]
        parts += [sampled_split(settings, workdir, evaluation=False)] if settings.sampled_rows else []
        rows = np.concatenate(parts)
        save_rows(path, rows[np.random.default_rng(derived_seed(settings.text_seed, "mixture")).permutation(len(rows))])
    return np.load(path)


def heldout_rows(settings: BandSettings, workdir: Path, n_rows: int) -> dict[str, NDArray[np.int32]]:
    """Up to ``n_rows`` held-out rows of each register and of the model's own writing; kept in ``heldout-NAME.npy``."""
    found = {}
    for name in [*REGISTERS, *([SAMPLED] if settings.sampled_rows else [])]:
        path = workdir / f"heldout-{name}.npy"
        if not path.exists():
            sampled = name == SAMPLED
            save_rows(
                path,
                sampled_split(settings, workdir, evaluation=True)
                if sampled
                else register_rows(settings, name, 512 * settings.context, evaluation=True),
            )
        found[name] = np.load(path)[:n_rows]
    return found


def save_rows(path: Path, rows: NDArray[np.int32]) -> None:
    """Write rows, whole or not at all."""
    with whole_file(path) as temporary, temporary.open("wb") as f:
        np.save(f, rows)
