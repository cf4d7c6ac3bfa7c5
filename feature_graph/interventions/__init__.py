"""Interventions in a model and what follows from them: the one package that runs parts of a transformer.

What every stage starts from: :class:`AnalysedModel` (a model, its block ranges and the codec of each site, checked once),
and :class:`MeasurementContext` (the same with its text, its recorded activations and the configuration).

For the engine: :class:`ModelSlices` (block ranges with cached keys and values), :class:`CleanSweep` (the clean run, walked up
once), :func:`clamp_effects` and :func:`jacobian_effects` (one source, chosen targets), :func:`screen_effects` (many sources, all
features, reduced to documents; :func:`screen_site_effects` at sites of any kind), :func:`plain_effects` (the same by plain
hooks, for checking); :func:`joint_effects` (two sources, 2 × 2), :func:`mediated_effects` and
:func:`site_mediation` (by part of the blocks; the second between sites of any kind, and through the dictionaries between);
:func:`carry_directions` (derivatives along many directions, same position; :func:`arrivals` is its reference);
:func:`site_effects` and :func:`site_clamp_effects` (clamps at any kind of site, read at any kind of site: components too; the second with
copy and direct effects), :func:`carry_site_directions` (derivatives likewise); :func:`site_tangents` (derivatives of any tensor along
directions of any earlier one: a component's own derivative).

For choosing candidates: :func:`source_jacobian_alignment`, :func:`later_jacobian_alignment`, :func:`cosine_alignment`.

For others, so that nobody writes hooks twice:

- gradients at the sites: ``residual_gradients(slices, tokens, points, next_token_loss(tokens))``; of any tensor: ``tensor_gradients``
- real ablation, at sites of any kind: ``ablate(slices, codecs, tokens, {layer: features}, positions)`` gives logits
- a run with what one site writes changed: ``entered(site, x, change)`` says how it begins
- perturbing some positions: ``Perturber(analysed, tokens).run(samples, [[Perturbation(layer, direction, delta)]], read={layer: features})``
- holding a site's features at their clean values: ``hold_clean(codec, now, clean).x``
- what no feature does: ``random_directions(n, d_model, generator)``
- reading and changing tensors inside blocks (attention's output, the MLP's input …): ``BlockTaps``, given to ``slices.run`` or ``advance``
- editing a residual stream yourself: ``slices.residuals(tokens, points)``, then ``slices.logits_from(point, x, positions)``

A *point* is the number of blocks run before a residual stream exists: ``hook_resid_pre`` of block b is point b. Prompts of
different length are padded on the right, where a causal mask makes padding harmless, and read at their own last position.
"""

from feature_graph.interventions.alignment import (
    Alignment,
    BlocksBetween,
    SourceSamples,
    cosine_alignment,
    later_jacobian_alignment,
    source_jacobian_alignment,
)
from feature_graph.interventions.analysed import AnalysedModel
from feature_graph.interventions.arrivals import arrivals
from feature_graph.interventions.attention import KeysValues
from feature_graph.interventions.bridge import is_bridge
from feature_graph.interventions.carried import added_to_stream
from feature_graph.interventions.clamp import (
    MEASURES,
    Clamps,
    Effects,
    Reading,
    achieved_levels,
    clamp_effects,
    later_mask,
    spill,
    window_of,
)
from feature_graph.interventions.context import CLEAN_BYTES, CleanDocuments, MeasurementContext, Setting
from feature_graph.interventions.directions import random_directions
from feature_graph.interventions.edits import (
    ResidualGradients,
    TensorGradients,
    ablate,
    entered,
    next_token_loss,
    residual_gradients,
    tensor_gradients,
)
from feature_graph.interventions.errors import InterventionError, MeasureError
from feature_graph.interventions.holding import hold_clean, restore_clean
from feature_graph.interventions.jacobian import jacobian_effects
from feature_graph.interventions.joint import JointSource, joint_effects
from feature_graph.interventions.mediation import PARTS, Mediated, mediated_effects
from feature_graph.interventions.moments import Groups, Moments
from feature_graph.interventions.outputs import n_outputs, predicts_tokens
from feature_graph.interventions.perturb import Perturbation, PerturbedRun, Perturber, SamplePositions
from feature_graph.interventions.reference import plain_effects
from feature_graph.interventions.screen import Arrived, Screened, document_effects, screen_effects
from feature_graph.interventions.site_arrivals import SiteArrivals, StandIn, carry_site_directions
from feature_graph.interventions.site_clamps import mlps_between, site_clamp_effects
from feature_graph.interventions.site_effects import SiteEffects, clean_for, read_clean, site_activations, site_effects, site_span
from feature_graph.interventions.site_mediation import SITE_PARTS, MovedTokens, site_mediation
from feature_graph.interventions.site_screen import screen_site_effects
from feature_graph.interventions.site_tangents import (
    TensorTangent,
    read_at,
    site_tangents,
    stream_before,
    stream_point,
    tapped_run,
    write_at,
)
from feature_graph.interventions.slices import CleanRun, CleanSweep, ModelSlices, at_positions
from feature_graph.interventions.tangents import DirectionTokens, carry_directions
from feature_graph.interventions.taps import BlockTaps, Where

__all__ = [
    "CLEAN_BYTES",
    "MEASURES",
    "PARTS",
    "SITE_PARTS",
    "Alignment",
    "AnalysedModel",
    "Arrived",
    "BlockTaps",
    "BlocksBetween",
    "Clamps",
    "CleanDocuments",
    "CleanRun",
    "CleanSweep",
    "DirectionTokens",
    "Effects",
    "Groups",
    "InterventionError",
    "JointSource",
    "KeysValues",
    "MeasureError",
    "MeasurementContext",
    "Mediated",
    "ModelSlices",
    "Moments",
    "MovedTokens",
    "Perturbation",
    "PerturbedRun",
    "Perturber",
    "Reading",
    "ResidualGradients",
    "SamplePositions",
    "Screened",
    "Setting",
    "SiteArrivals",
    "SiteEffects",
    "SourceSamples",
    "StandIn",
    "TensorGradients",
    "TensorTangent",
    "Where",
    "ablate",
    "achieved_levels",
    "added_to_stream",
    "arrivals",
    "at_positions",
    "carry_directions",
    "carry_site_directions",
    "clamp_effects",
    "clean_for",
    "cosine_alignment",
    "document_effects",
    "entered",
    "hold_clean",
    "is_bridge",
    "jacobian_effects",
    "joint_effects",
    "later_jacobian_alignment",
    "later_mask",
    "mediated_effects",
    "mlps_between",
    "n_outputs",
    "next_token_loss",
    "plain_effects",
    "predicts_tokens",
    "random_directions",
    "read_at",
    "read_clean",
    "residual_gradients",
    "restore_clean",
    "screen_effects",
    "screen_site_effects",
    "site_activations",
    "site_clamp_effects",
    "site_effects",
    "site_mediation",
    "site_span",
    "site_tangents",
    "source_jacobian_alignment",
    "spill",
    "stream_before",
    "stream_point",
    "tapped_run",
    "tensor_gradients",
    "window_of",
    "write_at",
]
