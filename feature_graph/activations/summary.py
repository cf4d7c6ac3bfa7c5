"""What is said of a store when it is whole."""

from __future__ import annotations

import logging

from feature_graph.activations.labels import Decode
from feature_graph.artifacts import ActivationStore

log = logging.getLogger(__name__)

#: Share of tokens above which leaving outliers out is more than tidying up.
_MANY = 0.02


def report_store(store: ActivationStore, decode: Decode | None) -> None:
    """Log what was collected: tokens, features per layer, and the outlying tokens that were left out, the commonest by name."""
    log.info("collected %d tokens of %d documents at %d layers: %s", store.n_tokens, len(store.tokens), len(store.layers), store.path)
    for layer in store.layers:
        frequency, quality = store.feature_frequencies[layer], store.meta["sae_quality"].get(str(layer), {})
        log.info(
            "  layer %s (%s): %d features, %.1f active per token, %.1f %% never active, explained variance %s",
            layer, store.sites[layer].hook, len(frequency), frequency.sum(), 100 * (frequency == 0).mean(),
            f"{quality['explained_variance']:.3f}" if quality else "not measured",
        )  # fmt: skip
    _report_outliers(store, decode)


def _report_outliers(store: ActivationStore, decode: Decode | None) -> None:
    found = store.meta["outliers"]
    if not found["tokens"]:
        return
    names = ", ".join(f"{decode([token])!r} ({n})" if decode else f"id {token} ({n})" for token, n in found["commonest"])
    share = found["tokens"] / (found["tokens"] + store.n_tokens)
    many = share > _MANY
    log.log(
        logging.WARNING if many else logging.INFO,
        "%d tokens (%.2g %%) have a residual norm above %g × the median at one of the layers and are left out like BOS: %s%s",
        found["tokens"], 100 * share, found["factor"], names, "; that is many: look at them, and raise outlier_norm" if many else "",
    )  # fmt: skip
