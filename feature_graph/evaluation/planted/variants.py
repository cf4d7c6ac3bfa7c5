"""The kinds of planted world that the engine is calibrated on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_graph.config import Config
from feature_graph.evaluation.planted.components import ComponentKind, PlantedComponents, with_components
from feature_graph.evaluation.planted.dictionaries import Architecture
from feature_graph.evaluation.planted.model import BOS, PlantedModel, planted_model
from feature_graph.evaluation.planted.plans import (
    attenuated_wiring,
    crowded_wiring,
    erased_wiring,
    faint_wiring,
    many_wiring,
    standard_wiring,
    turned_wiring,
)
from feature_graph.evaluation.planted.wiring import Wiring
from feature_graph.evaluation.planted.world import Normalization

#: Enough that every planted source fires in more test documents than the exact sign-flip test takes: with fewer its p cannot be small.
DOCUMENTS = 128
#: A feature is active above this. LayerNorm's centring leaves every wire a little to carry, and what is active must not hang on rounding.
ACTIVE = 1e-3
#: More than a planted source has: every active position of the test documents is measured.
EVERY_SAMPLE = 100_000


@dataclass(frozen=True)
class Variant:
    """One kind of planted world.

    Attributes:
        name: Short name.
        text: What is different, in a sentence.
        architecture: Kind of the dictionaries.
        normalization: Of the blocks' inputs.
        overlap: |cosine| of each direction with one other.
        plan: Makes what is planted.
        every_sample: Whether all samples are measured. Where an effect differs from token to token, its truth is a mean over a
            population, and a sample of it would add sampling error to what is compared.
        population: So many fresh documents stand for the text that the samples were drawn from: the truth is the mean over them, and what
            is judged is whether the intervals hold it. 0: the truth of the measured documents themselves.
        gates: Whether gates are tested too; where nothing but a gate makes two sources interact, so that every other one found is false.
        specific: (source, target) names of the first block's edges that must pass as specific.
        unresolved: Those that exist and are no larger than what random directions do, so that they must not pass.
        settings: Fields of the configuration that differ from the planted default.
    """

    name: str
    text: str
    architecture: Architecture = "standard"
    normalization: Normalization = None
    overlap: float = 0.0
    plan: Callable[[], Wiring] = standard_wiring
    every_sample: bool = False
    population: int = 0
    gates: bool = False
    specific: tuple[tuple[str, str], ...] = ()
    unresolved: tuple[tuple[str, str], ...] = ()
    settings: tuple[tuple[str, Any], ...] = ()

    def build(self, seed: int) -> PlantedModel:
        """The planted model of one seed."""
        return planted_model(
            seed,
            n_docs=DOCUMENTS,
            context=12 if self.every_sample else 16,
            architecture=self.architecture,
            normalization=self.normalization,
            overlap=self.overlap,
            wiring=self.plan(),
        )

    def config(self, planted: PlantedModel) -> Config:
        """The configuration that it is measured with."""
        samples = {"n_intervention_samples": EVERY_SAMPLE} if self.every_sample else {}
        return planted.config(activity_threshold=ACTIVE, **samples | dict(self.settings))

    def fresh_text(self, planted: PlantedModel) -> NDArray[np.int64] | None:
        """Documents of the same kind that the run has not seen, [population, context]; None if the variant needs none."""
        if not self.population:
            return None
        rng = np.random.default_rng([planted.seed, 2])
        tokens = rng.integers(1, len(planted.world.values), (self.population, planted.tokens.shape[1]))
        tokens[:, 0] = BOS
        return tokens.astype(np.int64)


@dataclass(frozen=True)
class ComponentVariant:
    """The standard plan, read by dictionaries on components.

    Attributes:
        name: Short name.
        text: What is different, in a sentence.
        kind: What the dictionaries are.
        normalization: Of the blocks' inputs.
        population: 0: the truth is that of the measured documents.
    """

    name: str
    text: str
    kind: ComponentKind
    normalization: Normalization = "RMS"
    population: int = 0

    def build(self, seed: int) -> PlantedComponents:
        """The planted model of one seed."""
        base = planted_model(seed, n_docs=DOCUMENTS, context=12, normalization=self.normalization)
        return with_components(base, self.kind)

    def config(self, planted: PlantedComponents) -> Config:
        """The configuration that it is measured with."""
        return planted.config(activity_threshold=ACTIVE, n_intervention_samples=EVERY_SAMPLE)


def _drivers(plan: Wiring, begin: str) -> tuple[tuple[str, str], ...]:
    return tuple((w.read, w.write) for w in plan.wires if w.read.startswith(begin))


_SHIPPED = tuple((name, Config.model_fields[name].default) for name in ("min_coactivation", "min_decoder_alignment"))

#: Floors of random directions would hide weak drivers beside a strong one, and each of very many.
_NO_FLOOR = (("n_placebo", 0), ("top_k_features", 128))

VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("relu", "orthonormal directions, no normalisation, ReLU dictionaries", gates=True),
        Variant("jumprelu", "JumpReLU dictionaries, decoder rows of norm 2 folded to 1", architecture="jumprelu", gates=True),
        Variant("topk", "TopK dictionaries; targets before the competition, held ones after it", architecture="topk", every_sample=True),
        Variant("batchtopk", "BatchTopK dictionaries, as SAELens saves them", architecture="batchtopk", gates=True),
        Variant("rms", "RMSNorm before every attention and MLP", normalization="RMS", every_sample=True),
        Variant("layernorm", "LayerNorm before every attention and MLP", normalization="LN", every_sample=True),
        Variant("overlap", "each direction has a cosine of ±0.25 with one other", overlap=0.25, every_sample=True),
        Variant("faint", "twelve more wires of 0.002 to 0.008, under min_effect", plan=faint_wiring),
        Variant(
            "sampled", "RMSNorm, thirty samples per source as shipped; the truth is that of fresh text", normalization="RMS", population=400
        ),
        Variant("erased", "three copies that a block takes away: a computed effect of −1, and in total none", plan=erased_wiring),
        Variant("attenuated", "three copies of which a block leaves two fifths", plan=attenuated_wiring),
        Variant("turned", "three directions that a block turns into others: edges between decoders of cosine 0", plan=turned_wiring),
        Variant(
            "crowded",
            "one target with a strong driver and sixteen of a fortieth of it",
            plan=crowded_wiring,
            specific=(("strong", "crowd"),),
            unresolved=_drivers(crowded_wiring(), "weak"),
            settings=_NO_FLOOR,
        ),
        Variant(
            "many",
            "one target with ninety equal drivers, too many to stand out",
            plan=many_wiring,
            unresolved=_drivers(many_wiring(), "many"),
            # Sixteen random directions know their scale to 18 %: of ninety drivers one would now and then look larger than it is.
            settings=(*_NO_FLOOR, ("specificity_directions", 64)),
        ),
        Variant("pruned", "the thresholds of candidate choice as shipped", settings=_SHIPPED),
    )
}

#: Variants with dictionaries on components, by name.
COMPONENT_VARIANTS = {
    variant.name: variant
    for variant in (
        ComponentVariant("transcoder", "transcoders whose features are the MLPs' neurons, RMSNorm before every MLP", "transcoder"),
        ComponentVariant("skip", "skip transcoders with every other neuron as a feature, the others in the linear map", "skip"),
        ComponentVariant("mlp_out", "SAEs on what the MLPs add to the stream", "mlp_out"),
    )
}
