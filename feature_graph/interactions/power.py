"""More samples for sources whose effects vary: how many, the select documents say.

The pairs are measured on select documents first, with as many samples as are asked for anyway. A pair that looks like an effect there
lacks power if so many documents as these would often miss it: with s the standard deviation over documents and m the mean, a test of
|μ| ≤ δ finds it with a probability of about 0.8 from n = (z·s / (|m| − δ))² documents on. The samples of its source are doubled until
they reach that, the doublings allowed are used up, or the text has no more positions. Test documents are never looked at for this: it
would choose what to test by what the test says.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_graph.activations import SampleRows, document_priority
from feature_graph.artifacts import CONFIRM, SELECT, TEST, ActivationStore, FrameFiles
from feature_graph.config import Config
from feature_graph.interactions.passes import measure_blocks
from feature_graph.interactions.plan import ActiveTokens, Ints, Plan, Source, active_tokens, half_of
from feature_graph.interventions import MeasurementContext

log = logging.getLogger(__name__)
#: An effect that should not be missed is at least so many times the smallest one that counts.
WORTH_FINDING = 5.0
#: One-sided normal quantiles of p = 0.0025, which the correction of some hundred pairs asks for, and of a power of 0.8.
REACH = 2.81 + 0.84
_NOWHERE = np.zeros(0, dtype=np.int64)
_NONE = SampleRows(_NOWHERE, _NOWHERE, np.zeros(0, dtype=np.float32))
_SOURCE = ["src_layer", "src_index"]


def with_power(context: MeasurementContext, plan: Plan, parts: FrameFiles, *, progress: bool, clean_bytes: int) -> Plan:
    """The plan with more samples for the sources that lack power; the same plan without doublings.

    Args:
        context: What is measured on.
        plan: Levels and samples.
        parts: Where part files lie.
        progress: Whether to show a progress bar.
        clean_bytes: Memory for the clean run.
    """
    cfg = context.cfg
    if not cfg.sample_doublings:
        return plan
    alone = replace(context, cfg=cfg.model_copy(update={"n_placebo": 0}))  # floors have no part in it
    rows, _ = measure_blocks(alone, _on_select(plan, context.store, cfg), parts, progress=progress, clean_bytes=clean_bytes)
    wanted = samples_wanted(rows, cfg) if len(rows) else {}
    more = sum(n > cfg.n_intervention_samples for n in wanted.values())
    log.info("%d of %d sources get more than %d samples", more, sum(map(len, plan.sources.values())), cfg.n_intervention_samples)
    return _redrawn(plan, context.store, cfg, wanted)


def samples_wanted(rows: pd.DataFrame, cfg: Config) -> dict[tuple[int, int], int]:
    """(layer, index) of a source → its samples: ``n_intervention_samples``, doubled as often as power asks for and is allowed.

    Args:
        rows: Pairs measured on the select documents, as :func:`feature_graph.interactions.blocks.source_rows` gives them.
        cfg: The configuration.
    """
    needed = np.maximum(_needed(rows, "mean_strength", "se"), _needed(rows, "computed_strength", "se_computed"))
    most = rows[_SOURCE].assign(needed=needed).groupby(_SOURCE)["needed"].max()
    n = cfg.n_intervention_samples
    doublings = np.clip(np.ceil(np.log2(np.maximum(most.to_numpy() / n, 1.0))), 0, cfg.sample_doublings).astype(int)
    return {(int(layer), int(index)): n * 2**k for (layer, index), k in zip(most.index, doublings.tolist(), strict=True)}


def _needed(rows: pd.DataFrame, strength: str, error: str) -> NDArray[np.float64]:
    """Documents from which on an effect is found; 0 where it is not worth finding, or has no spread."""
    size, delta = rows[strength].abs().to_numpy(np.float64), rows["smallest"].to_numpy(np.float64)
    spread = rows[error].to_numpy(np.float64) * np.sqrt(rows["n_documents"].to_numpy(np.float64))
    worth = (size >= WORTH_FINDING * delta) & (size > 0) & np.isfinite(spread)
    distance = np.where(worth, size - delta, 1.0)
    return np.where(worth, (REACH * spread / distance) ** 2, 0.0)


#: Gives samples of a part of the text: (part, how many).
Draw = Callable[[int, int], SampleRows]


def _each(plan: Plan, store: ActivationStore, cfg: Config, change: Callable[[Source, Draw], Source]) -> Plan:
    """The plan with every source changed, given a way to draw its samples."""
    priority = document_priority(store, cfg)
    changed: dict[int, list[Source]] = {}
    for layer, sources in plan.sources.items():
        indices = np.array([s.index for s in sources], dtype=np.int64)
        active = (tokens for _, tokens in active_tokens(store, layer, indices, cfg))
        changed[layer] = [change(s, partial(_draw, tokens, priority)) for s, tokens in zip(sources, active, strict=True)]
    return replace(plan, sources=changed)


def _draw(tokens: ActiveTokens, priority: Ints, part: int, n: int) -> SampleRows:
    return tokens.draw(part, n, priority)


def _on_select(plan: Plan, store: ActivationStore, cfg: Config) -> Plan:
    """The same sources with samples of the select documents in place of the test ones, and parts of a name of their own."""
    n = cfg.n_intervention_samples
    found = _each(plan, store, cfg, lambda source, draw: replace(source, test=draw(SELECT, n), confirm=_NONE))
    return replace(found, part="select-", random=None)


def _redrawn(plan: Plan, store: ActivationStore, cfg: Config, wanted: Mapping[tuple[int, int], int]) -> Plan:
    def more(source: Source, draw: Draw) -> Source:
        n = wanted.get((source.layer, source.index), cfg.n_intervention_samples)
        return replace(source, test=draw(TEST, n), confirm=draw(CONFIRM, half_of(n)))

    return _each(plan, store, cfg, more)
