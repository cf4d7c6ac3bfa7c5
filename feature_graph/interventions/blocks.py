"""One transformer block over TransformerLens' weights, with the attention left to the caller.

:class:`SliceBlock` reads the weights of a ``TransformerBlock`` once (query, key and value projections fused; nothing else is
copied) and computes what that block computes, without hooks, for inputs of any leading shape [..., d_model]. How queries
meet keys is the caller's: all positions of whole contexts (:func:`attend_contexts`), or a few new positions behind a cached
prefix (:func:`attend_prefix`). Every operation is differentiable in forward and reverse mode.

Covered: LayerNorm and RMS norms with or without folded weights, or none; learned or rotary positions (also partial);
parallel or serial MLP; plain or gated MLP; grouped key/value heads; norms after attention and MLP; soft caps; sliding
windows; query/key norms. :func:`refuse` names what is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformer_lens.components import LayerNorm, LayerNormPre, RMSNorm, RMSNormPre

from feature_graph.interventions.errors import InterventionError

#: Settings of a HookedTransformer that change the numbers and that this adapter does not reproduce: (name, wanted value).
_WANTED: tuple[tuple[str, tuple[object, ...]], ...] = (
    ("positional_embedding_type", ("standard", "rotary")),
    ("attention_dir", ("causal",)),
    ("normalization_type", (None, "LN", "LNPre", "RMS", "RMSPre")),
    ("dtype", (torch.float32, torch.float64)),
    ("num_experts", (None, 0)),
    ("clip_qkv", (None,)),
    ("use_attention_sinks", (False,)),
    ("use_logn_attn", (False,)),
    ("use_dynamic_ntk_rope", (False,)),
    ("load_in_4bit", (False,)),
    ("post_embedding_ln", (False,)),
    ("n_devices", (1,)),
)
_POST_NORM = {"Olmo2ForCausalLM", "Olmo3ForCausalLM", "OlmoeForCausalLM"}


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
    if cfg.original_architecture in _POST_NORM:
        wrong.append(f"original_architecture = {cfg.original_architecture!r}")
    if wrong:
        hint = "; load it with dtype=torch.float32" if any(w.startswith("dtype") for w in wrong) else ""
        raise InterventionError(f"this model cannot be run in slices: {', '.join(wrong)} not supported{hint}")


@dataclass(frozen=True)
class Norm:
    """A normalisation over the last axis: centre (LayerNorm only), divide by the root mean square, scale, shift."""

    centre: bool
    eps: float
    w: Tensor | None = None
    b: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise [..., length]."""
        if self.centre:  # one fused pass
            return torch.nn.functional.layer_norm(x, x.shape[-1:], self.w, self.b, self.eps)
        x = x / (x.pow(2).mean(-1, keepdim=True) + self.eps).sqrt()
        if self.w is not None:
            x = x * self.w
        return x if self.b is None else x + self.b


def read_norm(module: nn.Module | Norm | None) -> Norm | None:
    """The normalisation of a TransformerLens module, or one that was read already; None for none.

    Raises:
        InterventionError: For a module of another kind.
    """
    if module is None or isinstance(module, nn.Identity):
        return None
    if isinstance(module, Norm):
        return module
    if isinstance(module, LayerNorm):
        return Norm(True, float(module.eps), module.w.detach(), module.b.detach())
    if isinstance(module, LayerNormPre):
        return Norm(True, float(module.eps))
    if isinstance(module, RMSNorm):
        return Norm(False, float(module.eps), module.w.detach())
    if isinstance(module, RMSNormPre):
        return Norm(False, float(module.eps))
    raise InterventionError(f"this model cannot be run in slices: normalisation {type(module).__name__} not supported")


