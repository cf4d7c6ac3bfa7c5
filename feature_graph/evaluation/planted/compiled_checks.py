"""The two files of a compiled program, read and checked as a whole before anything is measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from feature_graph.evaluation.errors import EvaluationError

Floats = NDArray[np.float64]
Shape = tuple[int | str, ...]
#: What every input begins with, and the token that Tracr adds for padding.
BOS, PADDING = "BOS", "compiler_pad"
#: Facts that must be there, and what they are.
NEEDED: dict[str, type] = {"labels": list, "vocabulary": dict, "output": str, "layers": int, "heads": int}
#: Those that need not, and what holds without them.
OPTIONAL: dict[str, Any] = {"text": "", "wiring": [], "values": True, "distinct": False, "examples": [], "bos": BOS}
_ADVICE = "expected NAME.json and NAME.safetensors, as scripts/compile_tracr.py writes them"
_TYPES = {list: "a list", dict: "an object", str: "a text", int: "a whole number", bool: "true or false"}


class ProgramError(EvaluationError):
    """Files that are no compiled program; the message names the file and what is wrong."""

    exit_code: ClassVar[int] = 2


def read_facts(path: Path) -> dict[str, Any]:
    """Facts of a program, complete.

    Raises:
        ProgramError: If the file is missing, is no JSON object, or lacks or contradicts a fact.
    """
    if not path.is_file():
        raise ProgramError(f"program: there is no file {path}; {_ADVICE}")
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ProgramError(f"{path}: not JSON ({error}); {_ADVICE}") from error
    if not isinstance(given, dict):
        raise ProgramError(f"{path}: got {type(given).__name__}; expected an object with {', '.join(NEEDED)}")
    missing = [name for name in NEEDED if name not in given]
    if missing:
        raise ProgramError(f"{path}: {', '.join(missing)} missing; expected {', '.join(NEEDED)}, and may have {', '.join(OPTIONAL)}")
    facts = OPTIONAL | given
    for name, kind in (NEEDED | {name: type(value) for name, value in OPTIONAL.items()}).items():
        if type(facts[name]) is not kind:
            raise ProgramError(f"{path}: {name}: got {facts[name]!r:.80}; expected {_TYPES[kind]}")
    if complaints := _complaints(facts):
        raise ProgramError(f"{path}: {'; '.join(complaints)}")
    return facts


def _complaints(facts: Mapping[str, Any]) -> list[str]:
    labels, vocabulary = facts["labels"], facts["vocabulary"]
    found = []
    if not labels or not all(isinstance(label, str) for label in labels) or len(set(labels)) < len(labels):
        found.append("labels: expected one text for each direction, none twice")
    elif facts["output"] not in {label.split(":")[0] for label in labels}:
        found.append(f"output: got {facts['output']!r}; expected the variable of a label, such as {labels[0].split(':')[0]!r}")
    if sorted(number for number in vocabulary.values() if type(number) is int) != list(range(len(vocabulary))):
        found.append(f"vocabulary: expected the ids 0 to {len(vocabulary) - 1}, each once")
    if facts["bos"] not in vocabulary:
        found.append(f'vocabulary: it has no {facts["bos"]!r}, with which every input begins; "bos" names another token')
    elif not words(facts):
        found.append(f"vocabulary: it has no token beside {facts['bos']!r}")
    if min(facts["layers"], facts["heads"]) < 1:
        found.append(f"layers and heads: got {facts['layers']} and {facts['heads']}; expected at least 1")
    if not all(isinstance(edge, list) and len(edge) == 2 for edge in facts["wiring"]):
        found.append("wiring: expected pairs [variable, variable that it is computed from]")
    if not all(isinstance(example, dict) and {"input", "output"} <= set(example) for example in facts["examples"]):
        found.append("examples: expected objects with input and output")
    return found


def words(facts: Mapping[str, Any]) -> list[str]:
    """Tokens that inputs are made of."""
    return sorted(set(facts["vocabulary"]) - {facts["bos"], PADDING})


def read_weights(path: Path, facts: Mapping[str, Any]) -> dict[str, Floats]:
    """Arrays of a program, float64.

    Raises:
        ProgramError: If the file is missing or unreadable, an array is missing, unknown, of another shape or not finite, or nothing is
            ever written.
    """
    if not path.is_file():
        raise ProgramError(f"program: there is no file {path}; {_ADVICE}")
    try:
        weights = {name: value.astype(np.float64) for name, value in load_file(path).items()}
    except SafetensorError as error:
        raise ProgramError(f"{path}: not a safetensors file ({error})") from error
    wanted = _shapes(facts)
    for what, names in (("missing", wanted.keys() - weights), ("no part of such a program", weights.keys() - wanted)):
        if names:
            raise ProgramError(
                f"{path}: {', '.join(sorted(names)[:5])}: {what}; expected the arrays of {facts['layers']} layers, as Tracr names them"
            )
    _check_shapes(path, weights, wanted, facts["heads"])
    length = len(weights["pos_embed/embeddings"]) - 1
    if length < 1 or (facts["distinct"] and len(words(facts)) < length):
        raise ProgramError(f"{path}: {length} positions beside that of {facts['bos']!r}, {len(words(facts))} tokens to put there")
    broken = [name for name, value in weights.items() if not np.isfinite(value).all()]
    if broken:
        raise ProgramError(f"{path}: {broken[0]} holds NaN or infinity")
    if not any(value.any() for name, value in weights.items() if name.endswith(("attn/linear/w", "mlp/linear_2/w"))):
        raise ProgramError(f"{path}: attention and MLPs write nothing, so that there is no wiring to find")
    return weights


def _shapes(facts: Mapping[str, Any]) -> dict[str, Shape]:
    """Array → its shape; a name in place of a number is the same number wherever it stands."""
    size = len(facts["labels"])
    found: dict[str, Shape] = {"token_embed/embeddings": (len(facts["vocabulary"]), size), "pos_embed/embeddings": ("positions", size)}
    for n in range(facts["layers"]):
        attention, mlp, hidden = f"transformer/layer_{n}/attn", f"transformer/layer_{n}/mlp", f"neurons of layer {n}"
        for part in ("query", "key", "value"):
            found |= {f"{attention}/{part}/w": (size, "heads x keys"), f"{attention}/{part}/b": ("heads x keys",)}
        found |= {f"{attention}/linear/w": ("heads x keys", size), f"{attention}/linear/b": (size,)}
        found |= {f"{mlp}/linear_1/w": (size, hidden), f"{mlp}/linear_1/b": (hidden,)}
        found |= {f"{mlp}/linear_2/w": (hidden, size), f"{mlp}/linear_2/b": (size,)}
    return found


def _check_shapes(path: Path, weights: Mapping[str, Floats], wanted: Mapping[str, Shape], heads: int) -> None:
    known: dict[str, int] = {}
    for name, shape in wanted.items():
        got = weights[name].shape
        fits = len(got) == len(shape) and all(
            n == (known.setdefault(w, n) if isinstance(w, str) else w) for n, w in zip(got, shape, strict=True)
        )
        if not fits:
            told = " × ".join(f"{w} = {known[w]}" if w in known else str(w) for w in shape)
            raise ProgramError(f"{path}: {name}: got {' × '.join(map(str, got))}; expected {told}")
    if known["heads x keys"] % heads:
        raise ProgramError(f"{path}: {known['heads x keys']} columns of the keys do not divide into {heads} heads")
