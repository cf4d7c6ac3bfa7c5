"""The stage itself: check, plan, go up the sites, measure block by block, correct."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from feature_graph.activations import build_features_table, decoder_of
from feature_graph.artifacts import (
    ActivationStore,
    CandidateSet,
    FrameFiles,
    InteractionSet,
    ResponseStore,
    by_keys,
    feature_key,
    layer_of,
    number_features,
)
from feature_graph.config import Config
from feature_graph.dictionaries import Dictionaries, HookedModel
from feature_graph.interactions.check import announce, check_pairs, checked_store, refuse_unnamed_components
from feature_graph.interactions.directions import RandomDirections
from feature_graph.interactions.finish import facts, finish, held_facts, held_warnings
from feature_graph.interactions.passes import measure_blocks, part_key
from feature_graph.interactions.plan import make_plan, without_broken
from feature_graph.interactions.power import with_power
from feature_graph.interventions import CLEAN_BYTES, AnalysedModel, MeasurementContext
from feature_graph.responses import GenericMaps, check_responses
from ingest.formats import INTERACTIONS

log = logging.getLogger(__name__)


def measure_interactions(
    model: HookedModel | AnalysedModel,
    saes: Dictionaries,
    candidates: CandidateSet,
    cfg: Config,
    *,
    responses: ResponseStore | None = None,
    parts_dir: str | Path | None = None,
    progress: bool = True,
    clean_bytes: int = CLEAN_BYTES,
) -> InteractionSet:
    """Measure the causal effect of every candidate's source on its target.

    Args:
        model: A transformer_lens HookedTransformer, float32; or an :class:`AnalysedModel`, which spares building it again.
        saes: Layer → SAELens SAE; or name of the site → SAELens SAE or transcoder.
        candidates: Pairs to measure, with the activation store that samples and levels come from.
        cfg: The configuration.
        responses: Responses of the same run, which tell what would have been computed from any direction; None: that part is not known, and
            ``specific_strength`` is the computed effect at the tokens at which the source is compared with random directions.
        parts_dir: Folder for part files; a killed run resumes from them with the same result.
        progress: Whether to show a progress bar.
        clean_bytes: Memory for the clean run; with more documents the sources are measured in several passes.

    Returns:
        One row per pair (and method), with everything that ``ingest.formats.INTERACTIONS`` lists; ``meta`` says how many sources
        were left out and why.

    Raises:
        MeasureError: If the candidates, the activations, the dictionaries and the model do not fit together.
        feature_graph.interventions.InterventionError: If the model cannot be run in slices.
        feature_graph.artifacts.ArtifactError: If the responses are of other dictionaries or of another text, or lack a pair of sites.
    """
    store = checked_store(candidates)
    context = MeasurementContext.open(AnalysedModel.of(model, saes, cfg, components=True), store, cfg)
    codecs, pairs = context.codecs, by_keys(candidates.frame)
    refuse_unnamed_components(context.model, cfg)
    check_pairs(store, pairs, codecs, cfg)
    if not len(candidates):
        log.warning("no candidate pairs: nothing is measured. Lower min_coactivation or min_decoder_alignment, or give more text")
        return InteractionSet(_empty(), _nothing(cfg))
    plan = replace(make_plan(store, pairs, codecs, context.norms, cfg), random=_random(context, responses))
    warnings = announce(plan, cfg)
    parts = FrameFiles(Path(parts_dir) if parts_dir is not None else None, part_key(context, candidates, clean_bytes, responses))
    plan = with_power(context, plan, parts, progress=progress, clean_bytes=clean_bytes)
    rows, random = measure_blocks(context, plan, parts, progress=progress, clean_bytes=clean_bytes)
    plan = without_broken(plan, rows)
    frame = finish(rows, random, pairs, context) if len(rows) else _empty()
    meta = {
        "model": next(iter(codecs.values())).site.model,
        "method": cfg.interaction_method,
        "sources": {"measured": sum(map(len, plan.sources.values())), "left_out": plan.reasons()},
        "left_out": plan.left_out,
        "warnings": warnings,
        "topk_layers": [layer_of(n) for n, c in codecs.items() if c.kind == "topk"],
        "samples_a_source": cfg.n_intervention_samples,
        "position_horizon": cfg.position_horizon,
        "held": _held(rows),
    }
    return InteractionSet(frame, meta | facts(frame, cfg), _describer(store, candidates, context.model.model))


def _held(rows: pd.DataFrame) -> dict[str, Any]:
    held = held_facts(rows) if len(rows) else {}
    for text in held_warnings(held):
        log.warning(text)
    return held


def _random(context: MeasurementContext, responses: ResponseStore | None) -> RandomDirections | None:
    cfg = context.cfg
    if not cfg.specificity_directions:
        return None
    if responses is not None:
        check_responses(responses, context.model.saes, str(context.input_hashes()["tokens"]))
    generic = None if responses is None else GenericMaps(responses, {layer: codec.w_dec for layer, codec in context.codecs.items()})
    return RandomDirections(cfg.specificity_directions, cfg.specificity_samples, cfg.seed, generic)


def _describer(store: ActivationStore, candidates: CandidateSet, model: HookedModel) -> Callable[[Sequence[str]], pd.DataFrame]:
    """What the features respond to, worked out when it is asked for."""
    decode = decoder_of(getattr(model, "tokenizer", None))

    def describe(ids: Sequence[str]) -> pd.DataFrame:
        keys = [feature_key(name, store.layers) for name in ids]
        numbers = number_features([layer for layer, _ in keys], [index for _, index in keys])
        return build_features_table(store, candidates, decode, numbers).to_pandas()

    return describe


def _nothing(cfg: Config) -> dict[str, Any]:
    sources: dict[str, Any] = {"measured": 0, "left_out": {}}
    return {"level": cfg.significance_level, "warnings": ["no candidate pairs"], "sources": sources, "left_out": {}}


def _empty() -> pd.DataFrame:
    kinds: dict[str, Any] = {"string": object, "int32": "int32", "int64": "int64", "float64": "float64", "bool": bool}
    return pd.DataFrame(
        {c.name: pd.Series([], dtype=object if c.type == "bool" and c.nullable else kinds[c.type]) for c in INTERACTIONS.columns}
    )
