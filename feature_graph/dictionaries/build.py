"""The codec of every site of a run: folded (:mod:`codec`), and compared with the dictionary's own encoder (:mod:`codec_check`)."""

from __future__ import annotations

import torch

from feature_graph.config import Config
from feature_graph.dictionaries.codec import SiteCodec
from feature_graph.dictionaries.codec_check import check_codec
from feature_graph.dictionaries.models import Dictionaries, HookedModel
from feature_graph.dictionaries.sites import describe_sites
from feature_graph.dictionaries.tokens import residual_norms

__all__ = ["SiteCodec", "build_codecs"]


@torch.no_grad()
def build_codecs(model: HookedModel, saes: Dictionaries, cfg: Config | None = None) -> dict[int, SiteCodec]:
    """Fold every dictionary and check it against the SAE's own encoder on 64 residual vectors.

    The scale of the residual stream (activity thresholds) and the check use 8 × 64 tokens drawn from the vocabulary
    with a fixed seed: no text or tokenizer is needed, and every stage gets the same thresholds.

    Returns:
        {layer: SiteCodec}, layers ascending.

    Raises:
        LoadingError: If a folded encoder disagrees with the SAE's own.
        UnsupportedSAEError: If a dictionary is of a kind that is not analysed.
    """
    sites = describe_sites(model, saes, cfg)
    found = residual_norms(model, [site.hook for site in sites.values()])
    given = cfg.activity_threshold if cfg is not None else None
    codecs = {}
    for layer, site in sites.items():
        residual = found[site.hook]
        codec = SiteCodec.from_sae(saes[layer], site, residual.mean_norm, given, device=residual.sample.device)
        check_codec(codec, saes[layer], residual.sample)
        codecs[layer] = codec
    return codecs
