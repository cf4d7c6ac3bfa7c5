"""How the distribution of the next token changes under steering: divergence, the text's own next token, tokens gained and lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph.interventions import predicts_tokens
from feature_graph.stats import mean_test
from feature_graph.steering.effects import Floats

RESAMPLES = 2000
#: What the output is compared by: as a distribution, or, where there is one output, as a number.
DIVERGENCE, CHANGE = "KL", "|Δ output|"


@dataclass(frozen=True)
class OutputChange:
    """Change of one run's output against the clean one; [samples, 1 + horizon] each, NaN where there is no such position.

    Attributes:
        kl: KL(steered ‖ clean) in nats; |Δ output| where there is one output.
        next_before: Log-probability of the text's own next token in the clean run.
        next_change: Its change.
        top_changed: 1 where the likeliest next token is another one.
        measure: What ``kl`` is, ``KL`` or ``|Δ output|``.
    """

    kl: Floats
    next_before: Floats
    next_change: Floats
    top_changed: Floats
    measure: str = DIVERGENCE


def kl_divergence(steered: Tensor, clean: Tensor) -> Tensor:
    """KL(steered ‖ clean) in nats over the last axis of log-probabilities; summed in float64, so that it is 0 where nothing changes."""
    p = steered.double()
    return (p.exp() * (p - clean.double())).sum(-1)


def output_change(steered: Tensor, clean: Tensor, there: NDArray[np.bool_], next_tokens: NDArray[np.int64]) -> OutputChange:
    """Compare log-probabilities [samples, 1 + horizon, outputs], or the output itself where there is one."""
    if clean.shape[-1] == 1:
        change = np.where(there, (steered.double() - clean.double()).abs()[..., 0].cpu().numpy(), np.nan)
        unknown = np.full(there.shape, np.nan)
        return OutputChange(change, unknown, unknown, np.where(there, 0.0, np.nan), CHANGE)
    kl = torch.stack([kl_divergence(a, b) for a, b in zip(steered, clean, strict=True)])  # a sample at a time: float64 is large
    index = torch.as_tensor(np.maximum(next_tokens, 0), device=clean.device)[..., None]
    before, after = (t.gather(-1, index)[..., 0].double().cpu().numpy() for t in (clean, steered))
    known = next_tokens >= 0
    other = (steered.argmax(-1) != clean.argmax(-1)).double().cpu().numpy()
    return OutputChange(
        kl=np.where(there, kl.cpu().numpy(), np.nan),
        next_before=np.where(known, before, np.nan),
        next_change=np.where(known, after - before, np.nan),
        top_changed=np.where(there, other, np.nan),
    )


def output_frame(found: OutputChange, placebo: Floats, seed: int) -> pd.DataFrame:
    """One row per position from the steered one on (``offset``, 0 is the steered one itself); offsets that no sample has are left out.

    Args:
        found: The steered run.
        placebo: KL of the random directions, [directions, samples, 1 + horizon].
        seed: Seed of the bootstrap.
    """
    rows = []
    for offset in range(found.kl.shape[1]):
        kl = _known(found.kl[:, offset])
        if not len(kl):
            continue
        low, high = bootstrap(kl, np.mean, seed)
        change = _known(found.next_change[:, offset])
        test = mean_test(change)
        rows.append(
            {
                "offset": offset,
                "measure": found.measure,
                "n_documents": len(kl),
                "kl": float(kl.mean()),
                "kl_low": low,
                "kl_high": high,
                "kl_max": float(kl.max()),
                "placebo_kl": float(np.nanmean(placebo[:, :, offset])) if len(placebo) else np.nan,
                "next_before": float(_known(found.next_before[:, offset]).mean()) if len(change) else np.nan,
                "next_change": float(change.mean()) if len(change) else np.nan,
                "next_low": float(test.ci_low),
                "next_high": float(test.ci_high),
                "top_changed": float(_known(found.top_changed[:, offset]).mean()),
            }
        )
    return pd.DataFrame(rows)


def token_frame(steered: Tensor, clean: Tensor, there: NDArray[np.bool_], name: Callable[[int], str], top: int) -> pd.DataFrame:
    """Tokens whose probability rises and falls most, at the steered position (``when`` "here") and over the later ones ("later").

    ``p_before``, ``p_after`` and ``change`` are means over samples of the probability (a sample's later positions averaged first),
    ``log_change`` of the log-probability, ``rose`` the share of samples at which it rises. No row where there is one output.
    """
    columns = ["when", "side", "token", "text", "p_before", "p_after", "change", "log_change", "rose", "n_documents"]
    if clean.shape[-1] == 1:
        return pd.DataFrame(columns=columns)
    tables = []
    for when, chosen in (("here", slice(0, 1)), ("later", slice(1, None))):
        mask = torch.as_tensor(there[:, chosen], device=clean.device)
        rows = torch.nonzero(mask.any(1)).flatten().tolist()
        if rows:
            each = [(steered[r, chosen][mask[r]], clean[r, chosen][mask[r]]) for r in rows]
            tables.append(_tokens(each, name, top).assign(when=when))
    return pd.concat(tables, ignore_index=True)[columns]


def _tokens(each: list[tuple[Tensor, Tensor]], name: Callable[[int], str], top: int) -> pd.DataFrame:
    before, after, log_change, rose = (torch.zeros(each[0][0].shape[-1], dtype=torch.float64, device=each[0][0].device) for _ in range(4))
    for steered, clean in each:
        p, q = steered.double().exp().mean(0), clean.double().exp().mean(0)
        after, before, rose = after + p, before + q, rose + (p > q)
        log_change = log_change + (steered.double() - clean.double()).mean(0)
    after, before, log_change, rose = (v / len(each) for v in (after, before, log_change, rose))
    change = after - before
    tables = []
    for side, sign in (("gained", 1.0), ("lost", -1.0)):
        ids = (sign * change).topk(min(top, len(change))).indices
        ids = ids[sign * change[ids] > 0]
        tables.append(
            pd.DataFrame(
                {
                    "side": side,
                    "token": ids.cpu().numpy(),
                    "text": [name(i) for i in ids.tolist()],
                    **{k: v[ids].cpu().numpy() for k, v in (("p_before", before), ("p_after", after), ("change", change))},
                    "log_change": log_change[ids].cpu().numpy(),
                    "rose": rose[ids].cpu().numpy(),
                    "n_documents": len(each),
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def token_namer(model: Any) -> Callable[[int], str]:
    """Text of a token; its number where the model has no tokenizer, or where outputs are not tokens."""
    if not predicts_tokens(model):
        return lambda i: f"output {i}"
    tokenizer = getattr(model, "tokenizer", None)
    return (lambda i: f"token {i}") if tokenizer is None else (lambda i: str(tokenizer.decode([i])))


def bootstrap(values: Floats, figure: Callable[..., Any], seed: int, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of a figure over documents (first axis), which are drawn anew; NaN with fewer than two.

    Args:
        values: [documents, ...].
        figure: From [documents, ...] and ``axis=0`` to one number (a mean), or to an array that NaN may be in.
        seed: Seed of the draws.
        level: Coverage.
    """
    n = len(values)
    if n < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    drawn = np.array([figure(values[rng.integers(n, size=n)], axis=0) for _ in range(RESAMPLES)], dtype=np.float64)
    low, high = np.nanquantile(drawn, ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def _known(values: Floats) -> Floats:
    return values[np.isfinite(values)]
