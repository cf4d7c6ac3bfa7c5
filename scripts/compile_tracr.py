"""Compile RASP programs into transformers with Tracr, and write weights, labels and wiring: those of the package, or your own.

Needs an environment of its own, since JAX is no dependency of this project. What the committed files were made with:

    uv venv --python 3.11 tracr-env
    uv pip install --python tracr-env/bin/python tracr-pypi==1.0.0 safetensors    (brings dm-haiku 0.0.17, jax 0.10.2)
    JAX_PLATFORMS=cpu tracr-env/bin/python scripts/compile_tracr.py

With a Python file of yours it compiles your programs instead, into another folder:

    JAX_PLATFORMS=cpu tracr-env/bin/python scripts/compile_tracr.py mine.py --output-dir outputs/programs

The file has PROGRAMS, which maps names to what Program takes: {"text": "…", "make": function, "vocabulary": ("a", "b"), "length": 8}.

A program becomes two files: NAME.safetensors with the weights as Tracr gives them (float32), and NAME.json with

- ``labels``: the name of each residual direction, ``variable:value`` or ``variable``;
- ``vocabulary``: token → id, BOS included;
- ``wiring``: [variable, variable it is computed from], read from the program's expression graph, not from the weights;
- ``output``: the variable that holds the program's result, and ``values``: whether its directions stand for values;
- ``distinct``: whether no input may hold a token twice, since the program is made for such inputs only;
- ``examples``: inputs with what the RASP interpreter (not the transformer) gives for them.

Besides three programs of ours it compiles every program of Tracr's own library (``tracr.compiler.lib``, version 1.0.0), each for a small
vocabulary and a short context. All are compiled with a causal mask, since the engine measures causal attention: what a program reads
"of all tokens" is then read of those so far. A program that does not compile is named at the end.

Tracr: Lindner et al., "Tracr: Compiled Transformers as a Laboratory for Interpretability", https://arxiv.org/abs/2301.05062.
"""

from __future__ import annotations

import argparse
import json
import random
import runpy
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Program:
    """A program to compile.

    Attributes:
        text: What it does.
        make: Gives the expression.
        vocabulary: Its tokens.
        length: Tokens of an input.
        distinct: Whether no input may hold a token twice.
    """

    text: str
    make: Callable[[], rasp.SOp]
    vocabulary: tuple[Any, ...] = VOCABULARY
    length: int = LENGTH
    distinct: bool = False


def _sum(x: int, y: int, z: int) -> int:
    return x + y - z


def programs() -> dict[str, Program]:
    """Name → program: three of ours, then Tracr's library."""
    return {
        "share_of_x": Program("the share of x among the tokens so far", share_of_x),
        "so_far": Program("how often this token has occurred so far", so_far),
        "repeats": Program("whether the token before is the same", repeats),
    } | library()


def library() -> dict[str, Program]:
    """Every program of ``tracr.compiler.lib``, under the name that it has there."""
    from tracr.compiler import lib
    from tracr.rasp import rasp

    tokens, brackets = rasp.tokens, ("(", ")", "x")
    return {
        "length": Program("how many tokens there are so far", lib.make_length),
        "reverse": Program("the tokens in reverse order", lambda: lib.make_reverse(tokens)),
        "pair_balance": Program("the surplus of ( over ), as a share", lambda: lib.make_pair_balance(tokens, "(", ")"), brackets),
        "shuffle_dyck": Program("whether ( and ) are balanced", lambda: lib.make_shuffle_dyck(["()"]), brackets, 6),
        "shuffle_dyck2": Program("whether () and {} are balanced, each for itself", lib.make_shuffle_dyck2, ("(", ")", "{", "}"), 5),
        "hist": Program("how often this token occurs", lib.make_hist),
        "sort_unique": Program("the tokens sorted, none twice", lambda: lib.make_sort_unique(tokens, tokens), (1, 2, 3, 4, 5), 5, True),
        "sort": Program("the tokens sorted", lambda: lib.make_sort(tokens, tokens, max_seq_len=6, min_key=1), (1, 2, 3, 4), 6),
        "sort_freq": Program("the tokens sorted by how often they occur", lambda: lib.make_sort_freq(max_seq_len=5), ("a", "b", "c"), 5),
        "frac_prevs": Program("the share of x among the tokens so far", lambda: lib.make_frac_prevs(tokens == "x")),
        "shift_by": Program("the token two places before", lambda: lib.shift_by(2, tokens)),
        "detect_pattern": Program("whether ab ends here", lambda: lib.detect_pattern(tokens, "ab"), ("a", "b", "c")),
        "count_less_freq": Program("how many tokens occur at most twice", lambda: lib.make_count_less_freq(2), VOCABULARY, 6),
        "count": Program("how often a occurs", lambda: lib.make_count(tokens, "a")),
        "nary_sequencemap": Program(
            "twice the token less its index, as a sum of three sequences",
            lambda: lib.make_nary_sequencemap(_sum, tokens, tokens, rasp.indices),
            (1, 2, 3),
            5,
        ),
    }


def main() -> None:
    """Write every program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, help="Python file with PROGRAMS; without it, the programs of the package")
    parser.add_argument("--output-dir", type=Path, help="where the files go; needed with a file of yours")
    asked = parser.parse_args()
    if (asked.file is None) != (asked.output_dir is None):
        parser.error("a file of yours and --output-dir go together")
    folder = FOLDER if asked.output_dir is None else asked.output_dir
    folder.mkdir(parents=True, exist_ok=True)
    failures = {}
    for name, program in (programs() if asked.file is None else programs_of(asked.file)).items():
        try:
            write(name, program, folder)
        except (ValueError, NotImplementedError, TypeError, KeyError) as error:
            failures[name] = f"{type(error).__name__}: {error}"
    print("do not compile:", failures or "none")


def programs_of(path: Path) -> dict[str, Program]:
    """Programs of somebody's Python file."""
    return {name: Program(**values) for name, values in runpy.run_path(str(path))["PROGRAMS"].items()}


def write(name: str, program: Program, folder: Path) -> None:
    """Compile a program and write its two files."""
    from tracr.compiler import compiling

    expression = program.make()
    model = compiling.compile_rasp_to_model(expression, set(program.vocabulary), program.length, causal=True, compiler_bos=BOS)
    labels = list(model.residual_labels)
    facts = {
        "text": program.text,
        "heads": model.model_config.num_heads,
        "layers": model.model_config.num_layers,
        "labels": labels,
        "vocabulary": {str(token): number for token, number in model.input_encoder.encoding_map.items()},
        "wiring": wiring(expression),
        "output": expression.label,
        "values": expression.label not in labels,
        "distinct": program.distinct,
        "examples": examples(expression, program),
    }
    save_file(weights(model), folder / f"{name}.safetensors")
    (folder / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n")
    print(name, facts["wiring"], len(labels), "directions")


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


def examples(expression: rasp.SOp, program: Program) -> list[dict[str, list[Any]]]:
    """Random inputs and what the interpreter gives for them, under a causal mask."""
    from tracr.rasp import causal_eval

    draw = random.Random(0)
    words = list(program.vocabulary)
    inputs = [
        draw.sample(words, program.length) if program.distinct else [draw.choice(words) for _ in range(program.length)]
        for _ in range(EXAMPLES)
    ]
    return [{"input": [str(t) for t in text], "output": list(causal_eval.evaluate(expression, text))} for text in inputs]


if __name__ == "__main__":
    main()
