"""Programs compiled into transformers by Tracr, whose every residual direction has a name: truth that nobody here wrote.

The files under ``programs`` are made by scripts/compile_tracr.py. To load one as the engine sees models:

1. Tracr's basis is turned by a random orthonormal map into a wider residual stream, so that random directions have little share in any
   feature, as in the planted models.
2. Each of Tracr's layers becomes two blocks, attention alone and MLP alone, so that there is a site after each of its steps.
3. Every labelled direction is one feature of an SAE at every site.
4. The outputs are the directions of the result: one for each value it can have, or one whose length is the value.

Lindner et al., "Tracr: Compiled Transformers as a Laboratory for Interpretability", https://arxiv.org/abs/2301.05062.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from feature_graph.config import Config

if TYPE_CHECKING:
    from sae_lens.saes import SAE
    from transformer_lens import HookedTransformer

PROGRAMS = ("share_of_x", "so_far", "repeats")
BOS = "BOS"
#: Always 1: the compiler's constant, part of no program. Never written: its padding.
CONSTANT, PADDING = "one", "tokens:compiler_pad"
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
        examples: (input, what the RASP interpreter gives for it).
        weights: Path → float64, in Tracr's basis.
        n_layers: Tracr's layers.
        n_heads: Heads of each.
    """

    name: str
    text: str
    labels: tuple[str, ...]
    vocabulary: dict[str, int]
    wiring: frozenset[tuple[str, str]]
    output: str
    values: bool
    examples: tuple[tuple[list[str], list[Any]], ...]
    weights: dict[str, Floats]
    n_layers: int
    n_heads: int

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
        return np.array([[self.vocabulary[BOS], *(self.vocabulary[t] for t in text)] for text in texts], dtype=np.int64)

    def random_tokens(self, n: int, seed: int) -> NDArray[np.int64]:
        """Random inputs of full length, [n, context]."""
        words = sorted(set(self.vocabulary) - {BOS, PADDING.split(":")[1]})
        draws = np.random.default_rng([seed, 3]).choice(words, (n, self.context - 1))
        return self.tokens(draws.tolist())


def load_program(name: str) -> CompiledProgram:
    """Read a compiled program.

    Raises:
        KeyError: If there is none of that name.
    """
    if name not in PROGRAMS:
        raise KeyError(f"program: got {name!r}; known are {', '.join(PROGRAMS)}")
    folder = files("feature_graph.evaluation.planted") / "programs"
    facts = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    with as_file(folder / f"{name}.safetensors") as path:
        weights = {key: value.astype(np.float64) for key, value in load_file(path).items()}
    return CompiledProgram(
        name=name,
        text=facts["text"],
        labels=tuple(facts["labels"]),
        vocabulary=facts["vocabulary"],
        wiring=frozenset((variable, source) for variable, source in facts["wiring"]),
        output=facts["output"],
        values=facts["values"],
        examples=tuple((e["input"], e["output"]) for e in facts["examples"]),
        weights=weights,
        n_layers=facts["layers"],
        n_heads=facts["heads"],
    )


@dataclass(frozen=True)
class LoadedProgram:
    """A program as the engine sees it.

    Attributes:
        model: HookedTransformer; block 2l is the attention, block 2l + 1 the MLP of Tracr's layer l.
        saes: Site → SAE with one feature a label: site 0 before the first block, site k after block k − 1.
    """

    model: HookedTransformer
    saes: dict[int, SAE[Any]]

    def config(self, n_tokens: int, **changes: Any) -> Config:
        """A configuration that fits; ``changes`` override its fields."""
        values: dict[str, Any] = {
            "model_name": "tracr",
            "sae_release": "tracr",
            "layers": sorted(self.saes),
            "layer_window": 1,
            "context_length": self.model.cfg.n_ctx,
            "n_tokens": n_tokens,
            "prepend_bos": False,
            "sae_quality": "off",
            "top_k_features": 1000,
            "min_coactivation": 0,
            "min_decoder_alignment": 0.0,
            # At BOS a width is 1/1, a value it has nowhere else, and one position in nine is BOS: the median is a value of the text.
            "clamp_high_quantile": 0.5,
            "n_intervention_samples": 1000,
        }
        return Config(**(values | changes))


def as_hooked(program: CompiledProgram, d_model: int = 512, seed: int = 0) -> LoadedProgram:
    """The program as a HookedTransformer with dictionaries that read its labelled directions."""
    size = len(program.labels)
    if d_model < size:
        raise ValueError(f"d_model: got {d_model}; {program.name} has {size} directions")
    turn = np.linalg.qr(np.random.default_rng([seed, 4]).standard_normal((d_model, size)))[0].T  # [labels, d_model]
    return LoadedProgram(_model(program, turn), {site: _sae(site, turn) for site in range(2 * program.n_layers + 1)})


