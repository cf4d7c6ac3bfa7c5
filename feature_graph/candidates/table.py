"""The chosen pairs as one table, sorted by PMI."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_graph.artifacts import ActivationStore, CoactivationAtlas, blocks_between, with_sites
from feature_graph.candidates.grid import Cells, Choice, Grid, Joint, count_joint, joint_of
from ingest.formats import CANDIDATES, CANDIDATES_BY_SITE

_TYPES = {"int32": "int32", "int64": "int64", "float64": "float64", "string": "object"}


def candidate_frame(choices: Iterable[Choice], atlas: CoactivationAtlas, store: ActivationStore | None) -> pd.DataFrame:
    """One row per pair, columns of ``ingest.formats.CANDIDATES``, by PMI, descending; ties by layers and indices, ascending."""
    parts = [_part(choice.grid, cells, arm, atlas, store) for choice in choices for arm, cells in choice.arms.items() if len(cells)]
    empty = pd.DataFrame({c.name: pd.Series(dtype=_TYPES[c.type]) for c in CANDIDATES.columns})
    frame = pd.concat(parts, ignore_index=True) if parts else empty
    keys = [frame[name].to_numpy() for name in ("tgt_index", "src_index", "tgt_layer", "src_layer")]
    order = np.lexsort((*keys, -frame["pmi"].to_numpy()))
    made = with_sites(frame.iloc[order].reset_index(drop=True))
    made = made.assign(blocks=blocks_between(made))
    return made[[name for name in CANDIDATES_BY_SITE.names if name in made]]


def _part(grid: Grid, cells: Cells, arm: str, atlas: CoactivationAtlas, store: ActivationStore | None) -> pd.DataFrame:
    anew = arm != "kept" and store is not None and atlas.min_count > 1
    joint = (
        count_joint(grid, cells.row, cells.column, store, atlas.horizon)
        if anew and store is not None
        else joint_of(grid, cells.row, cells.column, atlas)
    )
    source, target = grid.sources[cells.row], grid.targets[cells.column]
    return pd.DataFrame(
        {
            "src_layer": np.full(len(cells), grid.source, dtype=np.int32),
            "src_index": source.astype(np.int32),
            "tgt_layer": np.full(len(cells), grid.target, dtype=np.int32),
            "tgt_index": target.astype(np.int32),
            "pmi": _pmi(joint, atlas.active[grid.source][source], atlas.active[grid.target][target], atlas.n_tokens),
            "coactivation_prob": joint.same / np.maximum(atlas.active[grid.source][source], 1),
            "joint_count": joint.within,
            "decoder_alignment": np.nan_to_num(cells.alignment),
            "arm": arm,
        }
    )


def _pmi(joint: Joint, source: NDArray[np.int64], target: NDArray[np.int64], n_tokens: int) -> NDArray[np.float64]:
    """log P(i,j) / (P(i) P(j)) in nats; 0 where never active at one position."""
    expected = np.maximum(source.astype(np.float64) * target, 1.0) / max(n_tokens, 1)
    return np.log(np.where(joint.same > 0, joint.same / expected, 1.0))
