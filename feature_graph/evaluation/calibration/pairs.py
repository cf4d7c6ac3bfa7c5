"""Every pair inside the window as a candidate table, so that nothing depends on the choosing."""

from __future__ import annotations

import pandas as pd

from feature_graph.config import Config
from feature_graph.evaluation.planted import PlantedModel
from ingest.formats import CANDIDATES


def all_pairs(planted: PlantedModel, cfg: Config) -> pd.DataFrame:
    """All features of each source site with all features of each target site."""
    rows = [
        (source, i, target, j, 0.0, 0.0, 0, 0.0, "kept")
        for source, target in cfg.layer_pairs
        for i in range(planted.saes[source].cfg.d_sae)
        for j in range(planted.saes[target].cfg.d_sae)
    ]
    return pd.DataFrame(rows, columns=CANDIDATES.names)
