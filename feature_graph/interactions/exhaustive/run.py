"""The exhaustive stage itself: sites in order, blocks of sources, each measured once or read back from its part files."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from feature_graph.artifacts import ActivationStore, FeatureNumbers, FrameFiles, as_key, is_component_key, key_of_site
from feature_graph.config import Config
from feature_graph.dictionaries import Dictionaries, HookedModel
from feature_graph.interactions.check import announce, refuse_unnamed_components
from feature_graph.interactions.errors import MeasureError
from feature_graph.interactions.exhaustive.block import Bar, SiteContext, site_floors, source_rows, source_table
from feature_graph.interactions.exhaustive.correct import check_method
from feature_graph.interactions.exhaustive.disk import DiskWatch
from feature_graph.interactions.exhaustive.family import Kept
from feature_graph.interactions.exhaustive.field import Field, SiteSweep, plan_field
from feature_graph.interactions.exhaustive.finish import write_edges
from feature_graph.interactions.finish import EFFECTS
from feature_graph.interactions.plan import SAMPLING, Plan, Source
from feature_graph.interactions.probes import Probe, placebos
from feature_graph.interactions.smallest import SmallestEffect
from feature_graph.interventions import CLEAN_BYTES, AnalysedModel, MeasurementContext
from feature_graph.utils import progress as progress_over
from feature_graph.utils import sha256_json

log = logging.getLogger(__name__)
#: Samples of one batch; a block holds as many sources as fit.
BLOCK_SAMPLES = 1280
_VERSION = 3
_FIELDS = SAMPLING | {"placebo_quantile", "significance_level", "weight_pairs"}


@dataclass(frozen=True)
class Exhaustive:
    """What an exhaustive run wrote.

    Attributes:
        path: ``interactions.parquet``, significant edges only.
        n_sources: Features that were clamped.
        n_tests: (source, target) pairs tested: the size of each family.
        n_kept: Pairs with a raw p at or below the level.
        n_significant: Of them, edges after correction.
        n_edges: Of them, written (``max_edges_per_target``).
        features: Numbers of the features that have an edge.
        meta: As written into the file.
    """

    path: Path
    n_sources: int
    n_tests: int
    n_kept: int
    n_significant: int
    n_edges: int
    features: FeatureNumbers
    meta: dict[str, Any]


def measure_exhaustive(
    model: HookedModel | AnalysedModel,
    saes: Dictionaries,
    store: ActivationStore,
    cfg: Config,
    path: str | Path,
    *,
    parts_dir: str | Path,
    sources: Mapping[Any, Sequence[int]] | None = None,
    confirm: bool = True,
    progress: bool = True,
    clean_bytes: int = CLEAN_BYTES,
) -> Exhaustive:
    """Measure the effect of every feature that can be clamped on every feature of the later sites of its window.

    No candidate list: nothing is missed by choosing. Pairs whose effects together have p ≤ ``significance_level`` are streamed to
    part files, corrected over all pairs, cut to the ``max_edges_per_target`` strongest per target, and written.

    Args:
        model: A transformer_lens HookedTransformer, float32; or an :class:`AnalysedModel`, which spares building it again.
        saes: Layer → SAELens SAE; or name of the site → SAELens SAE or transcoder.
        store: Recorded activations, for samples and levels.
        cfg: The configuration.
        path: Where ``interactions.parquet`` is written.
        parts_dir: Folder for part files; a killed run resumes from them with the same result.
        sources: Layer or name of the site → features to clamp; default: all.
        confirm: Whether the total effect is measured again on the confirmation documents.
        progress: Whether to show a progress bar.
        clean_bytes: Memory for the clean run; see :func:`feature_graph.interactions.exhaustive.field.plan_field`.

    Raises:
        MeasureError: If the parts do not fit together, the method or the correction is one that needs every pair at once, no
            feature can be a source, or the disk is too small for what is expected.
        feature_graph.interventions.InterventionError: If the model cannot be run in slices.
    """
    check_method(cfg.correction_method)
    if cfg.interaction_method != "clamping":
        raise MeasureError(f"interaction_method: got {cfg.interaction_method!r}; with targets = all it must be clamping")
    if cfg.sample_doublings:
        log.warning("sample_doublings is not used with targets = all: every source has up to %d samples", cfg.n_intervention_samples)
    context = MeasurementContext.open(AnalysedModel.of(model, saes, cfg, components=True), store, cfg)
    refuse_unnamed_components(context.model, cfg)
    field = plan_field(context, sources, clean_bytes)
    n_sources = sum(map(len, field.sources.values()))
    if not n_sources:
        raise MeasureError("no feature can be a source: none is active in enough test documents. Collect more text or lower min_documents")
    warnings = announce(Plan(field.sources, {}, field.left_out, field.n_tests), cfg)
    log.info("%d sources, %d pairs to test; %d features left out", n_sources, field.n_tests, len(field.left_out))
    parts = FrameFiles(Path(parts_dir), _part_key(context, field, clean_bytes, confirm))
    kept = _measure(context, field, parts, confirm=confirm, progress=progress)
    meta, features = write_edges(Path(path), kept, context, field, warnings)
    counts = meta["exhaustive"]
    return Exhaustive(
        path=Path(path),
        n_sources=n_sources,
        n_tests=field.n_tests,
        n_kept=counts["kept"],
        n_significant=counts["significant"],
        n_edges=counts["edges"],
        features=features,
        meta=meta,
    )


def _part_key(context: MeasurementContext, field: Field, clean_bytes: int, confirm: bool) -> str:
    """Hash of everything that a part depends on."""
    settings = {"version": _VERSION, "block": BLOCK_SAMPLES, "bytes": clean_bytes, "confirm": confirm}
    sources = sorted(f"{layer}:{source.index}" for layer, found in field.sources.items() for source in found)
    return sha256_json(settings | {"config": context.cfg.digest(set(_FIELDS)), "sources": sources} | context.input_hashes())


def _measure(context: MeasurementContext, field: Field, parts: FrameFiles, *, confirm: bool, progress: bool) -> Kept:
    cfg = context.cfg
    blocks = [(layer, number, chosen) for layer, found in field.sources.items() for number, chosen in enumerate(_blocks(found, cfg))]
    work = _work(context, field, parts, blocks, confirm)
    done = progress_over(work, "measuring all pairs", len(blocks)) if progress else work
    names = list(done)
    return Kept(parts, [name for name in names if name], {layer: _floor_name(layer) for layer in field.sources})


def _floor_name(layer: int) -> str:
    return f"{_site_name(layer)}-floors"


def _site_name(layer: int) -> str:
    return str(as_key(layer)) if is_component_key(layer) else f"site{layer:03d}"


def _blocks(sources: Sequence[Source], cfg: Config) -> Iterator[Sequence[Source]]:
    size = block_size(cfg)
    return (sources[k : k + size] for k in range(0, len(sources), size))


def block_size(cfg: Config) -> int:
    """Sources of one block."""
    return max(1, BLOCK_SAMPLES // cfg.n_intervention_samples)


def _work(
    context: MeasurementContext, field: Field, parts: FrameFiles, blocks: Sequence[tuple[int, int, Sequence[Source]]], confirm: bool
) -> Iterator[str]:
    cfg, codecs, sweep = context.cfg, context.codecs, SiteSweep(context, field)
    watch = DiskWatch(parts, field.n_tests, cfg, sum(codec.d_sae for codec in codecs.values()))
    prepared: tuple[SiteContext, Bar] | None = None
    at, has_floors = -1, False
    for layer, number, chosen in blocks:
        name = f"{_site_name(layer)}-{number:05d}"
        if layer != at:
            prepared, at, has_floors = None, layer, parts.intact(_floor_name(layer))
        if not (has_floors and parts.intact(name) and parts.intact(f"{name}-sources")):
            prepared = prepared or _prepare(sweep, field, layer, parts, context)
            (site, bar), has_floors = prepared, True
            probes = [Probe(s, codecs[layer].w_dec[s.index]) for s in chosen]
            parts.get(f"{name}-sources", partial(source_table, site, probes))
            rows = parts.get(name, partial(source_rows, site, probes, bar, confirm=confirm))
            watch.look(name, len(rows), len(probes) * sum(c.d_sae for c in site.path))
        yield name


def _prepare(sweep: SiteSweep, field: Field, layer: int, parts: FrameFiles, context: MeasurementContext) -> tuple[SiteContext, Bar]:
    site, cfg = sweep.site(layer), context.cfg
    random = placebos(field.sources[layer], cfg.n_placebo, site.source.w_dec.shape[1], cfg.seed)
    floors = site_floors(site, random, cfg, block_size(cfg))

    def table() -> pd.DataFrame:
        frames = [
            pd.DataFrame(
                {"tgt_layer": int(key_of_site(c.site, layer))} | {EFFECTS[effect][3]: floor for effect, floor in f.of_effect.items()}
            )
            for c, f in zip(site.path, floors, strict=True)
        ]
        return pd.concat(frames, ignore_index=True)

    parts.get(_floor_name(layer), table)
    return site, Bar(floors, SmallestEffect.of(cfg, context.store), cfg.significance_level)
