"""Directions of a run's decoder rows into decoders.parquet, from which `ingest` puts them on the features of the graph."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from feature_graph.artifacts import ArtifactError, RunPaths
from feature_graph.config import Config
from feature_graph.pipeline.lock import locked
from feature_graph.pipeline.manifest import Manifest
from feature_graph.utils import whole_file
from ingest.formats import DECODERS, FEATURES, TableWriter, read_table

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WrittenDecoders:
    """What :func:`write_decoders` wrote.

    Attributes:
        path: The file.
        count: Features with a direction.
        width: Width of the residual stream.
        without: Features whose decoder row is zero; they have none.
    """

    path: Path
    count: int
    width: int
    without: int


def write_decoders(cfg: Config, run_dir: str | Path) -> WrittenDecoders:
    """Write the direction of every feature's decoder row, norm 1, into the run directory. Loads the run's dictionaries, not its model.

    Args:
        cfg: The run's configuration.
        run_dir: Its directory, with features.parquet.

    Raises:
        FormatError: If features.parquet is missing or damaged.
        LoadingError: If a dictionary cannot be loaded.
        ArtifactError: If a dictionary is not the one that the run used.
    """
    from feature_graph.loading import load_saes, resolve_device

    paths = RunPaths.of(run_dir)
    features = read_table(paths.features, FEATURES).to_pandas()
    if cfg.has_components:
        raise ArtifactError(
            f"{paths.root}: the run has dictionaries on components, whose directions are not all of one space; vectors are written of runs "
            "with residual SAEs alone"
        )
    saes = load_saes(cfg, resolve_device(cfg.device))
    _refuse_others(saes, paths)
    path = paths.root / DECODERS.name
    count = width = 0
    with locked(paths.lock), whole_file(path) as part, TableWriter(part, DECODERS) as writer:
        for layer, rows in features.groupby("layer", sort=True):
            table, width = _table(rows, _directions(saes, int(layer), rows["index"].to_numpy(), paths))
            writer.write(table)
            count += len(table)
    log.info("%s: directions of %d features, %d wide", path, count, width)
    return WrittenDecoders(path, count, width, len(features) - count)


def _refuse_others(saes: dict[int, Any], paths: RunPaths) -> None:
    """Refuse dictionaries whose weights are not those that the manifest recorded."""
    from feature_graph.dictionaries import weights_hash

    recorded = Manifest.load(paths.manifest).saes if paths.manifest.is_file() else {}
    for layer, sae in saes.items():
        known, found = recorded.get(str(layer), {}).get("sha256"), weights_hash(sae)
        if known is not None and known != found:
            raise ArtifactError(
                f"layer {layer}: the dictionary that sae_release names now has weights {found}, the run used {known}; restore the "
                "dictionaries that the run used, or run it again"
            )


def _directions(saes: dict[int, Any], layer: int, indices: NDArray[np.int64], paths: RunPaths) -> NDArray[np.float32]:
    """Decoder rows of some features of a layer, float32 [n, d_in]."""
    if layer not in saes:
        raise ArtifactError(f"{paths.features}: has features at layer {layer}; config.json names layers {sorted(saes)}")
    decoder = saes[layer].W_dec
    if indices.max() >= len(decoder):
        raise ArtifactError(f"{paths.features}: feature {indices.max()} of layer {layer}; its dictionary has {len(decoder)}")
    rows: NDArray[np.float32] = decoder.detach().float().cpu().numpy()[indices]
    return rows


def _table(rows: pd.DataFrame, decoder: NDArray[np.float32]) -> tuple[pa.Table, int]:
    """Rows of decoders.parquet, without those whose direction is none; and the width."""
    norms = np.linalg.norm(decoder.astype(np.float64), axis=1)
    kept = np.isfinite(norms) & (norms > 0)
    unit = (decoder[kept] / norms[kept, None]).astype(np.float32)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(unit.ravel()), unit.shape[1]).cast(pa.list_(pa.float32()))
    columns = {"fid": pa.array(rows["fid"].to_numpy()[kept]), "uid": pa.array(rows["uid"].to_numpy()[kept]), "decoder": vectors}
    return pa.table(columns), unit.shape[1]
