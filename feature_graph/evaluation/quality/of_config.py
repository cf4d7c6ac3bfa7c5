"""Figures of the dictionaries that a configuration or a run directory names, beside what their releases published."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_graph.artifacts import ActivationStore, RunPaths
from feature_graph.config import BUNDLED_LAYERS, BUNDLED_MODEL, Config
from feature_graph.dictionaries import SiteCodec, build_codecs, build_site_codecs, published
from feature_graph.evaluation.quality.measure import QualityOptions, dictionary_quality
from feature_graph.evaluation.quality.response import ResponseOptions
from feature_graph.evaluation.quality.verdict import verdict
from feature_graph.loading import draw_contexts, load_model_and_saes, load_saes
from feature_graph.utils import derived_seed

#: Contexts by which the reading of a dictionary on a component is told, and the usual length of what it reads.
_JUDGED = 8


def measure_config(
    cfg: Config, text: str | None = None, n_tokens: int = 16_384, *, run_dir: str | Path | None = None, progress: bool = False
) -> dict[str, Any]:
    """Load a configuration's model and dictionaries, and measure them.

    Args:
        cfg: The configuration.
        text: Text instead of the configuration's, in any form that ``dataset`` takes.
        n_tokens: Tokens of text.
        run_dir: A run of this configuration: without ``text``, contexts are drawn from those that it recorded.
        progress: Whether to show progress bars.

    Returns:
        ``model``, ``text``, ``tokens`` (that count), ``documents``, ``seed``, and ``dictionaries``: name of the site → the figures of
        :meth:`DictionaryQuality.to_dict`, ``release``, ``id``, ``published`` (``l0``, ``explained_variance``; None where nothing is stated)
        and ``verdict``, one sentence.

    Raises:
        feature_graph.loading.LoadingError: If anything cannot be loaded, or does not fit.
        EvaluationError: If no token counts.
    """
    told = cfg.model_copy(update={"sae_quality": "off"} | ({} if text is None else {"dataset": text}))
    model, saes = load_model_and_saes(told)
    tokens = None if text is not None or run_dir is None else _recorded(run_dir, cfg.seed, n_tokens)
    if tokens is None:
        tokens = draw_contexts(model, saes, told, n_tokens=n_tokens)
    codecs, theirs = _dictionaries(model, saes, tokens, told)
    options = QualityOptions(response=ResponseOptions(seed=cfg.seed))
    sources = _before(model, codecs, told) | codecs
    found = dictionary_quality(model, codecs, tokens, sources=sources, options=options, progress=progress)
    lengths = [figure.n for one in found.values() if (figure := one.reconstruction.l0) is not None]
    return {
        "model": cfg.model_name,
        "text": told.dataset,
        "tokens": max(lengths, default=0),
        "documents": len(tokens),
        "seed": cfg.seed,
        "dictionaries": {
            name: one.to_dict() | _about(codecs[name], theirs[name]) | {"verdict": verdict(codecs[name].site.kind, one)}
            for name, one in found.items()
        },
    }


def _dictionaries(model: Any, saes: Any, tokens: NDArray[np.int64], cfg: Config) -> tuple[dict[str, SiteCodec], dict[str, Any]]:
    """Name of the site → its codec, and the dictionary itself; what one on a component reads is told by the text, good or bad."""
    if not cfg.has_components:
        codecs = {codec.site.name: codec for codec in build_codecs(model, saes, cfg).values()}
        return codecs, {name: saes[codec.site.layer] for name, codec in codecs.items()}
    return build_site_codecs(model, saes, tokens[:_JUDGED], cfg.activity_threshold, judged=False), dict(saes)


def _before(model: Any, codecs: dict[str, SiteCodec], cfg: Config) -> dict[str, SiteCodec]:
    """The bundled residual SAEs before the first dictionary on a component of the bundled model, if nothing else comes before it."""
    first = next(iter(codecs.values())).site
    layers = [layer for layer in BUNDLED_LAYERS if layer < first.layer]
    if cfg.model_name != BUNDLED_MODEL or first.kind == "residual" or not layers:
        return {}
    told = cfg.model_copy(update={"sites": None, "layers": layers} | {name: _default(name) for name in ("sae_release", "sae_id_template")})
    saes = load_saes(told, str(model.cfg.device))
    return {codec.site.name: codec for codec in build_codecs(model, saes, told).values()}


def _default(field: str) -> Any:
    return Config.model_fields[field].default


def _recorded(run_dir: str | Path, seed: int, n_tokens: int) -> NDArray[np.int64] | None:
    """Some contexts that a run recorded, int64 [n, context]; None if it recorded none yet."""
    path = RunPaths.of(run_dir).activations
    if not path.is_file():
        return None
    tokens = ActivationStore.load(path).tokens
    rng = np.random.default_rng(derived_seed(seed, "quality contexts"))
    return tokens[np.sort(rng.permutation(len(tokens))[: max(1, n_tokens // tokens.shape[1])])]


def _about(codec: SiteCodec, sae: Any) -> dict[str, Any]:
    l0, explained = published(sae)
    return {
        "release": codec.site.release,
        "id": codec.site.sae_id,
        "published": {"l0": l0, "explained_variance": explained},
    }
