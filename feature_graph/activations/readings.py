"""Does each dictionary on a component read what it was made for? Asked on the run's text before anything is collected."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from feature_graph.config import Config
from feature_graph.dictionaries import QualityError, build_site_codecs
from feature_graph.interventions import AnalysedModel


def check_readings(analysed: AnalysedModel, tokens: NDArray[np.int64], cfg: Config) -> None:
    """Refuse dictionaries that do no better than the mean on text, and those that text reads otherwise than random tokens do.

    Args:
        analysed: The model and its dictionaries; without dictionaries on components nothing is asked.
        tokens: A few contexts of the run's text, int64 [n, context].
        cfg: The configuration.

    Raises:
        QualityError: Naming the readings that were tried.
    """
    if not analysed.has_components:
        return
    saes = {str(key): sae for key, sae in analysed.saes.items()}
    on_text = build_site_codecs(analysed.model, saes, tokens, cfg.activity_threshold)
    for key, codec in analysed.codecs.items():
        found = on_text[str(key)].site.reads
        if found != codec.site.reads:
            raise QualityError(
                f"{key}: on the run's text the dictionary reconstructs best reading {found}, on random tokens reading {codec.site.reads}; "
                "say which it is by metadata.hook_name"
            )
