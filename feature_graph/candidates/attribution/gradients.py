"""Forward and backward through the model's hooks: residual streams, the next-token loss, and gradients at every site at once."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from feature_graph.artifacts import Site
from feature_graph.candidates.errors import CandidateError
from feature_graph.dictionaries import HookedModel
from feature_graph.interventions import BlockTaps, ModelSlices, is_bridge, write_at

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


@dataclass(frozen=True)
class RecordedPass:
    """A forward pass that can be gone back through, from inside :func:`recorded_pass` only.

    Attributes:
        logits: The model's output, [n, context, outputs].
    """

    logits: Tensor
    _seen: dict[Hashable, Tensor]
    _places: dict[int, Hashable]

    def residuals(self) -> dict[int, Tensor]:
        """Layer → residual stream at the site, or what its dictionary writes, float32 [n, context, d_out]."""
        return {layer: self._seen[place].detach().float() for layer, place in self._places.items()}

    def gradients(self, objective: Tensor, weights: Tensor | None = None) -> dict[int, Tensor]:
        """Layer → ∂ ⟨weights, objective⟩ / ∂ residual, float32 [n, context, d_in]; can be asked again.

        Args:
            objective: Computed from ``logits``; one value, or any shape with ``weights``.
            weights: Of the shape of ``objective``.
        """
        names = list(self._seen)
        found = torch.autograd.grad(objective, [self._seen[name] for name in names], grad_outputs=weights, retain_graph=True)
        by_name = dict(zip(names, found, strict=True))
        return {layer: by_name[place].float() for layer, place in self._places.items()}


@contextmanager
def recorded_pass(model: HookedModel | ModelSlices, sites: Mapping[int, Site], tokens: Tensor) -> Iterator[RecordedPass]:
    """One forward pass over ``tokens`` [n, context], ready for backward passes to every site.

    The stream is cut off from what lies before the first site, so nothing is computed backwards there; parameters are frozen meanwhile.

    Raises:
        CandidateError: If a hook did not fire.
    """
    if isinstance(model, ModelSlices):
        with torch.enable_grad():
            yield _recorded_slices(model, sites, tokens)
        return
    names = _hooks_in_order(sites.values())
    seen: dict[Hashable, Tensor] = {}

    def record(x: Tensor, hook: Any, name: str) -> Tensor:  # noqa: ARG001 (a bridge's hook may call itself by another name)
        if not seen:
            x = x.detach().requires_grad_()
        seen[name] = x
        return x

    with _frozen(model), torch.enable_grad():
        logits = model.run_with_hooks(tokens, return_type="logits", fwd_hooks=[(name, partial(record, name=name)) for name in names])
        lost = [name for name in names if name not in seen]
        if lost:
            raise CandidateError(f"hooks {lost} did not fire; the model has {type(model).__name__} blocks 0 to {model.cfg.n_layers - 1}")
        yield RecordedPass(logits, seen, {layer: site.hook for layer, site in sites.items()})


def _recorded_slices(slices: ModelSlices, sites: Mapping[int, Site], tokens: Tensor) -> RecordedPass:
    """The same by the model's slices, at what the dictionaries write; its weights are fixed."""
    places = {layer: write_at(site, slices.n_blocks) for layer, site in sites.items()}
    taps = BlockTaps.differentiable(places.values())
    last = slices.run(slices.embed(tokens).requires_grad_(), 0, slices.n_blocks, taps=taps)
    return RecordedPass(slices.logits(last), {where: taps.found[where] for where in places.values()}, dict(places))


def rows_a_pass(tokens: Tensor) -> Iterator[slice]:
    """Rows of ``tokens`` [n, context] to pass at a time: all, or a few on a CPU.

    A backward pass keeps every block's intermediate values, and on a CPU more rows gain no speed.
    """
    step = max(1, _CPU_TOKENS // tokens.shape[1]) if tokens.device.type == "cpu" else max(1, len(tokens))
    return (slice(k, k + step) for k in range(0, len(tokens), step))


def site_gradients(model: HookedModel | ModelSlices, sites: Mapping[int, Site], tokens: Tensor, counted: Tensor) -> SiteGradients:
    """Gradient of the next-token loss with respect to the residual stream at every site, by one forward and one backward pass.

    Args:
        model: HookedTransformer.
        sites: Layer → Site.
        tokens: int64 [n, context].
        counted: bool [n, context]; the loss of predicting these tokens counts.

    Raises:
        CandidateError: If a hook did not fire.
    """
    parts = [_loss_gradients(model, sites, tokens[rows], counted[rows]) for rows in rows_a_pass(tokens)]
    return SiteGradients(
        torch.cat([part.loss for part in parts]),
        {layer: torch.cat([part.residuals[layer] for part in parts]) for layer in sites},
        {layer: torch.cat([part.gradients[layer] for part in parts]) for layer in sites},
    )


def _loss_gradients(model: HookedModel | ModelSlices, sites: Mapping[int, Site], tokens: Tensor, counted: Tensor) -> SiteGradients:
    with recorded_pass(model, sites, tokens) as run:
        loss = next_token_loss(run.logits, tokens, counted)
        return SiteGradients(loss.detach(), run.residuals(), run.gradients(loss.sum()))


def next_token_loss(logits: Tensor, tokens: Tensor, counted: Tensor) -> Tensor:
    """Per document, sum over positions of −log p(next token), where the next token is counted; float64 [n], nats."""
    losses = F.cross_entropy(logits[:, :-1].float().flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    return (losses.view(len(tokens), -1).double() * counted[:, 1:]).sum(dim=1)


@torch.no_grad()
def logits_with(model: HookedModel | ModelSlices, site: Site, values: Tensor, tokens: Tensor) -> Tensor:
    """Output [n, context, outputs] of the model with what a dictionary writes replaced by ``values`` [n, context, d_out]."""
    if not isinstance(model, ModelSlices):
        return logits_from(model, values, site.point, tokens)
    taps = BlockTaps(change={write_at(site, model.n_blocks): lambda _: values.to(model.dtype)})
    return model.logits(model.run(model.embed(tokens), 0, model.n_blocks, taps=taps))


def loss_from(model: HookedModel, residual: Tensor, point: int, tokens: Tensor, counted: Tensor) -> Tensor:
    """Next-token loss of the model run on from a residual stream [n, context, d_model] after ``point`` blocks; float64 [n]."""
    return next_token_loss(logits_from(model, residual, point, tokens), tokens, counted)


@torch.no_grad()
def logits_from(model: HookedModel, residual: Tensor, point: int, tokens: Tensor) -> Tensor:
    """Output [n, context, outputs] of the model run on from a residual stream [n, context, d_model] after ``point`` blocks."""
    residual = residual.to(model.cfg.dtype)
    if is_bridge(model):  # cannot start at a layer: the residual stream is put in on the way
        last = point == model.cfg.n_layers
        hook = f"blocks.{point - last}.hook_resid_{'post' if last else 'pre'}"
        put_in = (hook, lambda x, hook: residual)  # noqa: ARG005 (the names by which hooks are called)
        return model.run_with_hooks(tokens, return_type="logits", fwd_hooks=[put_in])
    return model(residual, start_at_layer=point, return_type="logits")


def _hooks_in_order(sites: Sequence[Site] | Any) -> list[str]:
    """Distinct hooks in the order in which they fire."""
    return list(dict.fromkeys(site.hook for site in sorted(sites, key=lambda site: (site.point, "pre" in site.hook))))


@contextmanager
def _frozen(model: HookedModel) -> Iterator[None]:
    """Parameters without gradient inside, as they were after."""
    learning = [p for p in model.parameters() if p.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
