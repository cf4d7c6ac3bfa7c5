"""Directions that a run's features add to the residual stream, into decoders.parquet; `ingest` puts them on the features of the graph."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from feature_graph.artifacts import ArtifactError, BySite, RunPaths, by_site, feature_id, feature_key, keys_of, kind_of, layer_of
from feature_graph.config import Config
from feature_graph.pipeline.lock import locked
from feature_graph.utils import whole_file
from ingest.formats import DECODERS, FEATURES, TableWriter, read_table

if TYPE_CHECKING:
    from feature_graph.dictionaries import HookedModel

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WrittenDecoders:
    """What :func:`write_decoders` wrote.

    Attributes:
        path: The file.
        count: Features with a direction.
        width: Width of the residual stream.
        without: Features that add nothing to the residual stream; they have none.
    """

    path: Path
    count: int
    width: int
    without: int


def write_decoders(cfg: Config, run_dir: str | Path) -> WrittenDecoders:
    """Write what every feature adds to the residual stream, as a direction of norm 1, into the run directory.

    That is its decoder row; of a dictionary on z, the row through W_O (a norm that follows is left out), for which alone the model is
    loaded. A dictionary on the MLP's input adds nothing to the stream.

    Args:
        cfg: The run's configuration.
        run_dir: Its directory, with features.parquet.

    Raises:
        FormatError: If features.parquet is missing or damaged.
        LoadingError: If a dictionary cannot be loaded.
        ArtifactError: If a dictionary is not the one that the run used, or lacks a feature of the run.
    """
    paths = RunPaths.of(run_dir)
    features = read_table(paths.features, FEATURES).to_pandas()
    dictionaries, model = _load(cfg, paths)
    path = paths.root / DECODERS.name
    count = width = 0
    with locked(paths.lock), whole_file(path) as part, TableWriter(part, DECODERS) as writer:
        for _, rows in features.groupby(features["id"].str.rpartition("_F")[0], sort=False):
            key, _ = feature_key(rows["id"].iloc[0], dictionaries)
            if key not in dictionaries:
                known = ", ".join(map(str, dictionaries))
                raise ArtifactError(f"{paths.features}: has features such as {rows['id'].iloc[0]}; config.json names the sites {known}")
            table, width = _table(rows, _directions(dictionaries[key], key, rows["index"].tolist(), model))
            writer.write(table)
            count += len(table)
    log.info("%s: directions of %d features, %d wide", path, count, width)
    return WrittenDecoders(path, count, width, len(features) - count)


def _load(cfg: Config, paths: RunPaths) -> tuple[BySite[Any], HookedModel | None]:
    """The run's dictionaries, and the model where one of them writes at z."""
    from feature_graph.loading import check_recorded, load_model_and_saes, load_saes, resolve_device

    if any(kind_of(key) == "hook_z" for key in keys_of(cfg)):
        model, saes = load_model_and_saes(cfg.model_copy(update={"sae_quality": "off"}), paths.root)
        return by_site(saes), model
    saes = load_saes(cfg, resolve_device(cfg.device))
    check_recorded(saes, paths.root)
    return by_site(saes), None


def _directions(sae: Any, key: int, indices: list[int], model: HookedModel | None) -> NDArray[np.float32]:
    """What some features of a site add to the stream, float32 [n, d_model]."""
    from feature_graph.dictionaries import output_weights, stream_rows

    if max(indices) >= len(sae.W_dec):
        raise ArtifactError(f"features.parquet: has {feature_id(key, max(indices))}; its dictionary has {len(sae.W_dec)} features")
    w_out = None if model is None or kind_of(key) != "hook_z" else output_weights(model, layer_of(key)).float()
    rows: NDArray[np.float32] = stream_rows(sae.W_dec.detach().float()[indices], kind_of(key), w_out).cpu().numpy()
    return rows


def _table(rows: pd.DataFrame, decoder: NDArray[np.float32]) -> tuple[pa.Table, int]:
    """Rows of decoders.parquet, without those whose direction is none; and the width."""
    norms = np.linalg.norm(decoder.astype(np.float64), axis=1)
    kept = np.isfinite(norms) & (norms > 0)
    unit = (decoder[kept] / norms[kept, None]).astype(np.float32)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(unit.ravel()), unit.shape[1]).cast(pa.list_(pa.float32()))
    columns = {"fid": pa.array(rows["fid"].to_numpy()[kept]), "uid": pa.array(rows["uid"].to_numpy()[kept]), "decoder": vectors}
    return pa.table(columns), unit.shape[1]
