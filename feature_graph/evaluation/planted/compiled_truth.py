"""What a compiled program's steps really do: Tracr's weights in their own basis, in float64 NumPy, one step at a time.

It shares no code with the engine or TransformerLens. Effects run over one step only (one attention or one MLP), so that what is
found can be compared with the program's expressions.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from feature_graph.config import Config
from feature_graph.evaluation.planted.compiled import CompiledProgram
from feature_graph.evaluation.planted.simulate import TINY, document_means
from feature_graph.evaluation.planted.wiring import Pair, TrueEffect

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def run_program(program: CompiledProgram, tokens: NDArray[np.int64]) -> list[Floats]:
    """Streams [n, context, directions]: before the first step, then after each attention and each MLP."""
    weights = program.weights
    state = weights["token_embed/embeddings"][tokens] + weights["pos_embed/embeddings"][: tokens.shape[1]]
    kept = [state]
    for step in range(2 * program.n_layers):
        state = run_step(program, state, step)
        kept.append(state)
    return kept


def run_step(program: CompiledProgram, state: Floats, step: int) -> Floats:
    """Attention (even steps) or MLP (odd steps) added to the stream [..., context, directions]."""
    name = f"transformer/layer_{step // 2}"
    return state + (_mlp(program, name, state) if step % 2 else _attention(program, name, state))


def _mlp(program: CompiledProgram, name: str, state: Floats) -> Floats:
    w = program.weights
    hidden = np.maximum(state @ w[f"{name}/mlp/linear_1/w"] + w[f"{name}/mlp/linear_1/b"], 0)
    return hidden @ w[f"{name}/mlp/linear_2/w"] + w[f"{name}/mlp/linear_2/b"]


def _attention(program: CompiledProgram, name: str, state: Floats) -> Floats:
    w, heads, context = program.weights, program.n_heads, state.shape[-2]
    q, k, v = (state @ w[f"{name}/attn/{part}/w"] + w[f"{name}/attn/{part}/b"] for part in ("query", "key", "value"))
    q, k, v = (np.moveaxis(x.reshape(*x.shape[:-1], heads, -1), -2, -3) for x in (q, k, v))
    logits = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    logits = np.where(np.tril(np.ones((context, context), dtype=bool)), logits, -np.inf)
    pattern = np.exp(logits - logits.max(-1, keepdims=True))
    mixed = np.moveaxis(pattern / pattern.sum(-1, keepdims=True) @ v, -3, -2)
    return mixed.reshape(*state.shape[:-1], -1) @ w[f"{name}/attn/linear/w"] + w[f"{name}/attn/linear/b"]


def results(program: CompiledProgram, stream: Floats) -> list[list[str | float]]:
    """What the program's output variable holds at each position but BOS: the label's value, or the direction's length."""
    columns = program.result_columns
    read = stream[:, 1:, columns]
    if not program.values:
        return read[..., 0].tolist()
    names = [program.labels[i].split(":")[1] for i in columns]
    return [[names[j] for j in row] for row in read.argmax(-1).tolist()]


@dataclass(frozen=True)
class _Clamp:
    """A source, and where and how it is clamped; S samples.

    Attributes:
        stream: Clean stream at its site [n_docs, context, directions].
        after: Clean stream one step later, likewise.
        site: Its site.
        index: Its direction.
        documents: int64 [S].
        positions: int64 [S].
        levels: High and low.
    """

    stream: Floats
    after: Floats
    site: int
    index: int
    documents: NDArray[np.int64]
    positions: NDArray[np.int64]
    levels: tuple[float, float]

    @property
    def width(self) -> float:
        """Of the clamp."""
        return self.levels[0] - self.levels[1]


def step_effects(program: CompiledProgram, tokens: NDArray[np.int64], cfg: Config, select: Bools, test: Bools) -> dict[Pair, TrueEffect]:
    """True effect of each direction at each site on each direction one step later, over the test documents.

    Args:
        program: The program.
        tokens: int64 [n_docs, context].
        cfg: Levels and horizon.
        select: [n_docs], documents that levels come from.
        test: [n_docs], documents that effects are averaged over: first within each, then over them.
    """
    streams = run_program(program, tokens)
    found: dict[Pair, TrueEffect] = {}
    for site, (stream, after) in enumerate(pairwise(streams)):
        for i in range(len(program.labels)):
            active = np.maximum(stream[..., i], 0)
            documents, positions = np.nonzero((active > TINY) & test[:, None])
            levels = active[select][active[select] > TINY]
            if len(documents) and len(levels):
                high = float(np.quantile(levels, cfg.clamp_high_quantile))
                clamp = _Clamp(stream, after, site, i, documents, positions, (high, cfg.clamp_low))
                found |= _effects(program, clamp, cfg.position_horizon)
    return found


def _effects(program: CompiledProgram, clamp: _Clamp, horizon: int) -> dict[Pair, TrueEffect]:
    total, later, has = (_through_mlp if clamp.site % 2 else _through_attention)(program, clamp, horizon)
    documents = clamp.documents
    same, onward = document_means(total, documents), document_means(later[has], documents[has])
    copy = np.zeros_like(same)
    copy[clamp.index] = document_means(_copies(clamp)[:, None], documents)[0]
    rows = np.stack([same, same, onward, copy], 1).tolist()  # over one step, the total effect is the direct one
    source = (clamp.site, clamp.index)
    return {(source, (clamp.site + 1, j)): TrueEffect(*values) for j, values in enumerate(rows)}


def _through_mlp(program: CompiledProgram, clamp: _Clamp, horizon: int) -> tuple[Floats, Floats, Bools]:
    """Change per unit at the same position and later [S, directions], and which samples have a later position: an MLP sees one position."""
    now = np.repeat(clamp.stream[clamp.documents, clamp.positions][None], 2, axis=0)
    now[..., clamp.index] = np.array(clamp.levels)[:, None]
    high, low = np.maximum(run_step(program, now, clamp.site), 0)
    total = (high - low) / clamp.width
    return total, np.zeros_like(total), clamp.positions < (clamp.stream.shape[1] - 1 if horizon else 0)


def _through_attention(program: CompiledProgram, clamp: _Clamp, horizon: int) -> tuple[Floats, Floats, Bools]:
    clamped = np.repeat(clamp.stream[clamp.documents][None], 2, axis=0)
    rows, positions = np.arange(len(clamp.documents)), clamp.positions
    clamped[:, rows, positions, clamp.index] = np.array(clamp.levels)[:, None]
    high, low = np.maximum(run_step(program, clamped, clamp.site), 0)
    change = (high - low) / clamp.width
    steps = np.arange(change.shape[1])
    inside = (steps > positions[:, None]) & (steps <= positions[:, None] + horizon)
    return change[rows, positions], (change * inside[..., None]).sum(1), np.asarray(inside.any(1), dtype=np.bool_)


def _copies(clamp: _Clamp) -> Floats:
    """What the clamp alone does to the same direction one step later, through its non-linearity, per unit [S]."""
    at = clamp.documents, clamp.positions, clamp.index
    shifts = np.array(clamp.levels)[:, None] - np.maximum(clamp.stream[at], 0)
    high, low = np.maximum(clamp.after[at] + shifts, 0)
    return (high - low) / clamp.width
