"""The planted transformer itself: a HookedTransformer whose weights are written by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from feature_graph.evaluation.planted.wiring import Gate, Wiring
from feature_graph.evaluation.planted.world import EPS, World

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

Floats = NDArray[np.float64]
State = dict[str, Floats]
#: Logit by which the head prefers the position before: what it reads elsewhere is e^-60 of it.
SHARP = 60.0


def write_model(plan: Wiring, world: World, rng: np.random.Generator) -> HookedTransformer:
    """Embedding, wires as MLP neurons, heads that look one position back; a random unembedding."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    context, d_model = world.places.shape
    written = [w.block for w in plan.units] + [g.block for g in plan.gates]
    cfg = HookedTransformerConfig(
        model_name="planted",
        n_layers=len(plan.dictionaries),
        d_model=d_model,
        d_head=context,
        n_heads=1,
        d_mlp=max(1, *(written.count(b) for b in range(len(plan.dictionaries)))),
        d_vocab=len(world.values),
        n_ctx=context,
        act_fn="relu",
        normalization_type=world.normalization,
        eps=EPS,
        default_prepend_bos=False,
        init_weights=False,
        device="cpu",
    )
    model = HookedTransformer(cfg)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items() if value.is_floating_point()}
    state: State = {name: np.ones(shape) if name.endswith(".w") else np.zeros(shape) for name, shape in shapes.items()}
    state["embed.W_E"], state["pos_embed.W_pos"] = world.values @ world.directions, world.places
    state["unembed.W_U"] = rng.standard_normal((d_model, len(world.values))) * 2 / np.sqrt(d_model)
    directions = dict(zip(plan.names, world.directions, strict=True))
    for block in range(cfg.n_layers):
        _write_mlp(state, f"blocks.{block}.mlp", plan, block, directions, world.gain)
        _write_head(state, f"blocks.{block}.attn", plan, block, directions, world)
    kept = {name: torch.tensor(value, dtype=torch.float32) for name, value in state.items() if not name.endswith(("IGNORE", "mask"))}
    model.load_state_dict(kept, strict=False)
    return model.eval()


def _write_mlp(state: State, name: str, plan: Wiring, block: int, directions: dict[str, Floats], gain: float) -> None:
    units: list[Any] = [w for w in plan.units if w.block == block and w.by == "mlp"]
    units += [g for g in plan.gates if g.block == block]
    for k, unit in enumerate(units):
        gate = isinstance(unit, Gate)
        state[f"{name}.W_in"][:, k] = directions[unit.first] + directions[unit.second] if gate else directions[unit.read]
        state[f"{name}.b_in"][k] = -unit.threshold * gain if gate else 0.0
        state[f"{name}.W_out"][k] = directions[unit.write] * (1.0 if gate else unit.slope) / gain
    for written, value in plan.base.get(block, {}).items():
        state[f"{name}.b_out"] += value * directions[written]


def _write_head(state: State, name: str, plan: Wiring, block: int, directions: dict[str, Floats], world: World) -> None:
    """One head that looks exactly one position back: queries and keys meet in the positions' own subspace."""
    carried = [w for w in plan.units if w.block == block and w.by == "head"]
    if not carried:
        return
    context = len(world.places)
    state[f"{name}.W_Q"][0] = SHARP * np.sqrt(context) * world.places.T
    state[f"{name}.W_K"][0] = (np.eye(context, k=1).T @ world.places).T
    for k, wire in enumerate(carried):
        state[f"{name}.W_V"][0][:, k] = directions[wire.read]
        state[f"{name}.W_O"][0][k] = wire.slope * directions[wire.write] / world.gain
