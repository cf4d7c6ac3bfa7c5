"""The planted model read by dictionaries on components: transcoders, skip transcoders, and SAEs on what MLPs add.

The standard plan stands in the model's MLPs as neurons, one a wire. A transcoder of such an MLP has these neurons as its features; a skip
transcoder has half of its wires in the linear map instead, which is exact, since what the wires read is never negative; an SAE on the MLP's
output has one feature for each direction that the MLP writes. Residual SAEs stand at the first and at the last site.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from feature_graph.artifacts import key_of
from feature_graph.config import Config
from feature_graph.evaluation.planted.model import PlantedModel
from feature_graph.evaluation.planted.wiring import FeatureKey, Pair, TrueEffect, Wiring

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

Floats = NDArray[np.float64]
#: Effects along the plan's wires are larger; what normalisation makes of every feature is smaller (about 0.2 and 0.05 at most).
PLANTED = 0.1
ComponentKind = Literal["transcoder", "skip", "mlp_out"]


@dataclass(frozen=True)
class ComponentFeature:
    """A feature in the plan's own words: max(0, Σ what is read − threshold) · scale, written along sign · direction.

    Attributes:
        reads: Directions that it adds up, of the tensor that its dictionary reads.
        threshold: What is taken off their sum.
        scale: Length that is written per unit of that.
        writes: Direction that it writes.
        sign: 1 or −1.
    """

    reads: tuple[str, ...]
    threshold: float
    scale: float
    writes: str
    sign: float


@dataclass(frozen=True)
class PlantedComponents:
    """A planted model with dictionaries on components.

    Attributes:
        base: The planted model; of its residual SAEs those of the first and of the last site are kept.
        kind: What the dictionaries between are.
        features: Block → features of its dictionary on a component.
        saes: Name of the site → SAELens object.
        edges: Pairs with a true effect of at least :data:`PLANTED`, as the simulation gives them; empty until it has run.
        nonlinear: None: the simulation knows them all.
        decoys: None, since no wire writes what decoys read.
        faint: None.
    """

    base: PlantedModel
    kind: ComponentKind
    features: dict[int, tuple[ComponentFeature, ...]]
    saes: dict[str, Any]
    edges: dict[Pair, TrueEffect] = field(default_factory=dict)
    nonlinear: tuple[Pair, ...] = ()
    decoys: tuple[Pair, ...] = ()
    faint: tuple[Pair, ...] = ()

    @property
    def model(self) -> HookedTransformer:
        """The model."""
        return self.base.model

    @property
    def tokens(self) -> NDArray[np.int64]:
        """int64 [n_docs, context]."""
        return self.base.tokens

    def key(self, block: int) -> int:
        """The site of a block's dictionary on a component, as the engine calls it."""
        return key_of(block, "mlp_out" if self.kind == "mlp_out" else "transcoder")

    def label(self, feature: FeatureKey) -> str:
        """What a feature stands for, and its site."""
        site, index = feature
        if site in self.base.dictionaries:
            return self.base.label(feature)
        block = next(block for block in self.features if self.key(block) == site)
        found = self.features[block][index]
        return f"{' + '.join(found.reads)} to {found.writes}@{site}"

    def config(self, **changes: Any) -> Config:
        """A configuration that fits; ``changes`` override its fields."""
        kind = "mlp_out" if self.kind == "mlp_out" else "transcoder"
        sites = [{"layer": block, "kind": kind} for block in self.features]
        ends = [{"layer": min(self.base.saes)}, {"layer": max(self.base.saes)}]
        return self.base.config(**({"sites": [*ends, *sites]} | changes))


def with_components(planted: PlantedModel, kind: ComponentKind) -> PlantedComponents:
    """The dictionaries of a kind for a planted model, made from its plan.

    Args:
        planted: The model.
        kind: What is put on the MLPs of every block but the first, which has no wires.
    """
    first, last = min(planted.saes), max(planted.saes)
    all_, features, saes = sorted(planted.saes), {}, {f"L{first}": planted.saes[first], f"L{last}": planted.saes[last]}
    for block in all_[1:]:
        neurons = _neurons(planted.wiring, block, planted.world.gain)
        kept = tuple(n for k, n in enumerate(neurons) if kind != "skip" or k % 2 == 0 or len(n.reads) > 1)  # a gate is not linear
        features[block] = _written(planted.wiring, block) if kind == "mlp_out" else kept
        name = f"L{block}.{'mlp' if kind == 'mlp_out' else 'tc'}"
        saes[name] = _sae(planted, block, features[block]) if kind == "mlp_out" else _transcoder(planted, block, neurons, kept)
    return PlantedComponents(planted, kind, features, saes)


