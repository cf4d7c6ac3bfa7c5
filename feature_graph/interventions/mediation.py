"""By which part of the blocks does an effect reach its target? The residual path, attention, MLPs, normalisation.

The residual stream at the target's site is the source's residual plus every component's output in between (Elhage et al., A
Mathematical Framework for Transformer Circuits, 2021, https://transformer-circuits.pub/2021/framework/index.html). So the change that
the target reads is the clamp's own delta plus the change of each output. A component is credited with the whole change of its output,
whatever caused it: what an earlier component did to it is part of its input. Within a component, as in the local replacement model of
Ameisen et al., Circuit Tracing, 2025 (https://transformer-circuits.pub/2025/attribution-graphs/methods.html), attention patterns and the
scales of the norms can be held at their clean values:

- ``residual``: the delta itself, no block run (copying);
- ``attention``: outputs of heads with clean patterns, through values only, scales of norms clean;
- ``pattern``: the same with clean values and live patterns;
- ``mlp``: outputs of MLPs, scales of norms clean;
- ``normalisation``: what only the change of a norm's scale does, before or after attention and MLP (centring is linear and stays with
  the others; norms of queries and keys belong to the pattern).

Derivatives at the clean point (``derivative=True``, forward mode) add up exactly: their sum is the Jacobian. Under a finite clamp each part
is taken alone, the others clean, through the target's non-linearity (``residual`` is then the ``copy`` of
:class:`feature_graph.interventions.clamp.Effects`); what is missing to the total is the ``remainder``: parts that act together, or together
pass the target's threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from feature_graph.interventions.attention import KeysValues, Prefix, attend_prefix
from feature_graph.interventions.blocks import Heads, SliceBlock
from feature_graph.interventions.clamp import Clamps, Reading
from feature_graph.interventions.jacobian import load_forward_rules
from feature_graph.interventions.norms import Norm
from feature_graph.interventions.slices import CleanRun, ModelSlices

#: Parts of an effect, in the order of a block.
PARTS = ("residual", "attention", "pattern", "mlp", "normalisation")


@dataclass(frozen=True)
class Mediated:
    """Effects of each sample on each target of one site, by part; all [S, T].

    Attributes:
        total: The whole effect: per unit of the source as a derivative, for the whole clamp otherwise.
        parts: Name, of :data:`PARTS` → its share of it.
    """

    total: Tensor
    parts: dict[str, Tensor]

    @property
    def remainder(self) -> Tensor:
        """Total minus the sum of the parts."""
        return self.total - torch.stack(list(self.parts.values())).sum(0)


@torch.no_grad()
def mediated_effects(
    slices: ModelSlices, clean: CleanRun, point: int, clamps: Clamps, path: Sequence[Reading], *, derivative: bool
) -> list[Mediated]:
    """Split the effects of the clamps on the targets of the path.

    Args:
        slices: The model.
        clean: Clean run with the residual at ``point`` and the keys and values of the blocks up to the last target's.
        point: Point of the source's site.
        clamps: The samples; their levels are not used for derivatives.
        path: Sites of targets, in order.
        derivative: At the clean point, instead of high minus low.

    Returns:
        One entry per site of the path.
    """
    start = clean.residuals[point][clamps.documents, clamps.positions][:, None, None, :]
    if not derivative:
        shift = torch.cat([clamps.shift, torch.zeros_like(clamps.shift[:, :1])], dim=1)[:, :, None, :]
        return [_finite(r, x, moved) for r, (x, moved) in _walk(slices, clean, point, clamps, path, start + shift, start)]
    load_forward_rules()
    tangent = torch.stack([clamps.directions, torch.zeros_like(clamps.directions)], dim=1)[:, :, None, :]
    with forward_ad.dual_level():
        x = forward_ad.make_dual(start.repeat(1, 2, 1, 1), tangent.to(start.dtype).contiguous())
        return [_linear(r, x, moved) for r, (x, moved) in _walk(slices, clean, point, clamps, path, x, start)]


def _walk(
    slices: ModelSlices, clean: CleanRun, point: int, clamps: Clamps, path: Sequence[Reading], x: Tensor, start: Tensor
) -> Iterator[tuple[Reading, tuple[Tensor, dict[str, Tensor]]]]:
    """Residual stream [S, V, d] and changes [S, V − 1, d] by part at each site of the path; the last variant is the clean run."""
    moved = {name: torch.zeros_like(x[:, :-1, 0]) for name in PARTS}
    moved["residual"] = x[:, :-1, 0] - start[:, :, 0]
    context = clean.tokens.shape[1]
    for reading in path:
        for index in range(point, reading.point):
            block = slices.block(index)
            prefix = Prefix.of(clamps.documents, clamps.positions, 1, context, block.window)
            x, outputs = _split_block(block, x, clean.caches[index], prefix)
            for name, output in outputs:
                moved[name] = moved[name] + output[:, :-1, 0] - output[:, -1:, 0]
        point = reading.point
        yield reading, (x[:, :, 0], dict(moved))


def _split_block(block: SliceBlock, x: Tensor, cache: KeysValues, prefix: Prefix) -> tuple[Tensor, list[tuple[str, Tensor]]]:
    """The block's output, and outputs of its components with all but one part held at the last variant's."""

    def heads(normed: Tensor, frozen: str = "") -> Tensor:
        gathered = attend_prefix(_Frozen(block, frozen) if frozen else block, normed, cache, prefix)  # type: ignore[arg-type]
        return torch.nn.functional.linear(gathered, block.w_o.T, block.b_o)

    n = _SplitNorm.of(block.norm1, x)
    post = _SplitNorm.of(block.post1, heads(n.live))
    outputs = [
        ("attention", post.held(heads(n.held(x), "qk"))),
        ("pattern", post.held(heads(n.held(x), "v"))),
        ("normalisation", post.held(heads(n.scale))),
        ("normalisation", post.scale),
    ]
    after = x + post.live
    if block.mlp is None:
        return after, outputs
    inside = x if block.parallel else after
    n = _SplitNorm.of(block.norm2, inside)
    post = _SplitNorm.of(block.post2, block.mlp(n.live))
    outputs += [
        ("mlp", post.held(block.mlp(n.held(inside)))),
        ("normalisation", post.held(block.mlp(n.scale))),
        ("normalisation", post.scale),
    ]
    return after + post.live, outputs


@dataclass(frozen=True)
class _SplitNorm:
    """A norm whose scale is taken apart from what it scales; without a norm, the identity with a scale that never moves.

    Attributes:
        live: The norm itself.
        held: The norm of any input with the scale of the last variant.
        scale: The last variant's input under each variant's scale.
    """

    live: Tensor
    held: Callable[[Tensor], Tensor]
    scale: Tensor

    @classmethod
    def of(cls, norm: Norm | None, x: Tensor) -> _SplitNorm:
        """Split the norm of x [S, V, 1, d]."""
        if norm is None:
            return cls(x, lambda y: y, x[:, -1:].expand_as(x))

        def centred(y: Tensor) -> Tensor:
            return y - y.mean(-1, keepdim=True) if norm.centre else y

        def rest(y: Tensor) -> Tensor:
            y = y if norm.w is None else y * norm.w
            return y if norm.b is None else y + norm.b

        sizes = (centred(x).pow(2).mean(-1, keepdim=True) + norm.eps).sqrt()
        last = sizes[:, -1:]
        return cls(rest(centred(x) / sizes), lambda y: rest(centred(y) / last), rest(centred(x[:, -1:]) / sizes))


class _Frozen:
    """A block whose queries and keys, or values, are those of the last variant, whatever the input."""

    def __init__(self, block: SliceBlock, parts: str) -> None:
        self._block, self._parts = block, parts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._block, name)

    def project(self, x: Tensor, positions: Tensor, context: int) -> Heads:
        """Queries, keys and values of [S, V, new, d_model]."""
        heads = self._block.project(x, positions, context)
        held = {name: getattr(heads, name)[:, -1:].expand_as(getattr(heads, name)) for name in self._parts}
        return Heads(**{name: held.get(name, getattr(heads, name)) for name in ("q", "k", "v")})


def _weights(reading: Reading) -> Tensor:
    w = reading.codec.w_enc
    return w if reading.features is None else w.T[reading.features].T


def _finite(reading: Reading, x: Tensor, moved: dict[str, Tensor]) -> Mediated:
    codec, asked, w = reading.codec, reading.features, _weights(reading)
    pre = codec.preactivation(x.to(w.dtype), asked)
    f = codec.activate(pre, asked)
    parts = {}
    for name, change in moved.items():
        alone = codec.activate(pre[:, -1:] + change.to(w.dtype) @ w, asked)
        parts[name] = alone[:, 0] - alone[:, 1]
    return Mediated(f[:, 0] - f[:, 1], parts)


def _linear(reading: Reading, x: Tensor, moved: dict[str, Tensor]) -> Mediated:
    codec, asked, w = reading.codec, reading.features, _weights(reading)

    def slope(dual: Tensor) -> Tensor:
        value, tangent = forward_ad.unpack_dual(dual)
        return (torch.zeros_like(value) if tangent is None else tangent)[:, 0].to(w.dtype) @ w

    value = forward_ad.unpack_dual(x).primal[:, 0].to(w.dtype)
    gate = codec.gate(codec.preactivation(value, asked), asked).to(w.dtype)
    return Mediated(gate * slope(x), {name: gate * slope(change) for name, change in moved.items()})
