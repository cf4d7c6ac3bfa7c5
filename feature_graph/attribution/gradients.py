"""Forward and backward through the model's hooks: residual streams, the next-token loss, and its gradient at every site at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from feature_graph.artifacts import Site

#: Tokens whose intermediate values are kept at a time, on a CPU.
_CPU_TOKENS = 256


@dataclass(frozen=True)
class SiteGradients:
    """One backward pass.

    Attributes:
        loss: Per document, sum over positions of the next-token loss in nats, [n], float64.
        residuals: Layer → residual stream at the site, float32 [n, context, d_in].
        gradients: Layer → ∂ loss.sum() / ∂ residual, float32 [n, context, d_in].
    """

    loss: Tensor
    residuals: dict[int, Tensor]
    gradients: dict[int, Tensor]


def site_gradients(model: Any, sites: Mapping[int, Site], tokens: Tensor, counted: Tensor) -> SiteGradients:
    """Gradient of the next-token loss with respect to the residual stream at every site, by one forward and one backward pass.

    The stream is cut off from what lies before the first site, so nothing is computed backwards there; parameters are frozen meanwhile.
    On a CPU a few documents pass at a time: a backward pass keeps every block's intermediate values, and more rows gain no speed there.

    Args:
        model: HookedTransformer.
        sites: Layer → Site.
        tokens: int64 [n, context].
        counted: bool [n, context]; the loss of predicting these tokens counts.

    Raises:
        RuntimeError: If a hook did not fire.
    """
    step = max(1, _CPU_TOKENS // tokens.shape[1]) if tokens.device.type == "cpu" else len(tokens)
    parts = [_one_pass(model, sites, tokens[k : k + step], counted[k : k + step]) for k in range(0, len(tokens), step)]
    return SiteGradients(
        torch.cat([part.loss for part in parts]),
        {layer: torch.cat([part.residuals[layer] for part in parts]) for layer in sites},
        {layer: torch.cat([part.gradients[layer] for part in parts]) for layer in sites},
    )


def _one_pass(model: Any, sites: Mapping[int, Site], tokens: Tensor, counted: Tensor) -> SiteGradients:
    names = _hooks_in_order(sites.values())
    seen: dict[str, Tensor] = {}

    def record(x: Tensor, hook: Any, name: str) -> Tensor:  # noqa: ARG001 (a bridge's hook may call itself by another name)
        if not seen:
            x = x.detach().requires_grad_()
        seen[name] = x
        return x

    with _frozen(model), torch.enable_grad():
        logits = model.run_with_hooks(tokens, return_type="logits", fwd_hooks=[(name, partial(record, name=name)) for name in names])
        lost = [name for name in names if name not in seen]
        if lost:
            raise RuntimeError(f"hooks {lost} did not fire; the model has {type(model).__name__} blocks 0 to {model.cfg.n_layers - 1}")
        loss = next_token_loss(logits, tokens, counted)
        gradients = dict(zip(names, torch.autograd.grad(loss.sum(), [seen[name] for name in names]), strict=True))
    return SiteGradients(
        loss.detach(),
        {layer: seen[site.hook].detach().float() for layer, site in sites.items()},
        {layer: gradients[site.hook].float() for layer, site in sites.items()},
    )


def next_token_loss(logits: Tensor, tokens: Tensor, counted: Tensor) -> Tensor:
    """Per document, sum over positions of −log p(next token), where the next token is counted; float64 [n], nats."""
    losses = F.cross_entropy(logits[:, :-1].float().flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    return (losses.view(len(tokens), -1).double() * counted[:, 1:]).sum(dim=1)


def loss_from(model: Any, residual: Tensor, point: int, tokens: Tensor, counted: Tensor) -> Tensor:
    """Next-token loss of the model run on from a residual stream [n, context, d_model] after ``point`` blocks; float64 [n]."""
    residual = residual.to(model.cfg.dtype)
    with torch.no_grad():
        if isinstance(model, TransformerBridge):  # cannot start at a layer: the residual stream is put in on the way
            last = point == model.cfg.n_layers
            hook = f"blocks.{point - last}.hook_resid_{'post' if last else 'pre'}"
            put_in = (hook, lambda x, hook: residual)  # noqa: ARG005 (the names by which hooks are called)
            logits = model.run_with_hooks(tokens, return_type="logits", fwd_hooks=[put_in])
        else:
            logits = model(residual, start_at_layer=point, return_type="logits")
        return next_token_loss(logits, tokens, counted)


def _hooks_in_order(sites: Sequence[Site] | Any) -> list[str]:
    """Distinct hooks in the order in which they fire."""
    return list(dict.fromkeys(site.hook for site in sorted(sites, key=lambda site: (site.point, "pre" in site.hook))))


@contextmanager
def _frozen(model: Any) -> Iterator[None]:
    """Parameters without gradient inside, as they were after."""
    learning = [p for p in model.parameters() if p.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
