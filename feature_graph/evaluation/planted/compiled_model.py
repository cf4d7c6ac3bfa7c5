"""A compiled program as the engine sees models: a HookedTransformer, and dictionaries that read its labelled directions.

1. Tracr's basis is kept as it is, or turned by a random orthonormal map: into a residual stream as wide as the program has directions,
   or into a wider one, where random directions have little share in any feature, as in the planted models.
2. Each of Tracr's layers becomes two blocks, attention alone and MLP alone, so that there is a site after each of its steps.
3. Every labelled direction is one feature of an SAE at every site.
4. The outputs are the directions of the result: one for each value it can have, or one whose length is the value.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from feature_graph.config import Config
from feature_graph.evaluation.errors import EvaluationError
from feature_graph.evaluation.planted.compiled import CompiledProgram

if TYPE_CHECKING:
    from sae_lens.saes import SAE
    from transformer_lens import HookedTransformer

Floats = NDArray[np.float64]
Basis = Literal["original", "rotated"]
BASES: tuple[Basis, ...] = ("original", "rotated")


@dataclass(frozen=True)
class LoadedProgram:
    """A program as the engine sees it.

    Attributes:
        model: HookedTransformer; block 2l is the attention, block 2l + 1 the MLP of Tracr's layer l.
        saes: Site → SAE with one feature per label: site 0 before the first block, site k after block k − 1.
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

    def own_width_config(self, n_tokens: int, **changes: Any) -> Config:
        """The configuration that ships with the programs, for models in their own width; ``changes`` override its fields."""
        with as_file(files("feature_graph.evaluation.planted") / "compiled.yaml") as path:
            shipped = Config.load(path).model_dump()
        text = {"layers": sorted(self.saes), "context_length": self.model.cfg.n_ctx, "n_tokens": n_tokens}
        return Config(**(shipped | text | changes))


def as_hooked(program: CompiledProgram, d_model: int | None = 512, seed: int = 0, basis: Basis = "rotated") -> LoadedProgram:
    """The program as a HookedTransformer with dictionaries that read its labelled directions.

    Args:
        program: The program.
        d_model: Width of the residual stream; None: as many as the program has directions.
        seed: Of the random map.
        basis: ``original`` keeps Tracr's basis (in its own width), ``rotated`` turns it.

    Raises:
        EvaluationError: If the width does not hold the directions, or the original basis is asked for in another width.
    """
    size = len(program.labels)
    width = size if d_model is None else d_model
    if width < size:
        raise EvaluationError(f"d_model: got {width}; {program.name} has {size} directions")
    if basis == "original" and width != size:
        raise EvaluationError(f"d_model: got {width}; the original basis of {program.name} has {size} directions, so leave d_model at None")
    turn = np.eye(size) if basis == "original" else _rotation(size, width, seed)
    return LoadedProgram(_model(program, turn), {site: _sae(site, turn) for site in range(2 * program.n_layers + 1)})


def _rotation(size: int, width: int, seed: int) -> Floats:
    """Orthonormal rows, [size, width]."""
    return np.linalg.qr(np.random.default_rng([seed, 4]).standard_normal((width, size)))[0].T


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
