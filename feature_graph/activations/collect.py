"""Recording how active each feature is at each token of the run's text.

1. Contexts come from the corpus, or from the caller's ``tokens``; what does not fit the model is refused before work starts.
2. Blocks of documents pass the model up to the last analysed site; every site's dictionary encodes what is read there. Tokens whose
   residual stream is an outlier at one of the sites are left out at all of them, as BOS is.
3. *Active* values (above the activity threshold) of counted tokens are streamed to one HDF5 file, one CSR matrix a layer. Not more than
   one block of one layer is dense at a time.
4. With a folder for parts, each block is kept as soon as it is done; a run that was killed goes on after the last one.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph.activations.errors import CollectError
from feature_graph.activations.forward import read_hooks, record_features
from feature_graph.activations.inputs import Contexts, contexts_of
from feature_graph.activations.parts import BlockParts, RecordedBlock
from feature_graph.activations.readings import check_readings
from feature_graph.activations.summary import report_store
from feature_graph.activations.table import decoder_of
from feature_graph.artifacts import ActivationStore, ActivationWriter, PartFiles, kind_of
from feature_graph.config import Config
from feature_graph.dictionaries import (
    Dictionaries,
    HookedModel,
    check_quality,
    judge,
    outlier_tokens,
    random_tokens,
    weights_hash,
)
from feature_graph.interventions import AnalysedModel
from feature_graph.utils import progress, sha256_json, whole_file

log = logging.getLogger(__name__)

#: Tokens per block; not a setting, since part files of a run must be cut alike.
_BLOCK_TOKENS = 4096
#: Documents on which L0 and explained variance are measured.
_JUDGED_DOCUMENTS = 8
#: Contexts on which the engine is compared with the model before anything is collected.
_CHECKED_DOCUMENTS = 2
#: Outlying tokens that are named in the record.
_NAMED = 5


def collect_activations(
    model: HookedModel | AnalysedModel,
    saes: Dictionaries,
    cfg: Config,
    tokens: Any = None,
    *,
    path: str | Path | None = None,
    parts_dir: str | Path | None = None,
) -> ActivationStore:
    """Record the activations of every feature of every SAE.

    Args:
        model: HookedTransformer, with or without a tokenizer (without one, give ``tokens``); or an :class:`AnalysedModel`, which spares
            building it again.
        saes: Layer → SAELens SAE on the residual stream; or name of the site (``L5``, ``L5.mlp``, ``L5.tc`` …) → SAELens SAE or transcoder.
        cfg: The run's configuration.
        tokens: int64 [n_docs, context] (torch or NumPy), each row a document; read as they are, no BOS is added. Padding only
            on the right. None draws ``cfg.n_tokens`` tokens from ``cfg.dataset``.
        path: Where the store shall lie. None: a temporary file that goes when the store is no longer used; ``store.save`` copies it.
        parts_dir: Folder for part files, from which a killed run resumes; emptied at the end.

    Returns:
        The store; activations are in folded units (decoder rows of norm 1).

    Raises:
        CollectError: If tokens do not fit the model, no token counts, a hook does not fire, or the model gives NaN.
        feature_graph.interventions.errors.InterventionError: If the model cannot be intervened on: nothing is collected for a run that
            could not go on.
        feature_graph.loading.errors.LoadingError: If an SAE does not fit the model, is of a kind that is not analysed, or explains less
            than half of the variance (``cfg.sae_quality``), or if one on a component does no better than the mean; if text is missing.
    """
    analysed = AnalysedModel.of(model, saes, cfg, components=True)  # what no later stage could run is refused now
    model, codecs = analysed.model, analysed.codecs
    if tokens is None:
        analysed.check(random_tokens(model, rows=_CHECKED_DOCUMENTS, width=cfg.context_length))
    contexts = contexts_of(model, analysed.saes, cfg, tokens, analysed.streams().values())
    if tokens is not None:
        analysed.check(contexts.tokens[:_CHECKED_DOCUMENTS])
    meta = {
        "seed": cfg.seed,
        "dataset": contexts.source,
        "kinds": {str(layer): codec.kind for layer, codec in codecs.items()},
        "sae_quality": _judge(analysed, contexts, cfg),
    }
    widths = {layer: codec.d_sae for layer, codec in codecs.items()}
    parts = PartFiles(Path(parts_dir) if parts_dir is not None else None, _key(analysed, contexts, cfg), BlockParts(widths))
    store = _stored(path, lambda part: _write(part, meta, analysed, contexts, _blocks(analysed, contexts, cfg, parts), cfg))
    parts.remove()
    report_store(store, decoder_of(getattr(model, "tokenizer", None)))
    return store


def _stored(path: str | Path | None, write: Callable[[Path], None]) -> ActivationStore:
    """The store in a file that ``write`` fills; without a path in a temporary one, which goes when the store is no longer used."""
    folder = Path(tempfile.mkdtemp(prefix="feature-graph-")) if path is None else None
    target = Path(path) if path is not None else Path(folder or "", "activations.h5")
    try:
        with whole_file(target) as part:
            write(part)
        store = ActivationStore(target)
    except BaseException:
        if folder is not None:
            shutil.rmtree(folder)
        raise
    if folder is not None:
        weakref.finalize(store.activations, shutil.rmtree, folder, ignore_errors=True)  # it may outlive the store, not the reverse
    return store


def _judge(analysed: AnalysedModel, contexts: Contexts, cfg: Config) -> dict[str, Any]:
    """L0 and explained variance of every dictionary on the first few documents, compared with what is published."""
    if cfg.sae_quality == "off":
        return {}
    few = np.flatnonzero(contexts.valid.any(axis=1))[:_JUDGED_DOCUMENTS]
    codecs, tokens = analysed.codecs, contexts.tokens[few]
    check_readings(analysed, tokens, cfg)
    reads, writes = analysed.reads(), analysed.writes()
    values = read_hooks(
        analysed.model, [*analysed.streams().values(), *(hook.hook for one in (reads, writes) for hook in one.values())], tokens
    )
    counted = torch.as_tensor(_counted(analysed, values, contexts.valid[few], contexts, cfg), device=analysed.slices.device)
    found = {
        layer: judge(codec, analysed.saes[layer], reads[layer].read(values)[counted], writes[layer].read(values)[counted])
        for layer, codec in codecs.items()
    }
    residual = {layer for layer in codecs if kind_of(layer) == "residual"}
    check_quality({layer: quality for layer, quality in found.items() if layer in residual}, cfg.sae_quality)
    # of the others, what does no better than the mean was refused above
    check_quality({layer: quality for layer, quality in found.items() if layer not in residual}, "warn")
    return {str(layer): asdict(quality) for layer, quality in found.items()}


def _counted(
    analysed: AnalysedModel, values: Mapping[str, Tensor], valid: NDArray[np.bool_], contexts: Contexts, cfg: Config
) -> NDArray[np.bool_]:
    """Those of ``valid`` that are no outliers; ``values`` by hook."""
    by_hook = {hook: values[hook] for hook in analysed.streams().values()}
    return valid & ~outlier_tokens(by_hook, contexts.typical, cfg.outlier_norm).numpy()


def _write(
    path: Path, meta: dict[str, Any], analysed: AnalysedModel, contexts: Contexts, blocks: Iterator[RecordedBlock], cfg: Config
) -> None:
    sites, codecs = analysed.sites, analysed.codecs
    valid: list[NDArray[np.bool_]] = []
    with ActivationWriter(path, sites, contexts.tokens, contexts.valid, meta) as writer:
        for block in blocks:
            valid.append(block.valid)
            for layer, features in block.features.items():
                writer.append(layer, features)
        counted = np.concatenate(valid)
        writer.count(counted, {"outliers": _outliers(contexts, counted, analysed.streams(), cfg)})
        writer.finish(
            {layer: codec.activity_threshold.cpu().numpy() for layer, codec in codecs.items()},
            {layer: codec.decoder_norm.cpu().numpy() for layer, codec in codecs.items()},
        )


def _outliers(contexts: Contexts, counted: NDArray[np.bool_], streams: Mapping[int, str], cfg: Config) -> dict[str, Any]:
    """How many tokens were left out as outliers, and which ids most often, for the record."""
    ids, times = np.unique(contexts.tokens[contexts.valid & ~counted], return_counts=True)
    if not counted.any():
        raise CollectError(f"outlier_norm: got {cfg.outlier_norm}, which leaves out all {times.sum()} tokens; raise it, or set it to null")
    order = np.argsort(-times, kind="stable")[:_NAMED]
    return {
        "factor": cfg.outlier_norm,
        "tokens": int(times.sum()),
        "typical_norms": {str(layer): contexts.typical[hook] for layer, hook in streams.items()},
        "commonest": [[int(ids[k]), int(times[k])] for k in order],
    }


def _blocks(analysed: AnalysedModel, contexts: Contexts, cfg: Config, parts: PartFiles[RecordedBlock]) -> Iterator[RecordedBlock]:
    """Blocks in order, each read from its part file or collected (and then kept)."""
    n_docs, context = contexts.tokens.shape
    step = max(1, _BLOCK_TOKENS // context)
    for number, start in enumerate(progress(range(0, n_docs, step), "Collecting activations")):
        documents = slice(start, min(start + step, n_docs))
        yield parts.get(f"block-{number:06d}", partial(_collect, analysed, contexts, documents, cfg))


def _collect(analysed: AnalysedModel, contexts: Contexts, documents: slice, cfg: Config) -> RecordedBlock:
    codecs, reads = analysed.codecs, analysed.reads()
    hooks = [*analysed.streams().values(), *(hook.hook for hook in reads.values())]
    found: dict[int, list[sp.csr_matrix]] = {layer: [] for layer in codecs}
    counted: list[NDArray[np.bool_]] = []
    for start in range(documents.start, documents.stop, cfg.batch_size):
        rows = slice(start, min(start + cfg.batch_size, documents.stop))
        values = read_hooks(analysed.model, hooks, contexts.tokens[rows])
        counted.append(_counted(analysed, values, contexts.valid[rows], contexts, cfg))
        for layer, codec in codecs.items():
            found[layer].append(record_features(codec, reads[layer].read(values), counted[-1]))
    return RecordedBlock({layer: sp.vstack(matrices, format="csr") for layer, matrices in found.items()}, np.concatenate(counted))


def _key(analysed: AnalysedModel, contexts: Contexts, cfg: Config) -> str:
    """Digest of everything that decides a block."""
    codecs = analysed.codecs
    arrays = [contexts.tokens, contexts.valid, *(codec.activity_threshold.cpu().numpy() for codec in codecs.values())]
    return sha256_json(
        {
            "sites": [codec.site.to_dict() for codec in codecs.values()],
            "saes": [weights_hash(analysed.saes[layer]) for layer in codecs],
            "arrays": [[str(a.dtype), list(a.shape), hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest()] for a in arrays],
            "outliers": [cfg.outlier_norm, contexts.typical],
            "block_tokens": _BLOCK_TOKENS,
        }
    )
