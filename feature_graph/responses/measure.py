"""Measuring: sites in order up the model, blocks of sources, each measured once or read back from its part file; then one file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph.artifacts import ActivationStore, PartFiles, ResponseBlock, ResponseParts, ResponseStore, ResponseWriter, feature_id
from feature_graph.config import Config
from feature_graph.dictionaries import Dictionaries, HookedModel, weights_hash
from feature_graph.interventions import (
    CLEAN_BYTES,
    AnalysedModel,
    CleanDocuments,
    DirectionTokens,
    MeasureError,
    MeasurementContext,
    Setting,
    StandIn,
    carry_directions,
    carry_site_directions,
)
from feature_graph.responses.disk import check_space, disk_full_explained, folder_for_parts
from feature_graph.responses.generic import write_generic
from feature_graph.responses.plan import LayerSamples, ResponsePlan, plan_responses
from feature_graph.utils import progress as progress_over
from feature_graph.utils import sha256_json, whole_file

log = logging.getLogger(__name__)
#: Sources of one block (one part file; many, since their directions share tokens), and directions that are carried together.
BLOCK_SOURCES, _BATCH = 2048, 2048
_VERSION = 1
#: Fields of the configuration that the file names, and those that a block's result depends on.
_FIELDS = frozenset({"layers", "response_samples", "response_documents", "activity_threshold", "seed"})
_OF_BLOCKS = _FIELDS | {"weight_pairs"}


def measure_responses(
    model: HookedModel | AnalysedModel,
    saes: Dictionaries,
    store: ActivationStore,
    cfg: Config,
    path: str | Path,
    *,
    parts_dir: str | Path | None = None,
    sources: Mapping[int, Sequence[int]] | None = None,
    progress: bool = True,
    clean_bytes: int = CLEAN_BYTES,
    next_only: bool = False,
) -> ResponseStore:
    """Measure the response of every feature at every later site on the select documents, and write ``responses.h5``.

    Args:
        model: A transformer_lens HookedTransformer, or an :class:`AnalysedModel`, which spares building it again.
        saes: Layer → SAELens SAE; or name of the site → SAELens SAE or transcoder.
        store: Recorded activations, for the samples.
        cfg: The configuration.
        path: Where ``responses.h5`` is written.
        parts_dir: Folder for part files; a run that was cut off goes on from them with the same result. None: a temporary one.
        sources: Layer → features to measure; default: all.
        progress: Whether to show a progress bar.
        clean_bytes: Memory for the clean run; see :func:`plan_responses`.
        next_only: Whether each source is followed to the next site alone, which is what paths are made of.

    Raises:
        MeasureError: If the parts do not fit together, no feature can be measured, a response is not finite, or the disk is too small.
        feature_graph.interventions.InterventionError: If the model cannot be run in slices.
    """
    context = MeasurementContext.open(AnalysedModel.of(model, saes, cfg, components=True), store, cfg)
    plan = plan_responses(context, sources, clean_bytes, next_only)
    dictionaries = {str(layer): weights_hash(context.model.saes[layer]) for layer in context.codecs}
    log.info("responses: %d sources of %d sites on %d documents", plan.n_sources, len(plan.samples), len(plan.documents))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with folder_for_parts(parts_dir, path.parent) as folder, disk_full_explained(parts_dir):
        parts = PartFiles(folder, _key(context, plan, dictionaries), ResponseParts())
        blocks = list(_blocks(plan))
        check_space(plan, context.slices.d_model, parts, [block.name for block in blocks], 1 + context.model.has_components)
        work = _work(context, plan, parts, blocks)
        for _ in progress_over(work, "measuring responses", len(blocks)) if progress else work:
            pass
        with whole_file(path) as whole:
            _write(whole, context, plan, parts, _meta(context, plan, dictionaries))
    return ResponseStore(path)


@dataclass(frozen=True)
class SampledBlock:
    """Some sources of a site, measured together: the name of its part file, the layer, the first source and the one after the last."""

    name: str
    layer: int
    first: int
    stop: int


def _write(path: Path, context: MeasurementContext, plan: ResponsePlan, parts: PartFiles[ResponseBlock], meta: Mapping[str, Any]) -> None:
    """One file of all parts, and what is generic in them."""
    with ResponseWriter(path, context.model.sites, meta) as writer:
        for layer, samples in plan.samples.items():
            writer.sources(layer, samples.counts())
            for target in plan.later[layer]:
                width = int(context.codecs[target].w_enc.shape[0])
                writer.begin(layer, target, len(samples), width, carried=context.model.has_components)
        for block in _blocks(plan):
            found = parts.load(block.name)
            if found is None:
                raise MeasureError(f"{parts.path(block.name)}: lost since it was measured; start again, the other parts are kept")
            for k, target in enumerate(plan.later[block.layer]):
                writer.put(block.layer, target, block.first, found.values[k], found.scale[k])
        write_generic(writer, {layer: codec.w_dec for layer, codec in context.codecs.items()})


def _key(context: MeasurementContext, plan: ResponsePlan, dictionaries: Mapping[str, str]) -> str:
    chosen = {str(layer): samples.index.tolist() for layer, samples in plan.samples.items()}
    documents = {"documents": plan.documents.tolist(), "sources": sha256_json(chosen), "dictionaries": dict(dictionaries)}
    if plan.next_only:
        documents["later"] = "next site"
    return sha256_json(
        {"version": _VERSION, "block": BLOCK_SOURCES, "config": context.cfg.digest(set(_OF_BLOCKS))} | documents | context.input_hashes()
    )


def _meta(context: MeasurementContext, plan: ResponsePlan, dictionaries: Mapping[str, str]) -> dict[str, Any]:
    cfg = context.cfg
    return {
        "dictionaries": dict(dictionaries),
        "text": context.input_hashes()["tokens"],
        "documents": len(plan.documents),
        "config": {name: value for name, value in cfg.model_dump(mode="json").items() if name in _FIELDS},
        "left_out": {str(layer): reasons for layer, reasons in plan.left_out.items() if reasons},
    }


def _blocks(plan: ResponsePlan) -> Iterator[SampledBlock]:
    """The same whatever was measured before."""
    for layer, samples in plan.samples.items():
        for first in range(0, len(samples), BLOCK_SOURCES):
            yield SampledBlock(f"site{layer:03d}-{first // BLOCK_SOURCES:05d}", layer, first, min(first + BLOCK_SOURCES, len(samples)))


def _work(
    context: MeasurementContext, plan: ResponsePlan, parts: PartFiles[ResponseBlock], blocks: Sequence[SampledBlock]
) -> Iterator[None]:
    clean = cache(partial(CleanDocuments, context, plan.documents))  # only if a block is to be measured
    setting: Callable[[], Setting] | None = None
    at = -1
    for block in blocks:
        layer, later = block.layer, plan.later[block.layer]
        if layer != at or setting is None:
            setting, at = cache(partial(_setting, clean, [layer, *later])), layer
        if not parts.intact(block.name):
            parts.save(block.name, _measured(setting, layer, later, plan.samples[layer].part(block.first, block.stop)))
        yield


def _setting(clean: Callable[[], CleanDocuments], layers: Sequence[int]) -> Setting:
    return clean().setting(layers)


def _measured(setting: Callable[[], Setting], layer: int, later: Sequence[int], samples: LayerSamples) -> ResponseBlock:
    site = setting()
    means = (site_half_means if site.model.has_components else half_means)(site, layer, later, samples)
    broken = ~np.isfinite(means).all(axis=(0, 2, 3))
    if broken.any():
        names = ", ".join(feature_id(layer, int(i)) for i in samples.index[broken][:3])
        raise MeasureError(f"responses: those of {int(broken.sum())} features are NaN or infinite ({names}); check the model's weights")
    return ResponseBlock.of(means)


@torch.no_grad()
def half_means(setting: Setting, layer: int, later: Sequence[int], samples: LayerSamples) -> NDArray[np.float64]:
    """Mean response of each source in each half of its documents, before any rounding.

    Args:
        setting: The clean run from the layer's site up to the last of ``later``.
        layer: Layer of the sources.
        later: Layers whose sites are read, ascending.
        samples: The sources and their tokens.

    Returns:
        float64 [len(later), sources, 2, d_model], residual units per unit of the source; 0 for a half without documents.
    """
    model, device, width = setting.model, setting.slices.device, setting.slices.d_model
    points = [model.point(n) for n in later]
    means = np.zeros((len(later), len(samples) * 2, width))
    owner, rows = samples.owners(), setting.rows[samples.documents]
    order = np.lexsort((samples.positions, rows))  # documents and tokens side by side share keys, values and clean pass
    for chosen in np.array_split(order, max(1, -(-len(order) // _BATCH))):
        where = (torch.as_tensor(values[chosen], device=device) for values in (rows, samples.positions))
        tokens = DirectionTokens.distinct(*where)
        index = torch.as_tensor(samples.index[owner[chosen]], device=device)
        cells, place = np.unique(2 * owner[chosen] + samples.half[chosen], return_inverse=True)
        weight = torch.as_tensor(samples.weight[chosen], device=device)[:, None]
        sums = _CellSums(torch.as_tensor(place, device=device), weight, len(cells))
        directions = model.codecs[layer].w_dec[index]
        carried = carry_directions(setting.slices, setting.clean, model.point(layer), tokens, directions, points)
        for k, vectors in enumerate(carried):
            means[k, cells] += sums.of(vectors)
    return means.reshape(len(later), len(samples), 2, width)


@torch.no_grad()
def site_half_means(
    setting: Setting, layer: int, later: Sequence[int], samples: LayerSamples, stand_ins: Iterable[StandIn] = ()
) -> NDArray[np.float64]:
    """The same between dictionaries on components, and after the two halves those of the part that nothing computed.

    Args:
        setting: The clean run from the source site up to the last of ``later``.
        layer: Site of the sources.
        later: Sites that are read.
        samples: The sources and their tokens.
        stand_ins: Transcoders in the place of MLPs.

    Returns:
        float64 [len(later), sources, 4, widest], units of what is read per unit of the source; narrower sites are filled up with 0.
    """
    codecs, device = setting.codecs, setting.slices.device
    targets = [codecs[n].site for n in later]
    means = np.zeros((len(later), len(samples) * 2, 2, max(site.d_in for site in targets)))
    owner, rows = samples.owners(), setting.rows[samples.documents]
    order = np.lexsort((samples.positions, rows))
    for chosen in np.array_split(order, max(1, -(-len(order) // _BATCH))):
        tokens = DirectionTokens.distinct(*(torch.as_tensor(values[chosen], device=device) for values in (rows, samples.positions)))
        directions = codecs[layer].w_dec[torch.as_tensor(samples.index[owner[chosen]], device=device)]
        cells, place = np.unique(2 * owner[chosen] + samples.half[chosen], return_inverse=True)
        weight = torch.as_tensor(samples.weight[chosen], device=device)[:, None]
        sums = _CellSums(torch.as_tensor(place, device=device), weight, len(cells))
        found = carry_site_directions(setting.slices, setting.clean, codecs[layer].site, tokens, directions, targets, stand_ins)
        for k, (site, arrivals) in enumerate(zip(targets, found, strict=True)):
            means[k, cells, 0, : site.d_in] += sums.of(arrivals.arrived)
            means[k, cells, 1, : site.d_in] += sums.of(arrivals.carried)
    return means.reshape(len(later), len(samples), 2, 2, -1).swapaxes(2, 3).reshape(len(later), len(samples), 4, -1)


class _CellSums:
    """Weighted sums of rows by cell."""

    def __init__(self, place: Tensor, weight: Tensor, n: int) -> None:
        self._place, self._weight, self._n = place, weight, n

    def of(self, vectors: Tensor) -> NDArray[np.float64]:
        """[rows, d] → float64 [cells, d]."""
        made = torch.zeros(self._n, vectors.shape[1], dtype=vectors.dtype, device=vectors.device)
        made.index_add_(0, self._place, vectors * self._weight.to(vectors.dtype))
        return made.double().cpu().numpy()