def _neurons(plan: Wiring, block: int, gain: float) -> tuple[ComponentFeature, ...]:
    wires = [w for w in plan.units if w.block == block and w.by == "mlp"]
    gates = [ComponentFeature((g.first, g.second), g.threshold * gain, 1 / gain, g.write, 1.0) for g in plan.gates if g.block == block]
    return tuple(gates + [ComponentFeature((w.read,), 0.0, abs(w.slope) / gain, w.write, float(np.sign(w.slope))) for w in wires])


def _written(plan: Wiring, block: int) -> tuple[ComponentFeature, ...]:
    names = [w.write for w in plan.units if w.block == block and w.by == "mlp"] + [g.write for g in plan.gates if g.block == block]
    return tuple(ComponentFeature((name,), 0.0, 1.0, name, 1.0) for name in dict.fromkeys(names))


def _rows(planted: PlantedModel, features: tuple[ComponentFeature, ...]) -> tuple[Floats, Floats]:
    """What each reads and, of length 1, writes: [n, d_model] each."""
    directions = dict(zip(planted.wiring.names, planted.world.directions, strict=True))
    reads = np.stack([sum((directions[name] for name in f.reads), np.zeros(planted.world.directions.shape[1])) for f in features])
    return reads, np.stack([f.sign * directions[f.writes] for f in features])


def _sae(planted: PlantedModel, block: int, features: tuple[ComponentFeature, ...]) -> Any:
    from sae_lens.saes import StandardSAE, StandardSAEConfig
    from sae_lens.saes.sae import SAEMetadata

    reads, writes = _rows(planted, features)
    metadata = SAEMetadata(model_name="planted", hook_name=f"blocks.{block}.hook_mlp_out")
    sae = StandardSAE(StandardSAEConfig(d_in=reads.shape[1], d_sae=len(reads), apply_b_dec_to_input=False, metadata=metadata))
    return _filled(sae, reads.T, np.zeros(len(reads)), writes)


def _transcoder(planted: PlantedModel, block: int, neurons: tuple[ComponentFeature, ...], kept: tuple[ComponentFeature, ...]) -> Any:
    """Its features, and in a linear map the neurons that are none; decoder rows as long as the scale says, so that they are folded."""
    from sae_lens import SkipTranscoder, SkipTranscoderConfig, Transcoder, TranscoderConfig
    from sae_lens.saes.sae import SAEMetadata

    reads, writes = _rows(planted, kept)
    left = tuple(neuron for neuron in neurons if neuron not in kept)
    metadata = SAEMetadata(
        model_name="planted",
        hook_name=f"blocks.{block}.ln2.hook_normalized",
        hook_name_out=f"blocks.{block}.hook_mlp_out",
        hook_layer_out=block,
    )
    width = reads.shape[1]
    sizes: dict[str, Any] = {"d_in": width, "d_out": width, "d_sae": len(kept), "apply_b_dec_to_input": False, "metadata": metadata}
    made: Any = SkipTranscoder(SkipTranscoderConfig(**sizes)) if left else Transcoder(TranscoderConfig(**sizes))
    scales = np.array([f.scale for f in kept])
    filled = _filled(made, reads.T, np.array([-f.threshold for f in kept]), writes * scales[:, None])
    with torch.no_grad():
        for name, value in planted.wiring.base.get(block, {}).items():
            filled.b_dec += torch.tensor(value * planted.world.directions[planted.wiring.names.index(name)], dtype=torch.float32)
        if left:
            other, written = _rows(planted, left)
            filled.W_skip.copy_(torch.tensor((written * np.array([f.scale for f in left])[:, None]).T @ other, dtype=torch.float32))
    return filled


@torch.no_grad()
def _filled(sae: Any, w_enc: Floats, b_enc: Floats, w_dec: Floats) -> Any:
    for name, value in (("W_enc", w_enc), ("b_enc", b_enc), ("W_dec", w_dec)):
        getattr(sae, name).copy_(torch.tensor(value, dtype=torch.float32))
    sae.b_dec.zero_()
    return sae.eval()
