"""Programs compiled into transformers by Tracr, whose every residual direction has a name: truth that nobody here wrote.

The files under ``programs`` are made by scripts/compile_tracr.py: three programs of ours, and every program of Tracr's own library. It
makes such files of other programs, too (:func:`read_program`).
:func:`feature_graph.evaluation.planted.compiled_model.as_hooked` makes of one what the engine sees.

Lindner et al., "Tracr: Compiled Transformers as a Laboratory for Interpretability", https://arxiv.org/abs/2301.05062.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_graph.evaluation.planted.compiled_checks import BOS, PADDING, read_facts, read_weights

#: Ours.
PROGRAMS = ("share_of_x", "so_far", "repeats")
#: All of ``tracr.compiler.lib``, compiled with a causal mask.
LIBRARY = (
    *("frac_prevs", "hist", "length", "count", "count_less_freq", "shift_by", "detect_pattern", "pair_balance", "sort_unique"),
    *("sort", "sort_freq", "reverse", "nary_sequencemap", "shuffle_dyck", "shuffle_dyck2"),
)
#: Always 1: the compiler's constant, part of no program.
CONSTANT = "one"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CompiledProgram:
    """A program and its transformer.

    Attributes:
        name: Of the files.
        text: What the program does.
        labels: Name of each direction of Tracr's basis: ``variable:value``, or ``variable``.
        vocabulary: Token → id.
        wiring: (variable, variable it is computed from), from the program's expressions.
        output: Variable that holds the result.
        values: Whether the directions of the result stand for its values (else one direction's length is the value).
        distinct: Whether no input may hold a token twice.
        examples: (input, what the RASP interpreter gives for it).
        weights: Path → float64, in Tracr's basis.
        n_layers: Tracr's layers.
        n_heads: Heads of each.
        bos: The token that every input begins with.
    """

    name: str
    text: str
    labels: tuple[str, ...]
    vocabulary: dict[str, int]
    wiring: frozenset[tuple[str, str]]
    output: str
    values: bool
    distinct: bool
    examples: tuple[tuple[list[str], list[Any]], ...]
    weights: dict[str, Floats]
    n_layers: int
    n_heads: int
    bos: str = BOS

    @property
    def context(self) -> int:
        """Positions, BOS included."""
        return len(self.weights["pos_embed/embeddings"])

    @property
    def result_columns(self) -> list[int]:
        """Directions that hold the result: one a value, or one whose length is the value."""
        return [i for i in range(len(self.labels)) if self.variable(i) == self.output]

    def variable(self, feature: int) -> str:
        """Variable of a direction."""
        return self.labels[feature].split(":")[0]

    def owner(self, feature: int) -> str:
        """Variable that a direction serves: its own, or that of the operation that needs it in passing (a selector's width)."""
        return self.variable(feature).removesuffix("_selector_width_attn_output")

    def tokens(self, texts: list[list[str]]) -> NDArray[np.int64]:
        """Ids of some inputs, BOS first, [n, length + 1]."""
        return np.array([[self.vocabulary[self.bos], *(self.vocabulary[t] for t in text)] for text in texts], dtype=np.int64)

    def random_tokens(self, n: int, seed: int) -> NDArray[np.int64]:
        """Random inputs of full length, [n, context]."""
        words = sorted(set(self.vocabulary) - {self.bos, PADDING})
        rng, length = np.random.default_rng([seed, 3]), self.context - 1
        if self.distinct:
            return self.tokens([rng.permutation(words)[:length].tolist() for _ in range(n)])
        draws = rng.choice(words, (n, length))
        return self.tokens(draws.tolist())


def load_program(name: str) -> CompiledProgram:
    """Read a compiled program.

    Raises:
        KeyError: If there is none of that name.
    """
    known = (*PROGRAMS, *LIBRARY)
    if name not in known:
        raise KeyError(f"program: got {name!r}; known are {', '.join(known)}")
    folder = files("feature_graph.evaluation.planted") / "programs"
    with as_file(folder / f"{name}.json") as facts, as_file(folder / f"{name}.safetensors") as weights:
        return _read(name, facts, weights)


def read_program(path: str | Path) -> CompiledProgram:
    """Read a compiled program of your own.

    Args:
        path: NAME.json; the weights lie beside it, in NAME.safetensors. docs/method.md says what they hold.

    Raises:
        ProgramError: If one of the files is missing or does not hold a program.
    """
    path = Path(path)
    return _read(path.stem, path, path.with_suffix(".safetensors"))


def _read(name: str, path: Path, weights: Path) -> CompiledProgram:
    facts = read_facts(path)
    return CompiledProgram(
        name=name,
        text=facts["text"],
        labels=tuple(facts["labels"]),
        vocabulary=facts["vocabulary"],
        wiring=frozenset((variable, source) for variable, source in facts["wiring"]),
        output=facts["output"],
        values=facts["values"],
        distinct=facts["distinct"],
        examples=tuple((e["input"], e["output"]) for e in facts["examples"]),
        weights=read_weights(weights, facts),
        n_layers=facts["layers"],
        n_heads=facts["heads"],
        bos=facts["bos"],
    )
