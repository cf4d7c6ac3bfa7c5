"""Every pair inside the window as a candidate table, so that nothing depends on the choosing."""

from __future__ import annotations

from typing import Protocol

import pandas as pd

from feature_graph.config import Config
from feature_graph.dictionaries import Dictionaries
from ingest.formats import CANDIDATES


class HasDictionaries(Protocol):
    """A planted model, a compiled program, or one of the benchmark."""

    @property
    def saes(self) -> Dictionaries:
        """Layer → SAE."""


def all_pairs(model: HasDictionaries, cfg: Config) -> pd.DataFrame:
    """All features of each source site with all features of each target site."""
    rows = [
        (source, i, target, j, 0.0, 0.0, 0, 0.0, "kept")
        for source, target in cfg.layer_pairs
        for i in range(model.saes[source].cfg.d_sae)
        for j in range(model.saes[target].cfg.d_sae)
    ]
    return pd.DataFrame(rows, columns=CANDIDATES.given)