def _model(program: CompiledProgram, turn: Floats) -> HookedTransformer:
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    weights, heads = program.weights, program.n_heads
    hidden = max(weights[f"transformer/layer_{n}/mlp/linear_1/w"].shape[1] for n in range(program.n_layers))
    keys = weights["transformer/layer_0/attn/key/w"].shape[1] // heads
    cfg = HookedTransformerConfig(
        model_name=f"tracr-{program.name}",
        n_layers=2 * program.n_layers,
        d_model=turn.shape[1],
        d_head=keys,
        n_heads=heads,
        d_mlp=hidden,
        d_vocab=len(program.vocabulary),
        d_vocab_out=len(program.result_columns),
        n_ctx=program.context,
        act_fn="relu",
        normalization_type=None,
        default_prepend_bos=False,
        init_weights=False,
        device="cpu",
        dtype=torch.float64,  # Tracr's steep weights leave float32 an error of 1e-5
    )
    model = HookedTransformer(cfg)
    state = {name: np.zeros(tuple(v.shape)) for name, v in model.state_dict().items() if v.is_floating_point()}
    state["embed.W_E"] = weights["token_embed/embeddings"] @ turn
    state["pos_embed.W_pos"] = weights["pos_embed/embeddings"] @ turn
    state["unembed.W_U"] = turn.T[:, program.result_columns]
    for layer in range(program.n_layers):
        state |= _attention(weights, f"transformer/layer_{layer}/attn", f"blocks.{2 * layer}.attn", heads, turn)
        state |= _mlp(weights, f"transformer/layer_{layer}/mlp", f"blocks.{2 * layer + 1}.mlp", hidden, turn)
    kept = {name: torch.tensor(value, dtype=torch.float64) for name, value in state.items() if not name.endswith(("IGNORE", "mask"))}
    model.load_state_dict(kept, strict=False)
    return model.eval()


def _attention(weights: dict[str, Floats], theirs: str, ours: str, heads: int, turn: Floats) -> dict[str, Floats]:
    found: dict[str, Floats] = {}
    for name, letter in (("query", "Q"), ("key", "K"), ("value", "V")):
        matrix, bias = weights[f"{theirs}/{name}/w"], weights[f"{theirs}/{name}/b"]
        found[f"{ours}.W_{letter}"] = np.stack([turn.T @ part for part in np.split(matrix, heads, axis=1)])
        found[f"{ours}.b_{letter}"] = bias.reshape(heads, -1)
    found[f"{ours}.W_O"] = np.stack([part @ turn for part in np.split(weights[f"{theirs}/linear/w"], heads, axis=0)])
    found[f"{ours}.b_O"] = weights[f"{theirs}/linear/b"] @ turn
    return found


def _mlp(weights: dict[str, Floats], theirs: str, ours: str, hidden: int, turn: Floats) -> dict[str, Floats]:
    first, second = weights[f"{theirs}/linear_1/w"], weights[f"{theirs}/linear_2/w"]
    more = hidden - first.shape[1]
    return {
        f"{ours}.W_in": np.pad(turn.T @ first, ((0, 0), (0, more))),
        f"{ours}.b_in": np.pad(weights[f"{theirs}/linear_1/b"], (0, more)),
        f"{ours}.W_out": np.pad(second @ turn, ((0, more), (0, 0))),
        f"{ours}.b_out": weights[f"{theirs}/linear_2/b"] @ turn,
    }


def _sae(site: int, turn: Floats) -> SAE[Any]:
    from sae_lens.saes import StandardSAE, StandardSAEConfig
    from sae_lens.saes.sae import SAEMetadata

    hook = f"blocks.{site - 1}.hook_resid_post" if site else "blocks.0.hook_resid_pre"
    metadata = SAEMetadata(model_name="tracr", hook_name=hook)
    sae: Any = StandardSAE(StandardSAEConfig(d_in=turn.shape[1], d_sae=len(turn), apply_b_dec_to_input=False, metadata=metadata))
    with torch.no_grad():
        sae.W_dec.copy_(torch.tensor(turn, dtype=torch.float32))
        sae.W_enc.copy_(torch.tensor(turn.T, dtype=torch.float32))
        sae.b_enc.zero_()
        sae.b_dec.zero_()
    return sae.eval()
