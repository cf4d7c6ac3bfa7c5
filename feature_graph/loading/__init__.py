"""Models, dictionaries and text: the hub's, local folders, and the bundled ones, by one call."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_graph.config import Config
from feature_graph.dictionaries import build_site_codecs, check_quality, describe_sites, measure_quality
from feature_graph.loading.agreement import relative
from feature_graph.loading.errors import LoadingError, OfflineError, QualityError, UnsupportedSAEError
from feature_graph.loading.models import load_model, resolve_device
from feature_graph.loading.recorded import check_recorded
from feature_graph.loading.saes import get_sae_dict_size, load_saes, model_settings, trained_with_bos
from feature_graph.loading.text import draw_contexts, resolve_prepend_bos

if TYPE_CHECKING:
    from sae_lens import SAE
    from transformer_lens import HookedTransformer
    from transformer_lens.model_bridge import TransformerBridge

__all__ = [
    "LoadingError",
    "OfflineError",
    "QualityError",
    "UnsupportedSAEError",
    "check_recorded",
    "describe_sites",
    "draw_contexts",
    "get_sae_dict_size",
    "load_model_and_saes",
    "load_saes",
    "off",
    "relative",
    "resolve_device",
    "resolve_prepend_bos",
    "stop",
    "trained_with_bos",
    "warn",
]

log = logging.getLogger(__name__)
_QUALITY_CONTEXTS = 4


def load_model_and_saes(
    cfg: Config, run_dir: str | Path | None = None
) -> tuple[HookedTransformer | TransformerBridge, dict[Any, SAE[Any]]]:
    """Load the model and one SAE for each layer of the configuration, and check that they belong together.

    Names of the hub, local folders and the bundled parts are taken alike. The model is compared with transformers' own, point by point,
    and refused if it computes something else. What the release asks of the model (``center_writing_weights`` …) is done. Figures that
    differ from the published ones are warned about, and an SAE that explains less than half of the variance stops the run
    (``sae_quality``).

    Args:
        cfg: The configuration.
        run_dir: A run of this configuration that something is measured on: dictionaries other than those that it used are refused.

    Returns:
        The HookedTransformer (or a TransformerBridge, where only that computes what the folder says) and {layer: SAE}, one for every
        layer asked for; where dictionaries sit on components, {name of the site: SAE or transcoder} (``L5``, ``L5.mlp``, ``L5.tc`` …).

    Raises:
        ConfigError: If a layer is out of range.
        LoadingError: If anything cannot be loaded or does not fit.
        feature_graph.artifacts.ArtifactError: If the run used a dictionary with other weights.
    """
    saes = load_saes(cfg, resolve_device(cfg.device))
    if run_dir is not None:
        check_recorded(saes, run_dir)
    model = load_model(cfg, model_settings(saes))
    cfg.check_layers(model.cfg.n_layers)
    if not cfg.has_components:
        for layer, site in describe_sites(model, saes, cfg).items():
            log.info("layer %d: %s, %d %s features of %s", layer, site.hook, site.d_sae, site.architecture, site.release)
    if cfg.sae_quality != "off":
        _check_on_text(model, saes, cfg)
    return model, saes


def _check_on_text(model: Any, saes: dict[Any, Any], cfg: Config) -> None:
    if model.tokenizer is None:
        log.warning("the model has no tokenizer: the dictionaries are not checked on text")
        return
    try:
        tokens = draw_contexts(model, saes, cfg, n_tokens=_QUALITY_CONTEXTS * cfg.context_length)
    except LoadingError as error:
        raise type(error)(f"{error}\nThe text is needed now to check the dictionaries; sae_quality: off leaves the check out.") from error
    if cfg.has_components:
        for name, codec in build_site_codecs(model, saes, tokens, cfg.activity_threshold).items():
            site = codec.site
            log.info("%s: reads %s, %d %s features of %s", name, site.hook, site.d_sae, site.architecture, site.release)
        return
    found = measure_quality(model, saes, tokens, cfg)
    for layer, quality in found.items():
        log.debug("layer %d: %.1f features active per token, %.3f of the variance explained", layer, quality.l0, quality.explained_variance)
    check_quality(found, "warn" if cfg.sae_quality == "warn" else "stop")