def _apply(norm: Norm | None, x: Tensor) -> Tensor:
    return x if norm is None else norm(x)


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
        grouped = cfg.n_key_value_heads is not None
        w_k, w_v = (attn._W_K, attn._W_V) if grouped else (attn.W_K, attn.W_V)
        b_k, b_v = (attn._b_K, attn._b_V) if grouped else (attn.b_K, attn.b_V)
        self.n_kv = int(w_k.shape[0])
        self.w_qkv = torch.cat([w.detach().permute(1, 0, 2).flatten(1) for w in (attn.W_Q, w_k, w_v)], dim=1)
        self.b_qkv = torch.cat([b.detach().flatten() for b in (attn.b_Q, b_k, b_v)])
        self.w_o, self.b_o = attn.W_O.detach().flatten(0, 1), attn.b_O.detach()
        self.scale = float(attn.attn_scale)
        self.soft_cap = float(cfg.attn_scores_soft_cap) if cfg.attn_scores_soft_cap and cfg.attn_scores_soft_cap > 0 else None
        self.window = int(cfg.window_size) if attn.attn_type == "local" else None
        self.q_norm, self.k_norm = (read_norm(attn.q_norm), read_norm(attn.k_norm)) if cfg.use_qk_norm else (None, None)
        self.rotary = _Rotary.of(attn, n_ctx) if cfg.positional_embedding_type == "rotary" else None
        self.parallel, self.mlp = (
            bool(cfg.parallel_attn_mlp),
            None if cfg.attn_only else _Mlp(block.mlp, bool(cfg.gated_mlp), str(cfg.act_fn)),
        )
        self.norm1, self.norm2 = read_norm(block.ln1), read_norm(getattr(block, "ln2", None))
        self.post1, self.post2 = read_norm(getattr(block, "ln1_post", None)), read_norm(getattr(block, "ln2_post", None))

    def __call__(self, x: Tensor, attend: Callable[[Tensor], Tensor]) -> Tensor:
        """Run the block on the residual stream [..., d_model].

        Args:
            x: Residual stream before the block.
            attend: From the normalised input to what the heads gather, [..., n_heads * d_head].
        """
        heads = attend(_apply(self.norm1, x))
        attn_out = _apply(self.post1, torch.nn.functional.linear(heads, self.w_o.T, self.b_o))
        if self.mlp is None:
            return x + attn_out
        if self.parallel:
            return x + attn_out + _apply(self.post2, self.mlp(_apply(self.norm2, x)))
        mid = x + attn_out
        return mid + _apply(self.post2, self.mlp(_apply(self.norm2, mid)))

    def project(self, x: Tensor, positions: Tensor) -> Heads:
        """Queries, keys and values of normalised inputs [..., d_model] at ``positions`` [...] (broadcast)."""
        flat = torch.nn.functional.linear(x, self.w_qkv.T, self.b_qkv)
        q, k, v = flat.split([self.n_heads * self.d_head, self.n_kv * self.d_head, self.n_kv * self.d_head], dim=-1)
        q, k, v = (t.unflatten(-1, (-1, self.d_head)) for t in (q, k, v))
        q, k = _apply(self.q_norm, q), _apply(self.k_norm, k)
        if self.rotary is not None:
            q, k = self.rotary(q, positions), self.rotary(k, positions)
        return Heads(q, k, v)

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """Scaled and capped products [..., queries, d_head] × [..., keys, d_head] → [..., queries, keys]."""
        scores = q @ k.transpose(-1, -2) / self.scale
        return scores if self.soft_cap is None else self.soft_cap * torch.tanh(scores / self.soft_cap)


class _Mlp:
    def __init__(self, mlp: Any, gated: bool, act_fn: str) -> None:
        # TransformerLens writes the tanh form as several passes over the hidden layer; torch has it in one.
        tanh_form = act_fn in ("gelu_new", "gelu_fast")
        self.act = partial(torch.nn.functional.gelu, approximate="tanh") if tanh_form else mlp.act_fn
        self.w_in, self.b_in = mlp.W_in.detach(), mlp.b_in.detach()
        self.w_out, self.b_out = mlp.W_out.detach(), mlp.b_out.detach()
        self.w_gate = mlp.W_gate.detach() if gated else None

    def __call__(self, x: Tensor) -> Tensor:
        linear = torch.nn.functional.linear
        if self.w_gate is None:
            hidden = self.act(linear(x, self.w_in.T, self.b_in))
        else:
            hidden = self.act(linear(x, self.w_gate.T)) * linear(x, self.w_in.T) + self.b_in
        return linear(hidden, self.w_out.T, self.b_out)


@dataclass(frozen=True)
class _Rotary:
    sin: Tensor
    cos: Tensor
    dim: int
    adjacent: bool

    @classmethod
    def of(cls, attn: Any, n_ctx: int) -> _Rotary:
        sin, cos = attn.rotary_sin, attn.rotary_cos
        if len(sin) < n_ctx:
            sin, cos = attn.calculate_sin_cos_rotary(attn.cfg.rotary_dim, n_ctx, base=attn._rotary_base(), dtype=attn.cfg.dtype)
        return cls(sin.to(attn.W_Q.device), cos.to(attn.W_Q.device), int(attn.cfg.rotary_dim), bool(attn.cfg.rotary_adjacent_pairs))

    def __call__(self, x: Tensor, positions: Tensor) -> Tensor:
        turned, rest = x[..., : self.dim], x[..., self.dim :]
        if self.adjacent:
            flipped = torch.stack([-turned[..., 1::2], turned[..., ::2]], dim=-1).flatten(-2)
        else:
            first, second = turned.chunk(2, dim=-1)
            flipped = torch.cat([-second, first], dim=-1)
        cos, sin = self.cos[positions].unsqueeze(-2), self.sin[positions].unsqueeze(-2)
        turned = turned * cos + flipped * sin
        return torch.cat([turned, rest], dim=-1) if rest.shape[-1] else turned
