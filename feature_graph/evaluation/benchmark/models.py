"""The models of the benchmark, by name: ``VARIANT-SEED`` of a planted world, ``PROGRAM-BASIS`` of a compiled program."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_graph.config import Config
from feature_graph.dictionaries import Dictionaries, HookedModel
from feature_graph.evaluation.benchmark.errors import BenchmarkError
from feature_graph.evaluation.planted import VARIANTS, Pair, PlantedModel, TrueEffect, simulated_effects
from feature_graph.evaluation.planted.compiled import LIBRARY, load_program
from feature_graph.evaluation.planted.compiled_model import BASES, as_hooked
from feature_graph.evaluation.planted.compiled_truth import step_effects

#: Variants that differ from another one in how they are measured only.
_SAME = ("sampled", "pruned")
WORLDS = tuple(name for name in VARIANTS if name not in _SAME)
#: Inputs of a compiled program.
DOCUMENTS = 300
#: What is scored where nothing else is asked for: one world of every variant, and six programs in their own width.
STANDARD = (
    *(f"{name}-0" for name in WORLDS),
    *(f"{name}-original" for name in ("frac_prevs", "hist", "shift_by", "detect_pattern", "pair_balance", "sort_unique")),
)


@dataclass(frozen=True)
class BenchmarkModel:
    """A model whose true effects are known.

    Attributes:
        name: As asked for.
        text: What is different about it.
        planted: The planted world; None for a compiled program.
        model: HookedTransformer.
        saes: Layer → SAELens SAE.
        tokens: int64 [n_docs, context], the text.
        cfg: The configuration that this library measures it with; it also says which pairs are in reach, and the horizon.
    """

    name: str
    text: str
    planted: PlantedModel | None
    model: HookedModel
    saes: Dictionaries
    tokens: NDArray[np.int64]
    cfg: Config

    def truth(self) -> dict[Pair, TrueEffect]:
        """True effects of every source that is ever active on all targets in reach, over all documents, in float64."""
        everything = np.ones(len(self.tokens), dtype=bool)
        if self.planted is not None:
            return simulated_effects(self.planted, self.cfg, everything, everything)
        return step_effects(load_program(self.name.rsplit("-", 1)[0]), self.tokens, self.cfg, everything, everything)

    def pairs(self) -> list[Pair]:
        """Every pair in reach."""
        reach = self.cfg.layer_pairs
        return [((s, i), (t, j)) for s, t in reach for i in range(self.size(s)) for j in range(self.size(t))]

    def size(self, layer: int) -> int:
        """Features of a layer's dictionary."""
        return int(self.saes[layer].cfg.d_sae)


def benchmark_model(name: str) -> BenchmarkModel:
    """Make a model.

    Raises:
        BenchmarkError: If there is none of that name.
    """
    kind, _, which = name.rpartition("-")
    if kind in WORLDS and which.isdecimal():
        variant = VARIANTS[kind]
        planted = variant.build(int(which))
        return BenchmarkModel(name, variant.text, planted, planted.model, planted.saes, planted.tokens, variant.config(planted))
    if kind in LIBRARY and which in BASES:
        program = load_program(kind)
        loaded = as_hooked(program, None, basis="original" if which == "original" else "rotated")
        tokens = program.random_tokens(DOCUMENTS, seed=0)
        return BenchmarkModel(name, program.text, None, loaded.model, loaded.saes, tokens, loaded.own_width_config(int(tokens.size)))
    raise BenchmarkError(
        f"model: got {name!r}; expected VARIANT-SEED, such as relu-0, with a variant of {', '.join(WORLDS)}; "
        f"or PROGRAM-BASIS, such as hist-original, with a program of {', '.join(LIBRARY)} and a basis of {', '.join(BASES)}"
    )
