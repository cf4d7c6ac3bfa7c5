"""From a behaviour to the part of the graph that carries it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from feature_graph.artifacts import feature_key, indices_by_layer
from feature_graph.config import Config
from feature_graph.dictionaries import Dictionaries, HookedModel
from feature_graph.interventions import AnalysedModel, ablate
from feature_graph.stats import document_means, mean_test, smallest_p
from feature_graph.subgraphs.behaviors import Behavior
from feature_graph.subgraphs.effects import BehaviorModel
from feature_graph.subgraphs.neighbourhood import around
from feature_graph.subgraphs.outputs import output_edges
from feature_graph.subgraphs.prepare import Prepared, at_least, prepare
from feature_graph.subgraphs.result import BehaviorScore, BehaviorSubgraph
from feature_graph.subgraphs.seeds import Chosen, TestedSeeds, choose_seeds, confirm_seeds
from feature_graph.subgraphs.tokens import PromptTokens, ReadPrompts
from feature_graph.terminal import percent
from feature_graph.utils import derived_seed

logger = logging.getLogger(__name__)


def extract_behavior_subgraph(
    model: HookedModel | AnalysedModel,
    saes: Dictionaries,
    G: nx.DiGraph,
    behavior: str | Path | Behavior = "factual_recall",
    cfg: Config | None = None,
    n_hops: int = 2,
    top_k_seeds: int = 10,
    *,
    max_prompts: int = 48,
    n_placebo: int = 8,
    seeds: Sequence[Chosen] | None = None,
) -> BehaviorSubgraph:
    """Find the features that carry a behaviour, and the graph around them.

    Seeds are chosen by attribution and ablation on half of the prompts and tested by ablation on the other half
    (:mod:`feature_graph.subgraphs.seeds`). A behaviour that the model cannot do, or that its tokenizer cannot express, still gives seeds,
    with a warning and ``confirmed`` False.

    Args:
        model: A HookedTransformer, or an :class:`AnalysedModel`, which spares building it again.
        saes: Layer → SAELens SAE; or name of the site → SAELens SAE or transcoder.
        G: Interaction graph of the same run; may be empty.
        behavior: A name of ``PREDEFINED_BEHAVIORS``, a :class:`Behavior`, or the path of a YAML file with one.
        cfg: Configuration of the run; gives the seed, the level and whether BOS is put first.
        n_hops: Edges to follow from the seeds, backward and forward.
        top_k_seeds: How many seeds.
        max_prompts: At most this many prompts, half of them held out.
        n_placebo: Random directions ablated to find how large an effect must be.
        seeds: Seeds that were chosen before (:func:`feature_graph.subgraphs.choose_behavior_seeds`); None: they are chosen here, by the
            gradient alone.

    Raises:
        BehaviorError: If the behaviour is unknown (those known are listed) or malformed, or a number makes no sense.
    """
    for name, value, least in (("n_hops", n_hops, 0), ("top_k_seeds", top_k_seeds, 1)):
        at_least(name, value, least)
    ready = prepare(model, saes, behavior, cfg, max_prompts)
    chosen = choose_seeds(ready.model, ready.choosing.clean, top_k_seeds) if seeds is None else seeds
    return subgraph_of(ready, G, n_hops, chosen, n_placebo)


def subgraph_of(ready: Prepared, G: nx.DiGraph, n_hops: int, chosen: Sequence[Chosen], n_placebo: int) -> BehaviorSubgraph:
    """Tested seeds, score and subgraph of a prepared behaviour.

    Args:
        ready: The behaviour.
        G: Interaction graph.
        n_hops: Edges to follow.
        chosen: Its seeds.
        n_placebo: Random directions.
    """
    name, analysed, held_out = ready.behavior.name, ready.model, ready.held_out
    tested = confirm_seeds(analysed, held_out.clean, chosen, ready.level, n_placebo, derived_seed(ready.seed, "behaviour placebos"))
    score = _score(analysed, held_out, tested)
    warnings = (*ready.warnings, *_warnings(score, tested, ready.level))
    for warning in warnings:
        logger.warning("%s: %s", name, warning)
    seeds = _described(tested.seeds, G, analysed, held_out.clean, ready.tokenizer)
    nodes = {s["feature_id"]: {k: s[k] for k in ("layer", "index", "label", "uid", "effect_size")} for s in seeds}
    site = next(iter(analysed.codecs.values())).site
    confirmed = ready.own and score.able and 2 * sum(s["confirmed"] for s in seeds) > len(seeds)
    uid = f"{site.model}@{site.model_hash}/{name}"
    part = around(G, nodes, n_hops)
    outputs = tuple(output_edges(analysed, held_out.clean, [feature_key(node, analysed.codecs) for node in part], ready.level))
    return BehaviorSubgraph(name, ready.behavior.description, seeds, part, score, confirmed, warnings, held_out.clean.texts, uid, outputs)


def _score(analysed: BehaviorModel, held_out: ReadPrompts, tested: TestedSeeds) -> BehaviorScore:
    clean, groups = held_out.clean, held_out.clean.groups
    logits = analysed.logits(clean)
    metric = clean.metric(logits).double().cpu().numpy()
    corrupted = held_out.corrupted.metric(analysed.logits(held_out.corrupted)).double().cpu().numpy()
    does, follows = (mean_test(document_means(values, groups).values) for values in (metric, metric - corrupted))
    return BehaviorScore(
        metric=clean.measure,
        clean=float(does.mean),
        ci_low=float(does.ci_low),
        ci_high=float(does.ci_high),
        corrupted=float(document_means(corrupted, groups).values.mean()),
        ablated=_ablated(analysed, clean, tested.seeds),
        accuracy=float((metric > 0).mean()),
        answer_probability=float(clean.answer_probability(logits).mean()),
        follows_prompt=bool(follows.ci_low > 0),
        prompts=len(clean),
        groups=does.n,
        floor=tested.floor,
        dropped=held_out.dropped,
    )


def _ablated(analysed: BehaviorModel, prompts: PromptTokens, seeds: list[dict[str, Any]]) -> float | None:
    """Mean metric with all seeds ablated together."""
    if not seeds:
        return None
    features = indices_by_layer(feature_key(s["feature_id"], analysed.codecs) for s in seeds)
    logits = ablate(analysed.slices, analysed.codecs, prompts.tokens, features, prompts.last, prompts.mask())
    return float(document_means(prompts.metric(logits).double().cpu().numpy(), prompts.groups).values.mean())


def _warnings(score: BehaviorScore, tested: TestedSeeds, level: float) -> list[str]:
    found = []
    if not score.ci_low > 0:
        found.append(
            f"the model cannot do it: {score.measure} {score.clean:+.2f} [{score.ci_low:+.2f}, {score.ci_high:+.2f}] is not above 0 "
            f"(right answer preferred in {percent(score.accuracy)})"
        )
    elif not score.follows_prompt:
        found.append(f"the answer does not follow from the prompt: {score.clean:+.2f} clean, {score.corrupted:+.2f} corrupted")
    if not tested.seeds:
        found.append("no feature is active on the prompts, so there are no seeds")
    elif (best := smallest_p(score.groups) * len(tested.seeds)) >= level:
        found.append(
            f"{score.groups} held-out groups cannot confirm {len(tested.seeds)} seeds: the smallest adjusted p is {min(best, 1.0):.3g}"
        )
    elif open_ := [s["feature_id"] for s in tested.seeds if not s["confirmed"]]:
        verb = "is" if len(open_) == 1 else "are"
        found.append(f"{len(open_)} of {len(tested.seeds)} seeds {verb} not confirmed on held-out prompts: {', '.join(open_)}")
    return found


def _described(
    seeds: list[dict[str, Any]], G: nx.DiGraph, analysed: BehaviorModel, prompts: PromptTokens, tokenizer: Any
) -> list[dict[str, Any]]:
    """Seeds with ``in_graph`` and a label: the graph's own, else where the feature is strongest on the prompts."""
    labels = {s["feature_id"]: str(G.nodes.get(s["feature_id"], {}).get("label") or "") for s in seeds}
    unnamed = [s for s in seeds if not labels[s["feature_id"]]]
    if tokenizer is not None and unnamed:
        amounts = analysed.removals(prompts, analysed.clean(prompts), [feature_key(s["feature_id"], analysed.codecs) for s in unnamed])
        labels |= {s["feature_id"]: _label(prompts, r.amounts.cpu().numpy(), tokenizer) for s, r in zip(unnamed, amounts, strict=True)}
    return [{**s, "label": labels[s["feature_id"]], "in_graph": s["feature_id"] in G} for s in seeds]


def _label(prompts: PromptTokens, amounts: NDArray[np.float32], tokenizer: Any) -> str:
    """The strongest token after the words before it, such as ``The capital of «France»``; "" if never active."""
    row, position = np.unravel_index(int(amounts.argmax()), amounts.shape)
    if amounts[row, position] <= 0:
        return ""
    before, token = (tokenizer.decode(prompts.tokens[row, a:b].tolist()) for a, b in ((0, position), (position, position + 1)))
    return f"{before}{' ' if token.startswith(' ') else ''}«{token.strip() or '␣'}»".strip()
