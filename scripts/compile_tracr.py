"""Compile RASP programs into transformers with Tracr, and write weights, labels and wiring as package data (maintainers only).

Needs an environment of its own, since JAX is no dependency of this project. What the committed files were made with:

    uv venv --python 3.11 tracr-env
    uv pip install --python tracr-env/bin/python tracr-pypi==1.0.0 safetensors    (brings dm-haiku 0.0.17, jax 0.10.2)
    JAX_PLATFORMS=cpu tracr-env/bin/python scripts/compile_tracr.py

A program becomes two files: NAME.safetensors with the weights as Tracr gives them (float32), and NAME.json with

- ``labels``: the name of each residual direction, ``variable:value`` or ``variable``;
- ``vocabulary``: token → id, BOS included;
- ``wiring``: [variable, variable it is computed from], read from the program's expression graph, not from the weights;
- ``output``: the variable that holds the program's result, and ``values``: whether its directions stand for values;
- ``examples``: inputs with what the RASP interpreter (not the transformer) gives for them.

Tracr: Lindner et al., "Tracr: Compiled Transformers as a Laboratory for Interpretability", https://arxiv.org/abs/2301.05062.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save_file

if TYPE_CHECKING:
    from tracr.rasp import rasp

FOLDER = Path(__file__).parents[1] / "feature_graph" / "evaluation" / "planted" / "programs"
VOCABULARY = ("a", "b", "c", "x")
LENGTH = 8
EXAMPLES = 40
BOS = "BOS"


def repeats() -> rasp.SOp:
    """Whether the token before is the same."""
    from tracr.rasp import rasp

    one_back = rasp.Map(lambda i: i - 1, rasp.indices).named("before")
    look = rasp.Select(rasp.indices, one_back, rasp.Comparison.EQ).named("look_back")
    previous = rasp.Aggregate(look, rasp.tokens, default=None).named("previous")
    return rasp.SequenceMap(lambda now, then: now == then, rasp.tokens, previous).named("repeats")


def so_far() -> rasp.SOp:
    """How often this token has occurred so far, this time included."""
    from tracr.rasp import rasp

    same = rasp.Select(rasp.tokens, rasp.tokens, rasp.Comparison.EQ).named("same_token")
    return rasp.SelectorWidth(same).named("so_far")


def share_of_x() -> rasp.SOp:
    """The share of x among the tokens so far."""
    from tracr.compiler import lib
    from tracr.rasp import rasp

    return lib.make_frac_prevs((rasp.tokens == "x").named("is_x")).named("share")


def programs() -> dict[str, tuple[str, rasp.SOp, bool]]:
    """Name → (what it does, program, whether its result is one direction whose length is the value)."""
    return {
        "share_of_x": ("the share of x among the tokens so far", share_of_x(), True),
        "so_far": ("how often this token has occurred so far", so_far(), False),
        "repeats": ("whether the token before is the same", repeats(), False),
    }


def main() -> None:
    """Write every program."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    from tracr.compiler import compiling

    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, (text, program, numerical) in programs().items():
        model = compiling.compile_rasp_to_model(program, set(VOCABULARY), LENGTH, causal=True, compiler_bos=BOS)
        save_file(weights(model), FOLDER / f"{name}.safetensors")
        facts = {
            "text": text,
            "heads": model.model_config.num_heads,
            "layers": model.model_config.num_layers,
            "labels": list(model.residual_labels),
            "vocabulary": dict(model.input_encoder.encoding_map),
            "wiring": wiring(program),
            "output": program.label,
            "values": not numerical,
            "examples": examples(program),
        }
        (FOLDER / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n")
        print(name, facts["wiring"], len(facts["labels"]), "directions")


def weights(model: Any) -> dict[str, np.ndarray]:
    """Parameters by path, float32."""
    return {f"{path}/{name}": np.asarray(value, dtype=np.float32) for path, group in model.params.items() for name, value in group.items()}


def wiring(program: rasp.SOp) -> list[list[str]]:
    """[variable, input] for every sequence operation; what a selector compares counts as input of what uses it."""
    from tracr.compiler import rasp_to_graph
    from tracr.rasp import rasp

    graph = rasp_to_graph.extract_rasp_graph(program).graph
    found = []
    for node in graph.nodes:
        expression = graph.nodes[node]["EXPR"]
        if isinstance(expression, rasp.SOp):
            found += [[expression.label, source] for source in inputs(expression)]
    return sorted(found)


def inputs(expression: rasp.SOp) -> list[str]:
    """Labels of the sequence operations that an operation reads, without doubles."""
    from tracr.rasp import rasp

    if isinstance(expression, (rasp.Aggregate, rasp.SelectorWidth)):
        read = [expression.selector.keys, expression.selector.queries]
        read += [expression.sop] if isinstance(expression, rasp.Aggregate) else []
    elif isinstance(expression, rasp.SequenceMap):
        read = [expression.fst, expression.snd]
    else:
        read = [expression.inner] if isinstance(expression, rasp.Map) else []
    return list(dict.fromkeys(sop.label for sop in read))


def examples(program: rasp.SOp) -> list[dict[str, list[Any]]]:
    """Random inputs and what the interpreter gives for them, under a causal mask."""
    from tracr.rasp import causal_eval

    draw = random.Random(0)
    inputs = [[draw.choice(VOCABULARY) for _ in range(LENGTH)] for _ in range(EXAMPLES)]
    return [{"input": text, "output": list(causal_eval.evaluate(program, text))} for text in inputs]


if __name__ == "__main__":
    main()
