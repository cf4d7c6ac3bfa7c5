"""The plain path: whole forward passes with TransformerLens hooks, one sample at a time.

It computes what :func:`feature_graph.interventions.clamp.clamp_effects` computes and shares none of its block code; the two
are compared in the tests. It is also the way to check a single edge by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from feature_graph.artifacts import Site
from feature_graph.dictionaries import HookedModel, SiteCodec
from feature_graph.interventions.clamp import MEASURES, Clamps, Effects, Reading
from feature_graph.interventions.errors import InterventionError
from feature_graph.interventions.holding import RANK_TOLERANCE, ROUNDING

Hook = Callable[[Tensor], Tensor]


@torch.no_grad()
def plain_effects(
    model: HookedModel, tokens: Tensor, source: Site, clamps: Clamps, path: Sequence[Reading], horizon: int, counted: Tensor
) -> list[Effects]:
    """Effects of each clamp by full forward passes.

    Args:
        model: A HookedTransformer or TransformerBridge.
        tokens: int64 [n_docs, context].
        source: Site of the sources.
        clamps: The samples.
        path: Every analysed site after the source's, in order.
        horizon: Later positions.
        counted: bool [n_docs, context].
    """
    each = [_one(model, tokens, source, clamps, s, path, horizon, counted) for s in range(len(clamps.documents))]
    sites = [map(torch.stack, zip(*site, strict=True)) for site in zip(*each, strict=True)]
    return [Effects(**dict(zip(MEASURES, measures, strict=True)), passed=None) for measures in sites]


def _one(
    model: HookedModel, tokens: Tensor, source: Site, clamps: Clamps, s: int, path: Sequence[Reading], horizon: int, counted: Tensor
) -> list[tuple[Tensor, ...]]:
    document, p = int(clamps.documents[s]), int(clamps.positions[s])
    context = tokens[document].expand(2, -1)
    hooks = [r.codec.site.hook for r in path]

    def clamp(x: Tensor) -> Tensor:
        x = x.clone()
        x[:, p] += clamps.shift[s]
        return x

    clean = run_hooked(model, context, {}, hooks)
    free = run_hooked(model, context, {source.hook: [clamp]}, hooks)
    after = slice(p + 1, min(p + horizon, context.shape[1] - 1) + 1)
    weight = counted[document, after].to(clamps.high.dtype)
    results = []
    for k, reading in enumerate(path):
        edits: dict[str, list[Hook]] = {source.hook: [clamp]}
        for passed in path[:k]:
            edits.setdefault(passed.codec.site.hook, []).append(partial(_hold, passed.codec, clean[passed.codec.site.hook][0], p))
        held = run_hooked(model, context, edits, [hooks[k]])[hooks[k]]
        results.append(_compare(reading, clean[hooks[k]], free[hooks[k]], held, clamps, s, p, after, weight))
    return results


def _hold(codec: SiteCodec, clean: Tensor, p: int, x: Tensor) -> Tensor:
    """x [2, context, d_model] with the features at p held at their values in ``clean`` [context, d_model]."""
    x = x.clone()
    members = _active(codec, clean[None, p]) | _active(codec, x[:, p])
    while True:
        read = codec.w_enc.T[members].double()
        read, write = read / read.norm(dim=1, keepdim=True), codec.w_dec[members].double()
        change = x[:, p].double() - clean[p].double()
        carried = change @ read.T @ torch.linalg.pinv(read @ write.T, rtol=RANK_TOLERANCE).T @ write
        x[:, p] = (clean[p].double() + change - carried).to(x.dtype)
        joining = _active(codec, x[:, p]) & ~members
        if not joining.any():
            return x
        members = members | joining


def _active(codec: SiteCodec, x: Tensor) -> Tensor:
    """Which features that write are active in one of x [n, d_model]; bool [d_sae]."""
    x = x.to(codec.w_enc.dtype)
    smallest = ROUNDING * x.norm(dim=1, keepdim=True) * codec.w_enc.norm(dim=0)
    return ((codec.record(x) > smallest) & (codec.w_dec != 0).any(1)).any(0)


def _compare(
    reading: Reading, clean: Tensor, free: Tensor, held: Tensor, clamps: Clamps, s: int, p: int, after: slice, weight: Tensor
) -> tuple[Tensor, ...]:
    codec, asked, dtype = reading.codec, reading.features, reading.codec.w_enc.dtype
    index = torch.arange(codec.d_sae, device=free.device) if asked is None else asked
    pre = codec.preactivation(free.to(dtype))[..., index]
    f, f_held = codec.encode(free.to(dtype))[..., index], codec.encode(held.to(dtype))[..., index]
    arrived = codec.encode((clean[:, p] + clamps.shift[s]).to(dtype))[..., index]
    on = codec.is_active(f[:, p], index).to(dtype)
    later = ((f[0, after] - f[1, after]) * weight[:, None]).sum(0)
    total, direct = f[0, p] - f[1, p], f_held[0, p] - f_held[1, p]
    return total, direct, later, pre[0, p] - pre[1, p], on[0] - on[1], arrived[0] - arrived[1]


def run_hooked(model: HookedModel, tokens: Tensor, edits: dict[str, list[Hook]], read: Sequence[str]) -> dict[str, Tensor]:
    """One forward pass with edits, reading some hooks after them.

    Args:
        model: A HookedTransformer or TransformerBridge.
        tokens: int64 [n, context].
        edits: Hook name → functions applied to its value in turn.
        read: Hook names to keep.

    Raises:
        InterventionError: If a hook did not fire: its name is not one of the model's.
    """
    kept: dict[str, Tensor] = {}
    fired: set[str] = set()

    def at(value: Tensor, hook: Any, name: str) -> Tensor:  # noqa: ARG001 (a bridge's hook may call itself by another name)
        fired.add(name)
        for edit in edits.get(name, []):
            value = edit(value)
        if name in read:
            kept[name] = value.detach().clone()
        return value

    names = set(edits) | set(read)
    unknown = sorted(names - set(model.hook_dict))
    if unknown:
        raise InterventionError(f"hooks {unknown} do not exist in this model")
    model.run_with_hooks(tokens, return_type=None, fwd_hooks=[(name, partial(at, name=name)) for name in sorted(names)])
    if fired != names:
        raise InterventionError(f"hooks {sorted(names - fired)} did not fire; the result would be that of an unedited run")
    return kept
