"""Text for a compiled program: random inputs, and more of them where one of its directions is rarely active.

An effect is tested over documents, and k of them allow no p below 2^(1 − k). A direction such as *seven of the eight tokens are a* is
active in a handful of a thousand random inputs, too few for any test. So inputs in which it is active are added to them, as if many more
had been drawn and those left out that hold nothing rare. What is rare is judged by activity alone; the truth is that of the same text.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from feature_graph.evaluation.planted.compiled import CompiledProgram
from feature_graph.evaluation.planted.compiled_truth import run_program
from feature_graph.evaluation.planted.simulate import TINY

#: Documents in which a direction is active at least. Four tenths of them, 24, are test documents, whose smallest p is 1e-7.
ENOUGH = 60
#: Times as many inputs are searched as are asked for.
SEARCHED = 40
#: At most so many times as many inputs are kept as are asked for.
MOST = 6


def inputs(program: CompiledProgram, n: int, seed: int = 0) -> NDArray[np.int64]:
    """Inputs of full length, int64 [n and more, context].

    Args:
        program: The program.
        n: Random inputs, which come first.
        seed: Of the draw.
    """
    kept = [program.random_tokens(n, seed)]
    drawn = [program.random_tokens(n, seed=1_000_003 * (seed + 1) + k) for k in range(SEARCHED)]
    active = [_active(program, tokens) for tokens in (*kept, *drawn)]
    count = active[0].sum(0)
    ever = sum(some.sum(0) for some in active)
    wanted = (count > 0) | (ever >= ENOUGH)  # what was not seen and is too rare for a test is not looked for
    left = (MOST - 1) * n
    for tokens, some in zip(drawn, active[1:], strict=True):
        for row, has in zip(tokens, some, strict=True):
            if left and (has & wanted & (count < ENOUGH)).any():
                kept.append(row[None])
                count += has
                left -= 1
    return np.concatenate(kept)


def _active(program: CompiledProgram, tokens: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a direction is active anywhere in an input, at each site that a step follows: bool [n, sites × directions]."""
    streams = run_program(program, tokens)[:-1]
    return np.concatenate([(stream > TINY).any(1) for stream in streams], axis=1)
