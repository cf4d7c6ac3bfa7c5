"""Passes, blocks and the way up the model: each block is measured once, or read back from its part file."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import pandas as pd

from feature_graph.artifacts import CandidateSet, FrameFiles, ResponseStore, as_key, by_keys, is_component_key
from feature_graph.config import Config
from feature_graph.interactions.blocks import placebo_rows, source_rows
from feature_graph.interactions.plan import SAMPLING, Ints, Plan, Source
from feature_graph.interactions.probes import Probe, placebos
from feature_graph.interventions import CLEAN_BYTES, CleanDocuments, MeasurementContext, Setting
from feature_graph.utils import progress as progress_over
from feature_graph.utils import sha256_file, sha256_json

#: Samples of one batch; a block holds as many probes as fit.
BLOCK_SAMPLES = 240
_VERSION = 4
#: Fields of the configuration that a block's result depends on.
_FIELDS = SAMPLING | {"interaction_method", "sample_doublings", "specificity_directions", "specificity_samples"}


@dataclass(frozen=True)
class ProbeBlock:
    """Some probes of one site, measured together; its part file is named after it."""

    name: str
    layer: int
    probes: tuple[Source, ...] | tuple[Probe, ...]
    placebo: bool


def part_key(context: MeasurementContext, candidates: CandidateSet, clean_bytes: int, responses: ResponseStore | None = None) -> str:
    """Hash of everything that a block's result depends on."""
    pairs = by_keys(candidates.frame)[["src_layer", "src_index", "tgt_layer", "tgt_index"]].to_numpy(np.int64)
    text = {
        "version": _VERSION,
        "blocks": [BLOCK_SAMPLES, clean_bytes],
        "config": context.cfg.digest(set(_FIELDS)),
        "candidates": hashlib.sha256(np.ascontiguousarray(pairs).tobytes()).hexdigest(),
        "responses": None if responses is None else sha256_file(responses.path),
    }
    return sha256_json(text | context.input_hashes())


def measure_blocks(
    context: MeasurementContext, plan: Plan, parts: FrameFiles, *, progress: bool, clean_bytes: int = CLEAN_BYTES
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of all sources, and rows of all placebos."""
    passes = list(split_passes(context, plan, clean_bytes))
    widths = {layer: int(codec.w_dec.shape[1]) for layer, codec in context.codecs.items()}
    blocks = [make_blocks(plan, chosen, widths, context.cfg, number) for number, chosen in enumerate(passes)]
    work = _work(context, plan, parts, passes, blocks)
    total = sum(map(len, blocks))
    found = list(progress_over(work, "measuring interactions", total) if progress else work)
    frames = {kind: [frame for block, frame in found if block.placebo == kind and len(frame)] for kind in (False, True)}
    rows, random = (pd.concat(frames[kind], ignore_index=True) if frames[kind] else pd.DataFrame() for kind in (False, True))
    return rows, random


def _work(
    context: MeasurementContext, plan: Plan, parts: FrameFiles, passes: list[list[Source]], blocks: list[list[ProbeBlock]]
) -> Iterator[tuple[ProbeBlock, pd.DataFrame]]:
    for chosen, pending in zip(passes, blocks, strict=True):
        clean = CleanDocuments(context, documents_of(chosen))
        for layer in sorted({block.layer for block in pending}):
            setting = cache(partial(clean.setting, plan.window(layer, context.codecs)))  # only if a block of the site is to be measured
            for block in (b for b in pending if b.layer == layer):
                yield block, parts.get(block.name, partial(_measure, setting, plan, block, context.cfg))


def _measure(setting: Callable[[], Setting], plan: Plan, block: ProbeBlock, cfg: Config) -> pd.DataFrame:
    if block.placebo:
        return placebo_rows(setting(), plan, [p for p in block.probes if isinstance(p, Probe)], cfg.interaction_method)
    return source_rows(setting(), plan, [s for s in block.probes if isinstance(s, Source)], cfg.interaction_method)


def make_blocks(plan: Plan, chosen: list[Source], widths: Mapping[int, int], cfg: Config, number: int) -> list[ProbeBlock]:
    """Sources and placebos of one pass in blocks of a fixed size, site by site: the same whatever was measured before.

    Args:
        plan: What is measured.
        chosen: Sources of the pass.
        widths: Layer → length of what its dictionary writes.
        cfg: The configuration.
        number: Of the pass.
    """
    blocks = []
    for layer in sorted({s.layer for s in chosen}):
        mine = {s.index for s in chosen if s.layer == layer}
        random = [p for p in placebos(plan.sources[layer], cfg.n_placebo, widths[layer], cfg.seed) if p.source.index in mine]
        sources = [s for s in chosen if s.layer == layer]
        for kind, probes in (("sources", sources), ("placebos", random)):
            for k, some in enumerate(_filled(probes, cfg.n_intervention_samples)):
                name = f"{plan.part}pass{number}-{_site_name(layer)}-{kind}{k:04d}"
                blocks.append(ProbeBlock(name, layer, tuple(some), kind == "placebos"))  # type: ignore[arg-type]
    return blocks


def _site_name(layer: int) -> str:
    return str(as_key(layer)) if is_component_key(layer) else f"layer{layer:03d}"


def _filled(probes: Sequence[Source] | Sequence[Probe], least: int) -> list[list[Source | Probe]]:
    """Probes in groups of at most ``BLOCK_SAMPLES`` samples, or of one; each counts for at least ``least``."""
    groups: list[list[Source | Probe]] = []
    room = 0
    for probe in probes:
        n = max(least, len((probe.source if isinstance(probe, Probe) else probe).test))
        if not groups or n > room:
            groups.append([])
            room = BLOCK_SAMPLES
        groups[-1].append(probe)
        room -= n
    return groups


def split_passes(context: MeasurementContext, plan: Plan, limit: int = CLEAN_BYTES) -> Iterator[list[Source]]:
    """Sources in passes whose documents' clean run stays within ``limit`` bytes; most runs need one.

    Sources that share documents come together: they are taken in the order of the number of documents that they add.
    """
    room = max(1, limit // context.document_bytes(plan.window(layer, context.codecs) for layer in plan.sources))
    waiting = [s for layer in sorted(plan.sources) for s in plan.sources[layer]]
    if len(documents_of(waiting)) <= room:
        yield waiting
        return
    waiting.sort(key=lambda s: int(documents_of([s]).max()))
    held: set[int] = set()
    chosen: list[Source] = []
    for source in waiting:
        more = held | set(documents_of([source]).tolist())
        if len(more) > room and chosen:
            yield sorted(chosen, key=lambda s: (s.layer, s.index))
            chosen, more = [], set(documents_of([source]).tolist())
        chosen.append(source)
        held = more
    yield sorted(chosen, key=lambda s: (s.layer, s.index))


def documents_of(sources: list[Source]) -> Ints:
    """Documents that hold a sample of these sources, ascending."""
    parts = [part.documents for s in sources for part in (s.test, s.confirm)]
    return np.unique(np.concatenate(parts)) if parts else np.zeros(0, dtype=np.int64)
