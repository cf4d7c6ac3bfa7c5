"""Every pair inside the window as a candidate table, so that nothing depends on the choosing."""

from __future__ import annotations

import pandas as pd

from feature_graph.config import Config
from feature_graph.evaluation.planted import PlantedModel
from feature_graph.evaluation.planted.compiled_model import LoadedProgram
from ingest.formats import CANDIDATES


def all_pairs(model: PlantedModel | LoadedProgram, cfg: Config) -> pd.DataFrame:
    """All features of each source site with all features of each target site."""
    rows = [
        (source, i, target, j, 0.0, 0.0, 0, 0.0, "kept")
        for source, target in cfg.layer_pairs
        for i in range(model.saes[source].cfg.d_sae)
        for j in range(model.saes[target].cfg.d_sae)
    ]
    return pd.DataFrame(rows, columns=CANDIDATES.names)
