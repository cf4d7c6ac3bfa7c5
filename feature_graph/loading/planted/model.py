"""A transformer whose weights are written by hand, with dictionaries that read its directions: the engine's known truth.

Every named direction is one vector of a random orthonormal basis. Tokens write some of them; in block b an MLP neuron a wire
carries one to another, and a head that looks one position back carries ``carry`` onward. ``d_model`` is large against the number
of directions, so that random directions (placebos) have almost no share in any of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sae_lens.saes import SAE, JumpReLUSAE, JumpReLUSAEConfig, StandardSAE, StandardSAEConfig
from sae_lens.saes.sae import SAEMetadata
from transformer_lens import HookedTransformer, HookedTransformerConfig

from feature_graph.config import Config
from feature_graph.loading.planted.wiring import FeatureKey, Gate, Pair, TrueEffect, Wiring, nonlinear_pairs, standard_wiring, true_effects

Architecture = Literal["standard", "jumprelu"]
TEMPLATE = "blocks.{layer}.hook_resid_post"
BOS = 0


@dataclass(frozen=True)
class PlantedModel:
    """A model with known effects.

    Attributes:
        model: HookedTransformer.
        saes: Layer → SAELens SAE.
        tokens: int64 [n_docs, context]; the first token of each context is BOS and writes nothing.
        wiring: What is planted.
        edges: (source, target) as (layer, index) pairs → true linear effects inside the window.
        nonlinear: Pairs with a true effect that no slope describes.
        decoys: Pairs that are active together without a causal path.
        dead: Features that are never active.
        seed: Of the basis, the tokens and the activations.
    """

    model: HookedTransformer
    saes: dict[int, SAE[Any]]
    tokens: NDArray[np.int64]
    wiring: Wiring
    edges: dict[Pair, TrueEffect]
    nonlinear: list[Pair]
    decoys: list[Pair]
    dead: list[FeatureKey]
    seed: int

    def key(self, site: int, name: str) -> FeatureKey:
        """The (first) feature of a site that stands for a direction.

        Raises:
            KeyError: If the site has none.
        """
        keys = self.wiring.keys(site, name)
        if not keys:
            raise KeyError(f"site {site} has no feature {name!r}")
        return keys[0]

    def config(self, **changes: Any) -> Config:
        """A configuration that fits the model; ``changes`` override its fields."""
        values: dict[str, Any] = {
            "model_name": "planted",
            "sae_release": "planted",
            "sae_id_template": TEMPLATE,
            "layers": sorted(self.saes),
            "context_length": int(self.tokens.shape[1]),
            "n_tokens": max(16, int(self.tokens.size)),
            "prepend_bos": False,
            "sae_quality": "off",
            "top_k_features": 64,
            "min_coactivation": 0,
            "min_decoder_alignment": 0.0,
            "seed": self.seed,
        }
        return Config(**(values | changes))


def planted_model(
    seed: int = 0,
    *,
    n_docs: int = 160,
    context: int = 24,
    d_model: int = 512,
    architecture: Architecture = "standard",
    wiring: Wiring | None = None,
    window: int = 2,
) -> PlantedModel:
    """Build the planted transformer of SCIENCE.md, "Planted truth".

    Args:
        seed: Of the basis, the tokens and the activations.
        n_docs: Contexts of text.
        context: Tokens a context.
        d_model: Width; it must be much larger than the number of directions.
        architecture: Kind of the dictionaries.
        wiring: What is planted; the standard one by default.
        window: Sites that an effect may span in ``edges``.

    Raises:
        ValueError: If the width does not hold the directions.
    """
    plan = wiring or standard_wiring()
    names = plan.names
    if d_model < 2 * (len(names) + context):
        raise ValueError(
            f"d_model: got {d_model}; {len(names)} directions and {context} positions need at least {2 * (len(names) + context)}"
        )
    rng = np.random.default_rng([seed, 1])
    basis = np.linalg.qr(rng.standard_normal((d_model, len(names) + context)))[0].T
    directions = {name: basis[i] for i, name in enumerate(names)}
    embedding = _embedding(plan, directions, rng)
    model = _model(plan, directions, basis[len(names) :], embedding, rng)
    saes = {site: _sae(site, plan.dictionaries[site], directions, architecture) for site in range(len(plan.dictionaries))}
    tokens = rng.integers(1, len(embedding), (n_docs, context))
    tokens[:, 0] = BOS
    sites = range(len(plan.dictionaries))
    decoys = [
        (s, t) for a, b in plan.decoys for i in sites for j in range(i + 1, len(sites)) for s in plan.keys(i, a) for t in plan.keys(j, b)
    ]
    dead = [key for site in sites for key in plan.keys(site, "dead")]
    return PlantedModel(
        model, saes, tokens.astype(np.int64), plan, true_effects(plan, window), nonlinear_pairs(plan, window), decoys, dead, seed
    )


def _embedding(
    plan: Wiring, directions: dict[str, NDArray[np.float64]], rng: np.random.Generator, n_vocab: int = 400
) -> NDArray[np.float64]:
    """What each token writes: every driven direction at about a sixth of the tokens, with an activation of 1 to 3."""
    rows = np.zeros((n_vocab, len(next(iter(directions.values())))))
    values = {}
    for name in plan.driven:
        value = rng.uniform(1, 3, n_vocab) * (rng.random(n_vocab) < 1 / 6)
        if name.startswith("dense"):
            value = rng.uniform(0.5, 1.5, n_vocab)
        values[name] = value
    for source, target in plan.decoys:  # active at the very same tokens
        values[target] = values[source] * rng.uniform(0.5, 1.0, n_vocab)
    for first, second in ((g.first, g.second) for g in plan.gates):  # often both, or the gate would never open
        values[second] = np.where(rng.random(n_vocab) < 0.7, (values[first] > 0) * rng.uniform(1, 3, n_vocab), values[second])
    for name, value in values.items():
        rows += value[:, None] * directions[name]
    rows[BOS] = 0
    return rows


def _model(
    plan: Wiring,
    directions: dict[str, NDArray[np.float64]],
    places: NDArray[np.float64],
    embedding: NDArray[np.float64],
    rng: np.random.Generator,
) -> HookedTransformer:
    context, d_model = places.shape
    written = [unit.block for unit in (*plan.wires, *plan.pushed)] + [gate.block for gate in plan.gates]
    per_block = [written.count(b) for b in range(len(plan.dictionaries))]
    cfg = HookedTransformerConfig(
        model_name="planted",
        n_layers=len(plan.dictionaries),
        d_model=d_model,
        d_head=context,
        n_heads=1,
        d_mlp=max(1, *per_block),
        d_vocab=len(embedding),
        n_ctx=context,
        act_fn="relu",
        normalization_type=None,
        default_prepend_bos=False,
        init_weights=False,
        device="cpu",
    )
    model = HookedTransformer(cfg)
    state = {name: np.zeros(tuple(value.shape)) for name, value in model.state_dict().items() if value.is_floating_point()}
    state["embed.W_E"], state["pos_embed.W_pos"] = embedding, places
    state["unembed.W_U"] = rng.standard_normal((d_model, len(embedding))) * 2 / np.sqrt(d_model)
    for block in range(cfg.n_layers):
        _write_mlp(state, f"blocks.{block}.mlp", plan, block, directions)
        _write_head(state, f"blocks.{block}.attn", plan, block, directions, places)
    kept = {name: torch.tensor(value, dtype=torch.float32) for name, value in state.items() if not name.endswith(("IGNORE", "mask"))}
    model.load_state_dict(kept, strict=False)
    return model.eval()


def _write_mlp(
    state: dict[str, NDArray[np.float64]], name: str, plan: Wiring, block: int, directions: dict[str, NDArray[np.float64]]
) -> None:
    units: list[Any] = [w for w in (*plan.wires, *plan.pushed) if w.block == block and w.by == "mlp"]
    units += [g for g in plan.gates if g.block == block]
    for k, unit in enumerate(units):
        gate = isinstance(unit, Gate)
        state[f"{name}.W_in"][:, k] = directions[unit.first] + directions[unit.second] if gate else directions[unit.read]
        state[f"{name}.b_in"][k] = -unit.threshold if gate else 0.0
        state[f"{name}.W_out"][k] = directions[unit.write] * (1.0 if gate else unit.slope)
    for written, value in plan.base.get(block, {}).items():
        state[f"{name}.b_out"] += value * directions[written]


def _write_head(
    state: dict[str, NDArray[np.float64]],
    name: str,
    plan: Wiring,
    block: int,
    directions: dict[str, NDArray[np.float64]],
    places: NDArray[np.float64],
) -> None:
    """One head that looks exactly one position back: queries and keys meet in the positions' own subspace."""
    carried = [w for w in plan.wires if w.block == block and w.by == "head"]
    if not carried:
        return
    context = len(places)
    sharp = 60.0 * np.sqrt(context)
    state[f"{name}.W_Q"][0] = sharp * places.T
    state[f"{name}.W_K"][0] = (np.eye(context, k=1).T @ places).T
    for k, wire in enumerate(carried):
        state[f"{name}.W_V"][0][:, k] = directions[wire.read]
        state[f"{name}.W_O"][0][k] = wire.slope * directions[wire.write]


def _sae(site: int, dictionary: tuple[str, ...], directions: dict[str, NDArray[np.float64]], architecture: Architecture) -> SAE[Any]:
    hook = TEMPLATE.format(layer=site)
    common: dict[str, Any] = {"d_in": len(directions[dictionary[0]]), "d_sae": len(dictionary), "apply_b_dec_to_input": False}
    common["metadata"] = SAEMetadata(model_name="planted", hook_name=hook)
    jump = architecture == "jumprelu"
    sae: Any = JumpReLUSAE(JumpReLUSAEConfig(**common)) if jump else StandardSAE(StandardSAEConfig(**common))
    rows = np.stack([directions[name] for name in dictionary])
    shares = np.array([1 / dictionary.count(name) for name in dictionary])  # duplicates share what they read
    with torch.no_grad():
        sae.W_dec.copy_(torch.tensor(rows, dtype=torch.float32))
        sae.W_enc.copy_(torch.tensor((rows * shares[:, None]).T, dtype=torch.float32))
        sae.b_enc.copy_(torch.tensor([-10.0 if name == "dead" else 0.0 for name in dictionary]))
        sae.b_dec.zero_()
        if jump:
            sae.threshold.fill_(0.05)
    return sae.eval()
