"""Does a dictionary describe the residual stream it sits on? Measured on a few contexts before any long work.

A dictionary read at the wrong hook, a model without the weight processing its dictionaries ask for, a missing or extra
BOS: all of these run without an error and show only here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from feature_graph.artifacts import kind_of
from feature_graph.config import Config
from feature_graph.dictionaries.build import SiteCodec, build_codecs
from feature_graph.dictionaries.errors import LoadingError, QualityError
from feature_graph.dictionaries.keys import ID_KEY, RELEASE_KEY
from feature_graph.dictionaries.models import Dictionaries, HookedModel
from feature_graph.dictionaries.reconstruction import explained_variance
from feature_graph.dictionaries.tokens import valid_mask

log = logging.getLogger(__name__)
LEAST_EXPLAINED = 0.5
_L0_FACTOR, _EXPLAINED_MARGIN = 2.0, 0.1


@dataclass(frozen=True)
class Quality:
    """Figures of one dictionary on this run's text, and as published.

    Attributes:
        layer: Key of the dictionary.
        l0: Mean number of active features per token.
        explained_variance: 1 - squared error / variance, over counted tokens with a norm up to five times the median: the
            few that are ten or a hundred times longer would decide the figure alone.
        expected_l0: As published; None if it is not.
        expected_explained_variance: As published; None if it is not.
        n_tokens: Tokens measured.
    """

    layer: int
    l0: float
    explained_variance: float
    expected_l0: float | None
    expected_explained_variance: float | None
    n_tokens: int

    def complaints(self) -> list[str]:
        """What differs from the published figures, in words."""
        found = []
        l0, explained = self.expected_l0, self.expected_explained_variance
        if l0 and not l0 / _L0_FACTOR <= self.l0 <= l0 * _L0_FACTOR:
            found.append(f"{self.l0:.1f} features active per token, published {l0:.1f}")
        if explained and self.explained_variance < explained - _EXPLAINED_MARGIN:
            found.append(f"explains {self.explained_variance:.3f} of the variance, published {explained:.3f}")
        return found


@torch.no_grad()
def measure_quality(model: HookedModel, saes: Dictionaries, tokens: NDArray[np.int64], cfg: Config | None = None) -> dict[int, Quality]:
    """Measure every dictionary on ``tokens`` [n, ctx], special tokens and an outlying position 0 left out."""
    codecs = build_codecs(model, saes, cfg)
    hooks = [codec.site.hook for codec in codecs.values()]
    valid = torch.as_tensor(valid_mask(model, tokens, hooks), device=model.cfg.device)
    given = torch.as_tensor(tokens, device=model.cfg.device)
    _, cache = model.run_with_cache(given, names_filter=hooks, return_type=None)
    broken = [hook for hook in hooks if not bool(torch.isfinite(cache[hook]).all())]
    if broken:
        raise LoadingError(
            f"the model itself gives NaN or infinity at {broken[0]}, so that no dictionary can be judged; load it in float32 and check its "
            "weights"
        )
    return {layer: judge(codec, saes[layer], cache[codec.site.hook].float()[valid]) for layer, codec in codecs.items()}


@torch.no_grad()
def judge(codec: SiteCodec, sae: Any, residual: torch.Tensor, written: torch.Tensor | None = None) -> Quality:
    """Figures of one dictionary on counted vectors of what it reads [n, d_in] and what it is to give [n, d_out]; None: the same."""
    acts = codec.record(residual)
    l0, explained = published(sae)
    return Quality(
        layer=codec.site.layer,
        l0=float(codec.is_active(acts).sum(1).float().mean()),
        explained_variance=explained_variance(residual if written is None else written, codec.decode(acts) + codec.skip(residual)),
        expected_l0=l0,
        expected_explained_variance=explained,
        n_tokens=len(residual),
    )


def published(sae: Any) -> tuple[float | None, float | None]:
    """(L0, explained variance) that the registry, or the dictionary itself, states; None where nothing is stated."""
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    meta = sae.cfg.metadata
    l0, explained = meta.get("expected_l0"), meta.get("expected_explained_variance")
    entry = get_pretrained_saes_directory().get(str(meta.get(RELEASE_KEY)))
    if entry is not None:
        sae_id = str(meta.get(ID_KEY))
        l0 = entry.expected_l0.get(sae_id) or None  # SAELens writes 0 and 1 for what is not stated
        explained = entry.expected_var_explained.get(sae_id)
        explained = None if explained == 1.0 else explained
    return l0, explained


def check_quality(found: Mapping[int, Quality], action: str = "stop") -> None:
    """Warn about figures that differ from the published ones; stop (or warn) below half of the variance explained.

    Args:
        found: From :func:`measure_quality`.
        action: ``stop`` or ``warn``.

    Raises:
        QualityError: If a dictionary explains less than half of the variance and ``action`` is ``stop``.
    """
    for layer, quality in found.items():
        for complaint in quality.complaints():
            log.warning("layer %s: the SAE %s; is it the right model, hook, BOS setting and text?", layer, complaint)
    bad = [f"layer {n}: {q.explained_variance:.3f}" for n, q in found.items() if not q.explained_variance >= LEAST_EXPLAINED]
    if not bad:
        return
    what = (
        "the residual stream's variance" if all(kind_of(n) == "residual" for n in found) else "the variance of what they are to reconstruct"
    )
    text = (
        f"these SAEs explain less than {LEAST_EXPLAINED} of {what} on this text ({'; '.join(bad)}): they are not "
        "for this model, hook, weight processing or BOS setting. Check sae_release, sae_id_template and prepend_bos"
    )
    if action == "stop":
        raise QualityError(f"{text}, or set sae_quality: warn to go on all the same")
    log.warning("%s", text)
