"""A transformer whose weights are written by hand, with dictionaries that read its directions: the engine's known truth.

Every named direction is one vector of a random basis, orthonormal unless overlap is asked for. Tokens write some of them; in block
b an MLP neuron a wire carries one to another, and a head that looks one position back carries ``carry`` onward. ``d_model`` is
large against the number of directions, so that random directions (placebos) have almost no share in any of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from feature_graph.config import Config
from feature_graph.evaluation.errors import EvaluationError
from feature_graph.evaluation.planted.dictionaries import TEMPLATE, Architecture, Dictionary, dictionary_of, planted_sae
from feature_graph.evaluation.planted.plans import standard_wiring
from feature_graph.evaluation.planted.weights import write_model
from feature_graph.evaluation.planted.wiring import FeatureKey, Pair, TrueEffect, Wiring, nonlinear_pairs, true_effects
from feature_graph.evaluation.planted.world import Normalization, World, make_world

if TYPE_CHECKING:
    from sae_lens.saes import SAE
    from transformer_lens import HookedTransformer

BOS = 0


@dataclass(frozen=True)
class PlantedModel:
    """A model with known effects.

    Attributes:
        model: HookedTransformer.
        saes: Layer → SAELens SAE.
        tokens: int64 [n_docs, context]; the first token of each context is BOS and writes nothing.
        wiring: What is planted.
        world: The vectors that it is planted in.
        dictionaries: Site → what its features stand for.
        edges: (source, target) as (layer, index) pairs → true linear effects inside the window, by linear algebra: exact where
            directions are orthonormal and nothing is normalised, the plan otherwise.
        nonlinear: Pairs with a true effect that no slope describes.
        decoys: Pairs that are active together without a causal path.
        faint: Pairs with a wire too weak to count.
        dead: Features that are never active.
        seed: Of the basis, the tokens and the activations.
    """

    model: HookedTransformer
    saes: dict[int, SAE[Any]]
    tokens: NDArray[np.int64]
    wiring: Wiring
    world: World
    dictionaries: dict[int, Dictionary]
    edges: dict[Pair, TrueEffect]
    nonlinear: list[Pair]
    decoys: list[Pair]
    faint: list[Pair]
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

    def label(self, feature: FeatureKey) -> str:
        """What a feature stands for, and its site."""
        site, index = feature
        return f"{self.dictionaries[site].names[index]}@{site}"

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
    normalization: Normalization = None,
    overlap: float = 0.0,
    wiring: Wiring | None = None,
    window: int = 2,
) -> PlantedModel:
    """Build the planted transformer of SCIENCE.md, "Planted truth".

    Args:
        seed: Of the basis, the tokens and the activations.
        n_docs: Contexts of text.
        context: Tokens per context.
        d_model: Width; it must be much larger than the number of directions.
        architecture: Kind of the dictionaries.
        normalization: Of the blocks' inputs: RMSNorm, LayerNorm, or none.
        overlap: |cosine| of each direction with one other.
        wiring: What is planted; the standard one by default.
        window: Sites that an effect may span in ``edges``.

    Raises:
        EvaluationError: If the width does not hold the directions, or the overlap is not a cosine below 1.
    """
    plan = wiring or standard_wiring()
    needed = 2 * (len(plan.names) + context)
    if d_model < needed:
        raise EvaluationError(f"d_model: got {d_model}; {len(plan.names)} directions and {context} positions need at least {needed}")
    if not 0 <= overlap < 1:
        raise EvaluationError(f"overlap: got {overlap}; expected a cosine from 0 to below 1")
    rng = np.random.default_rng([seed, 1])
    world = make_world(plan, rng, d_model, context, normalization, overlap)
    model = write_model(plan, world, rng)
    tokens = rng.integers(1, len(world.values), (n_docs, context))
    tokens[:, 0] = BOS
    directions = dict(zip(plan.names, world.directions, strict=True))
    dictionaries = {site: dictionary_of(names, architecture) for site, names in enumerate(plan.dictionaries)}
    return PlantedModel(
        model=model,
        saes={site: planted_sae(site, dictionary, directions, architecture) for site, dictionary in dictionaries.items()},
        tokens=tokens.astype(np.int64),
        wiring=plan,
        world=world,
        dictionaries=dictionaries,
        edges=true_effects(plan, window),
        nonlinear=nonlinear_pairs(plan, window),
        decoys=_pairs(plan, plan.decoys),
        faint=_pairs(plan, tuple((w.read, w.write) for w in plan.faint)),
        dead=[key for site in dictionaries for key in plan.keys(site, "dead")],
        seed=seed,
    )


def _pairs(plan: Wiring, names: tuple[tuple[str, str], ...]) -> list[Pair]:
    sites = range(len(plan.dictionaries))
    return [(s, t) for a, b in names for i in sites for j in sites if i < j for s in plan.keys(i, a) for t in plan.keys(j, b)]
