"""A behaviour studied to the end: seeds by both attributions, its subgraph, how much that carries, and what reaches the output."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import networkx as nx

from feature_graph.artifacts import feature_key, indices_by_layer
from feature_graph.config import Config
from feature_graph.dictionaries import Dictionaries, HookedModel
from feature_graph.interventions import AnalysedModel
from feature_graph.subgraphs.behaviors import Behavior
from feature_graph.subgraphs.effects import Float
from feature_graph.subgraphs.extract import subgraph_of
from feature_graph.subgraphs.faithfulness import Faithfulness, FeatureKeeper, measure_faithfulness
from feature_graph.subgraphs.integrated import integrated_attribution
from feature_graph.subgraphs.prepare import Prepared, at_least, prepare
from feature_graph.subgraphs.result import BehaviorSubgraph
from feature_graph.subgraphs.seeds import Chosen, choose_seeds


@dataclass(frozen=True)
class StudyOptions:
    """How a behaviour is studied.

    Attributes:
        n_hops: Edges to follow from the seeds.
        top_k_seeds: How many seeds.
        max_prompts: At most this many prompts, half of them held out.
        n_placebo: Random directions ablated.
        integrated_steps: Points of the integrated gradients.
        n_random: Random subgraphs.
        n_sizes: Sizes of the faithfulness curve.
    """

    n_hops: int = 2
    top_k_seeds: int = 10
    max_prompts: int = 48
    n_placebo: int = 8
    integrated_steps: int = 3
    n_random: int = 4
    n_sizes: int = 7


STUDY = StudyOptions()


@dataclass(frozen=True)
class BehaviorStudy:
    """A behaviour's subgraph and how much of the behaviour it carries.

    Attributes:
        subgraph: Seeds, subgraph and score; ``outputs`` is filled.
        faithfulness: None where the model cannot do the behaviour, or its prompts cannot be read: there is nothing to be faithful to.
    """

    subgraph: BehaviorSubgraph
    faithfulness: Faithfulness | None


def choose_behavior_seeds(
    model: HookedModel | AnalysedModel,
    saes: Dictionaries,
    behavior: str | Path | Behavior,
    cfg: Config | None = None,
    options: StudyOptions = STUDY,
) -> list[Chosen]:
    """The seeds of a behaviour, by gradients, integrated gradients and ablation on the choosing half of its prompts; no graph is needed.

    Args:
        model: A HookedTransformer, or an :class:`AnalysedModel`, which spares building it again.
        saes: Layer → SAELens SAE; or name of the site → SAELens SAE or transcoder.
        behavior: As for :func:`extract_behavior_subgraph`.
        cfg: Configuration of the run.
        options: How many seeds and prompts, and how many points of the integrated gradients.

    Returns:
        By the effect of ablating them there, descending; :func:`study_behavior` begins with the same.

    Raises:
        BehaviorError: As :func:`extract_behavior_subgraph`.
    """
    ready = prepare(model, saes, behavior, cfg, options.max_prompts)
    return _begin(ready, options).chosen


@dataclass(frozen=True)
class _Beginning:
    keeper: FeatureKeeper
    ranking: dict[int, Float]
    chosen: list[Chosen]


def _begin(ready: Prepared, options: StudyOptions) -> _Beginning:
    keeper = FeatureKeeper(ready.model, ready.choosing)
    ranking = integrated_attribution(ready.model, ready.choosing.clean, keeper.means, options.integrated_steps)
    return _Beginning(keeper, ranking, choose_seeds(ready.model, ready.choosing.clean, options.top_k_seeds, ranking))


def study_behavior(
    model: HookedModel | AnalysedModel,
    saes: Dictionaries,
    G: nx.DiGraph,
    behavior: str | Path | Behavior,
    cfg: Config | None = None,
    options: StudyOptions = STUDY,
) -> BehaviorStudy:
    """:func:`extract_behavior_subgraph` with integrated gradients, the last hop, and faithfulness.

    Args:
        model: A HookedTransformer, or an :class:`AnalysedModel`, which spares building it again.
        saes: Layer → SAELens SAE; or name of the site → SAELens SAE or transcoder.
        G: Interaction graph of the same run.
        behavior: As for :func:`extract_behavior_subgraph`.
        cfg: Configuration of the run.
        options: Hops, seeds, prompts and comparisons.

    Raises:
        BehaviorError: As there.
    """
    for name in ("n_random", "n_sizes", "integrated_steps"):
        at_least(name, getattr(options, name), 1)
    ready = prepare(model, saes, behavior, cfg, options.max_prompts)
    begun = _begin(ready, options)
    found = subgraph_of(ready, G, options.n_hops, begun.chosen, options.n_placebo)
    if not ready.own or found.score is None or not found.score.able:
        return BehaviorStudy(found, None)
    measured = measure_faithfulness(
        ready.model,
        ready.choosing,
        ready.held_out.clean,
        indices_by_layer(feature_key(node, ready.model.codecs) for node in found.subgraph),
        begun.ranking,
        n_random=options.n_random,
        n_sizes=options.n_sizes,
        seed=ready.seed,
        keeper=begun.keeper,
    )
    return BehaviorStudy(found, measured)
