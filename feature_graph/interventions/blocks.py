"""One transformer block over TransformerLens' weights, with the attention left to the caller.

:class:`SliceBlock` reads the weights of a ``TransformerBlock`` once (query, key and value projections fused; nothing else is
copied) and computes what that block computes, without hooks, for inputs of any leading shape [..., d_model]. How queries
meet keys is the caller's: all positions of whole contexts (:func:`attend_contexts`), or a few new positions after a cached
prefix (:func:`attend_prefix`). Every operation is differentiable in forward and reverse mode.

Covered: LayerNorm and RMS norms with or without folded weights, or none; learned or rotary positions (also partial, also another base a
block, or none in some); parallel or serial MLP; plain or gated MLP, with or without biases; grouped key/value heads; norms before or after
attention and MLP, or both; soft caps; sliding windows; query/key norms and clipping; outputs scaled by a constant. :func:`refuse` names
what is not.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from feature_graph.dictionaries import POST_NORM, TensorName
from feature_graph.interventions.errors import InterventionError
from feature_graph.interventions.norms import Norm, apply, read_norm
from feature_graph.interventions.rotary import Rotary, RotaryTable

#: Settings of a HookedTransformer that change the numbers and that this adapter does not reproduce: (name, wanted value).
_WANTED: tuple[tuple[str, tuple[object, ...]], ...] = (
    ("positional_embedding_type", ("standard", "rotary")),
    ("attention_dir", ("causal",)),
    ("normalization_type", (None, "LN", "LNPre", "RMS", "RMSPre")),
    ("dtype", (torch.float32, torch.float64)),
    ("num_experts", (None, 0)),
    ("use_attention_sinks", (False,)),
    ("use_logn_attn", (False,)),
    ("use_dynamic_ntk_rope", (False,)),
    ("load_in_4bit", (False,)),
    ("post_embedding_ln", (False,)),
    ("n_devices", (1,)),
)


def refuse(model: Any) -> None:
    """Refuse a model that the adapter cannot run with the model's own numbers.

    Raises:
        InterventionError: Naming the class or the settings that stand in the way.
    """
    if not (hasattr(model, "blocks") and hasattr(model, "embed") and hasattr(getattr(model, "cfg", None), "normalization_type")):
        raise InterventionError(
            f"model: got {type(model).__name__}; interventions run on a transformer_lens HookedTransformer or TransformerBridge"
        )
    cfg = model.cfg
    wrong = [f"{name} = {getattr(cfg, name)!r}" for name, allowed in _WANTED if hasattr(cfg, name) and getattr(cfg, name) not in allowed]
    if not cfg.attn_only and str(cfg.act_fn).endswith("_ln"):
        wrong.append(f"act_fn = {cfg.act_fn!r}")
    if wrong:
        hint = "; load it with dtype=torch.float32" if any(w.startswith("dtype") for w in wrong) else ""
        raise InterventionError(
            f"this model cannot be run in slices: {', '.join(wrong)} not supported (interventions need learned or rotary positions, causal "
            f"attention, dense MLPs and float32 or float64){hint}"
        )


class Tap(Protocol):
    """What is done at the tensors of a block on the way."""

    def wants(self, name: TensorName) -> bool:
        """Whether anything is done at a tensor; only where the normalised stream is wanted is the norm taken in two steps."""

    def __call__(self, name: TensorName, x: Tensor) -> Tensor:
        """The tensor to go on with."""


def go_on(_: TensorName, x: Tensor) -> Tensor:
    """The tap that changes and keeps nothing."""
    return x


@dataclass(frozen=True)
class Heads:
    """Queries, keys and values.

    Attributes:
        q: [..., n_heads, d_head], rotated where the model rotates.
        k: [..., n_kv_heads, d_head], rotated likewise.
        v: [..., n_kv_heads, d_head].
    """

    q: Tensor
    k: Tensor
    v: Tensor


class SliceBlock:
    """The arithmetic of one block; see the module's docstring."""

    def __init__(self, block: Any, n_ctx: int) -> None:
        cfg, attn = block.cfg, block.attn
        self.n_heads, self.d_head = int(cfg.n_heads), int(cfg.d_head)
        self._read_projections(attn, grouped=cfg.n_key_value_heads is not None)
        self.w_o, self.b_o = attn.W_O.detach().flatten(0, 1), attn.b_O.detach()
        self.scale = float(attn.attn_scale)
        self.soft_cap = float(cfg.attn_scores_soft_cap) if cfg.attn_scores_soft_cap and cfg.attn_scores_soft_cap > 0 else None
        self.clip = float(cfg.clip_qkv) if getattr(cfg, "clip_qkv", None) is not None else None
        self.window = int(cfg.window_size) if attn.attn_type == "local" else None
        self.q_norm, self.k_norm = read_norm(getattr(attn, "q_norm", None)), read_norm(getattr(attn, "k_norm", None))
        self.rotary = _rotary(attn, n_ctx) if cfg.positional_embedding_type == "rotary" else None
        self.parallel = bool(cfg.parallel_attn_mlp)
        self.mlp = None if cfg.attn_only else SliceMlp(block.mlp, bool(cfg.gated_mlp), str(cfg.act_fn))
        self._read_norms(block, after=cfg.original_architecture in POST_NORM)

    def _read_projections(self, attn: Any, *, grouped: bool) -> None:
        w_k, w_v = (attn._W_K, attn._W_V) if grouped else (attn.W_K, attn.W_V)
        b_k, b_v = (attn._b_K, attn._b_V) if grouped else (attn.b_K, attn.b_V)
        self.n_kv = int(w_k.shape[0])
        self.w_qkv = torch.cat([w.detach().permute(1, 0, 2).flatten(1) for w in (attn.W_Q, w_k, w_v)], dim=1)
        self.b_qkv = torch.cat([b.detach().flatten() for b in (attn.b_Q, b_k, b_v)])

    def _read_norms(self, block: Any, *, after: bool) -> None:
        norms = [read_norm(getattr(block, name, None)) for name in ("ln1", "ln2", "ln1_post", "ln2_post")]
        self.norm1, self.norm2, self.post1, self.post2 = [None, None, *norms[:2]] if after else norms

    def __call__(self, x: Tensor, attend: Callable[[Tensor], Tensor], tap: Tap | None = None) -> Tensor:
        """Run the block on the residual stream [..., d_model].

        Args:
            x: Residual stream before the block.
            attend: From the normalised input to what the heads gather, [..., n_heads * d_head].
            tap: Called with each tensor on the way; the block goes on with what it gives back.
        """
        at = tap or go_on
        x = at("resid_pre", x)
        heads = at("z", attend(apply(self.norm1, x)))
        after = x + at("attn_out", apply(self.post1, torch.nn.functional.linear(heads, self.w_o.T, self.b_o)))
        if self.mlp is None:
            return at("resid_post", after)
        after = after if self.parallel else at("resid_mid", after)
        branch = at("mlp_stream", x if self.parallel else after)
        if self.norm2 is None or tap is None or not tap.wants("mlp_normalized"):
            normed = apply(self.norm2, branch)
        else:
            normed = self.norm2.scaled(at("mlp_normalized", self.norm2.bare(branch)))
        mlp_out = at("mlp_out", apply(self.post2, self.mlp(at("mlp_in", normed))))
        return at("resid_post", after + mlp_out)

    def project(self, x: Tensor, positions: Tensor, context: int) -> Heads:
        """Queries, keys and values of normalised inputs [..., d_model] at ``positions`` [...] (broadcast) of ``context`` tokens."""
        flat = torch.nn.functional.linear(x, self.w_qkv.T, self.b_qkv)
        q, k, v = flat.split([self.n_heads * self.d_head, self.n_kv * self.d_head, self.n_kv * self.d_head], dim=-1)
        q, k = self._normed(self.q_norm, q), self._normed(self.k_norm, k)
        q, k, v = (t.unflatten(-1, (-1, self.d_head)) for t in (q, k, v))
        if self.clip is not None:
            q, k, v = (t.clamp(-self.clip, self.clip) for t in (q, k, v))
        if self.rotary is not None:
            q, k = self.rotary(q, positions, context), self.rotary(k, positions, context)
        return Heads(q, k, v)

    def _normed(self, norm: Norm | None, flat: Tensor) -> Tensor:
        """Norm of each head, or of all heads together where its weights are that long (OLMo 2)."""
        if norm is None or norm.w is None or len(norm.w) == flat.shape[-1]:
            return apply(norm, flat)
        return norm(flat.unflatten(-1, (-1, self.d_head))).flatten(-2)

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """Scaled and capped products [..., queries, d_head] × [..., keys, d_head] → [..., queries, keys]."""
        scores = q @ k.transpose(-1, -2) / self.scale
        return scores if self.soft_cap is None else self.soft_cap * torch.tanh(scores / self.soft_cap)


