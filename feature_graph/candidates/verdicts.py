"""What each pruning stage would say of pairs that were measured without asking it: pruning judged by the code that prunes.

The stages are asked one by one, so that each tells what it would lose alone. The rescue arm is not among them: it is drawn from what they
remove.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_graph.artifacts import SELECT, ActivationStore, CoactivationAtlas, spans
from feature_graph.candidates.alignment import Aligner, Asked, BlockAligner, CosineAligner
from feature_graph.candidates.grid import Grid, Joint, count_joint, joint_of
from feature_graph.candidates.importance import Importance
from feature_graph.config import Config
from feature_graph.interventions import AnalysedModel
from feature_graph.utils import derived_seed

#: Stage → what a pair that it removes lacks.
VERDICTS = {
    "source": "its source is not among the top features of its layer",
    "target": "its target is not among the top features of its layer",
    "coactivation": "its two features are hardly ever active together",
    "alignment": "its source's direction does not reach the target's encoder",
    "layer_window": "its target lies beyond the window",
}
#: Select documents from which the samples for the alignment are drawn.
_DOCUMENTS = 128


def removed_by(
    pairs: pd.DataFrame,
    importance: Importance,
    atlas: CoactivationAtlas,
    cfg: Config,
    store: ActivationStore,
    model: AnalysedModel,
) -> pd.DataFrame:
    """Which stages would remove each pair, each asked alone.

    Args:
        pairs: Columns src_layer, src_index, tgt_layer, tgt_index; any pair of features, also outside the window.
        importance: Of every feature.
        atlas: Joint counts of the run; for layer pairs that it does not hold they are counted anew.
        cfg: The run's configuration, whose thresholds and window are judged.
        store: Activations of the run.
        model: The model and its dictionaries, for the alignment.

    Returns:
        bool columns as in :data:`VERDICTS`, index as in ``pairs``. A pair whose alignment cannot be measured, since its source is active in
        none of the select documents, is not removed. With dictionaries on components no stage looks at alignment, and there is no such
        column.
    """
    tops = {layer: importance.top(layer, cfg.top_k_features) for layer in model.codecs}
    columns = [stage for stage in VERDICTS if stage != "alignment" or not model.has_components]
    verdicts = pd.DataFrame(False, index=pairs.index, columns=columns)
    places = {layer: site.place for layer, site in model.sites.items()}
    aligner = _aligner(cfg, store, model)
    by_layers: dict[Any, Any] = pairs.groupby(["src_layer", "tgt_layer"], sort=True).indices
    for (source, target), where in by_layers.items():
        part = pairs.iloc[where]
        sources, row = np.unique(part["src_index"].to_numpy(np.int64), return_inverse=True)
        targets, column = np.unique(part["tgt_index"].to_numpy(np.int64), return_inverse=True)
        grid, span = Grid(int(source), int(target), sources, targets), spans(places[source], places[target], cfg.layers)
        found = {
            "source": ~np.isin(sources, tops[source])[row],
            "target": ~np.isin(targets, tops[target])[column],
            "coactivation": _joint(grid, row, column, atlas, store).within < cfg.min_coactivation,
            "alignment": _weak(aligner, grid, row, column, cfg) if span == 1 else np.zeros(len(row), dtype=bool),
            "layer_window": np.full(len(row), span > cfg.layer_window),
        }
        for name in columns:
            verdicts.iloc[where, verdicts.columns.get_loc(name)] = found[name]  # type: ignore[index]
    return verdicts


def missed_by_shortlist(pairs: pd.DataFrame, chosen: pd.DataFrame, window: Collection[tuple[int, int]]) -> NDArray[np.bool_]:
    """Bool, one per pair: inside the window, and not on a run's shortlist.

    Args:
        pairs: Columns src_layer, src_index, tgt_layer, tgt_index.
        chosen: The shortlist, with the same columns.
        window: Pairs (source layer, target layer) inside the window.
    """
    keys = ["src_layer", "src_index", "tgt_layer", "tgt_index"]
    taken = set(chosen[keys].itertuples(index=False, name=None))
    rows = pairs[keys].astype(int).itertuples(index=False, name=None)
    return np.array([(row[0], row[2]) in window and row not in taken for row in rows], dtype=bool)


def _joint(grid: Grid, row: NDArray[np.int64], column: NDArray[np.int64], atlas: CoactivationAtlas, store: ActivationStore) -> Joint:
    if (grid.source, grid.target) in atlas.counts:
        return joint_of(grid, row, column, atlas)
    return count_joint(grid, row, column, store, atlas.horizon)


def _aligner(cfg: Config, store: ActivationStore, model: AnalysedModel) -> Aligner | None:
    if cfg.alignment == "off" or model.has_components:
        return None
    if cfg.alignment == "cosine":
        return CosineAligner(model.codecs)
    documents = np.flatnonzero(store.splits == SELECT)
    drawn = np.random.default_rng(derived_seed(cfg.seed, "verdicts")).permutation(documents)[:_DOCUMENTS]
    last = dict(zip(cfg.layers[:-1], cfg.layers[1:], strict=True))
    return BlockAligner(model, store, np.sort(drawn), last, cfg.seed, cfg.position_horizon)


def _weak(aligner: Aligner | None, grid: Grid, row: NDArray[np.int64], column: NDArray[np.int64], cfg: Config) -> NDArray[np.bool_]:
    weak = np.zeros(len(row), dtype=bool)
    if aligner is None:
        return weak
    for aligned in aligner.of(grid, Asked(row, column, cfg.min_decoder_alignment)):
        here = (row >= aligned.first) & (row < aligned.first + len(aligned.strength))
        weak[here] = aligned.strength[row[here] - aligned.first, column[here]] < cfg.min_decoder_alignment
    return weak
