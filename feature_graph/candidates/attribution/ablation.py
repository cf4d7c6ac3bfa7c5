"""Is the gradient estimate true? Ablate a sample of features for real and compare.

Features are taken at even steps down the ranking, so that strong and weak ones are both checked. Each is ablated at one token per document:
x − f_i d_i at its site, what follows it run again, and the change is read off against the clean run of the same batch: of the
document's loss, or of its output, KL(clean ‖ ablated) for distributions and |Δ| for one number.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from torch import Tensor

from feature_graph.artifacts import ActivationStore
from feature_graph.candidates.attribution.batch import Batch, Estimates
from feature_graph.candidates.attribution.effects import AblationEstimates
from feature_graph.candidates.attribution.gradients import logits_with
from feature_graph.candidates.attribution.kinds import Effect
from feature_graph.dictionaries import HookedModel, SiteCodec
from feature_graph.interventions import ModelSlices
from feature_graph.utils import progress

log = logging.getLogger(__name__)

_FEATURES, _DOCUMENTS = 24, 4
#: Rank agreement below which the ranking is doubtful.
_DOUBTFUL = 0.5


@dataclass(frozen=True)
class AblationCheck:
    """Agreement of the gradient estimate with real ablation.

    Attributes:
        n_features: Features ablated, over all sites.
        n_samples: Their (document, position) samples.
        spearman: Rank correlation over features of the mean magnitude, estimated against real; None with fewer than three features.
        sign_agreement: Share of samples whose signs agree, among those that move the loss by more than rounding noise; None without any,
            and for changes that have no sign.
        median_ratio: Median over features of estimated / real magnitude; 1 = the effect is as linear as the estimate takes it to be.
    """

    n_features: int
    n_samples: int
    spearman: float | None
    sign_agreement: float | None
    median_ratio: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def check_by_ablation(
    model: HookedModel | ModelSlices,
    codecs: Mapping[int, SiteCodec],
    store: ActivationStore,
    effects: AblationEstimates,
    n_features: int = _FEATURES,
) -> AblationCheck:
    """Ablate about ``n_features`` features, once per document, on a few documents of ``effects``, and compare with the estimate."""
    batch = Batch.of(store, codecs, effects.documents[:_DOCUMENTS])
    estimated = effects.kind.estimates(model, codecs, batch)
    each = -(-n_features // len(codecs))
    samples = pd.concat([_samples(layer, batch, effects, estimated, each) for layer in codecs], ignore_index=True)
    real = [
        _ablate(model, codec, samples[samples["layer"] == layer], estimated.residuals[layer], batch, effects.kind)
        for layer, codec in progress(list(codecs.items()), "Checking by ablation")
    ]
    check = _compare(samples.assign(real=pd.concat(real)), effects.kind)
    log.info(
        "importance: gradient estimate against real ablation of %d features: rank correlation %s, signs agree %s, median ratio %s",
        check.n_features, *("unknown" if v is None else f"{v:.2f}" for v in (check.spearman, check.sign_agreement, check.median_ratio)),
    )  # fmt: skip
    if check.spearman is not None and check.spearman < _DOUBTFUL:
        log.warning(
            "importance: the gradient estimate ranks features unlike real ablation (%.2f); more importance_tokens may help", check.spearman
        )
    return check


def _samples(layer: int, batch: Batch, effects: AblationEstimates, estimated: Estimates, n_features: int) -> pd.DataFrame:
    """Tokens at which to ablate: one row per sample with layer, feature, document (row of the batch), position, level, estimate."""
    active, context = batch.active[layer], batch.tokens.shape[1]
    row = np.repeat(np.arange(active.shape[0]), np.diff(active.indptr))
    frame = pd.DataFrame(
        {"layer": layer, "feature": active.indices.astype(np.int64), "document": row // context, "position": row % context}
    )
    frame["level"] = active.data.astype(np.float64)
    frame["estimate"] = estimated.changes[layer]
    ranking = effects.magnitude[layer] * effects.n_active[layer]
    present = frame["feature"].unique()
    present = present[np.lexsort((present, -ranking[present]))]
    chosen = present[np.unique(np.linspace(0, len(present) - 1, min(n_features, len(present))).astype(int))] if len(present) else present
    drawn = frame[frame["feature"].isin(chosen)].sample(frac=1.0, random_state=0)
    return drawn.drop_duplicates(["feature", "document"]).sort_values(["feature", "document"])


def _ablate(
    model: HookedModel | ModelSlices, codec: SiteCodec, samples: pd.DataFrame, residual: Tensor, batch: Batch, kind: Effect
) -> pd.Series[float]:
    """Real change for each sample of one site; a document's clean and ablated rows share a pass."""
    real = pd.Series(np.nan, index=samples.index)
    for _, part in samples.groupby("document"):
        n, row = len(part), int(part["document"].iloc[0])
        feature, position = (torch.tensor(part[name].tolist(), device=residual.device) for name in ("feature", "position"))
        level = torch.tensor(part["level"].tolist(), dtype=torch.float32, device=residual.device)
        rows = residual[row].repeat(n + 1, 1, 1)  # row 0 stays clean
        rows[torch.arange(1, n + 1), position] -= level[:, None] * codec.w_dec[feature]
        tokens, counted = (values[row].repeat(n + 1, 1) for values in (batch.tokens, batch.counted))
        changes = kind.changes(logits_with(model, codec.site, rows, tokens), tokens, counted)
        real.loc[part.index] = changes.cpu().numpy()
    return real


def _compare(samples: pd.DataFrame, kind: Effect) -> AblationCheck:
    means = (
        samples.assign(estimate=samples["estimate"].abs(), real=samples["real"].abs())
        .groupby(["layer", "feature"])[["estimate", "real"]]
        .mean()
    )
    varied = len(means) >= 3 and means["estimate"].nunique() > 1 and means["real"].nunique() > 1
    loud = samples[samples["real"].abs() > kind.noise]
    heard = means[means["real"] > kind.noise]
    return AblationCheck(
        len(means),
        len(samples),
        float(spearmanr(means["estimate"], means["real"]).statistic) if varied else None,
        float((np.sign(loud["estimate"]) == np.sign(loud["real"])).mean()) if kind.signed and len(loud) else None,
        float((heard["estimate"] / heard["real"]).median()) if len(heard) else None,
    )