class SliceMlp:
    """The arithmetic of a plain or gated MLP."""

    def __init__(self, mlp: Any, gated: bool, act_fn: str) -> None:
        # TransformerLens writes the tanh form as several passes over the hidden layer; torch has it in one.
        tanh_form = act_fn in ("gelu_new", "gelu_fast")
        self.act = partial(torch.nn.functional.gelu, approximate="tanh") if tanh_form else mlp.act_fn
        self.w_in, self.b_in = mlp.W_in.detach(), mlp.b_in.detach()
        self.w_out, self.b_out = mlp.W_out.detach(), mlp.b_out.detach()
        self.w_gate = mlp.W_gate.detach() if gated else None
        # A HookedTransformer adds the bias of a gated MLP to the product, transformers before it, and the gate has its own.
        self.b_gate = getattr(mlp, "b_gate", None)
        self.b_up = getattr(mlp, "b_up", None)

    def __call__(self, x: Tensor) -> Tensor:
        """What the MLP gives for normalised inputs [..., d_model]."""
        linear = torch.nn.functional.linear
        if self.w_gate is None:
            hidden = self.act(linear(x, self.w_in.T, self.b_in))
        else:
            hidden = self.act(linear(x, self.w_gate.T, self.b_gate)) * linear(x, self.w_in.T, self.b_up) + self.b_in
        return linear(hidden, self.w_out.T, self.b_out)


def _rotary(attn: Any, n_ctx: int) -> Rotary | None:
    """What was read of a bridge's attention (None where a block has no rotary positions), or a HookedTransformer's tables."""
    return attn.rotary if hasattr(attn, "rotary") else Rotary.of(attn, n_ctx)


def as_type(part: Any, dtype: torch.dtype) -> Any:
    """A copy of a block, or of a part of it, with every weight and table in ``dtype``."""
    if isinstance(part, Tensor):
        return part.to(dtype) if part.is_floating_point() else part
    if not isinstance(part, (SliceBlock, SliceMlp, Norm, Rotary, RotaryTable)):
        return part
    made = copy.copy(part)
    for name, value in vars(part).items():
        object.__setattr__(made, name, as_type(value, dtype))
    return made
