"""Candidates from responses: of all pairs of features inside the window, those with the largest screened effects.

A third of the places goes to the largest |specific| effects, a third to |computed|, a third to |total|, shared out evenly over the pairs of
sites; a place whose pair is in already goes to nobody. Everything is screened on the select documents. ``arm`` names the first of the three
lists that a pair is on. Features outside ``density_range`` take no place.

What a measurement costs goes with the number of sources, since each is clamped at tokens of its own, and hardly with the number of targets.
With ``shortlist_sources`` the places therefore go to that many sources of each site: those with the largest specific effects, by the sum of
their squares over all targets of the window.

The seeds of the run's behaviours (``seeds``) have places of their own, whatever their density.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_graph.artifacts import ActivationStore, CandidateSet, CoactivationAtlas, ResponseStore, StageCount, is_component_key
from feature_graph.candidates.density import within_density
from feature_graph.candidates.grid import Cells, Choice, Grid
from feature_graph.candidates.importance import measure_importance
from feature_graph.candidates.inputs import check_inputs, window_of
from feature_graph.candidates.table import candidate_frame
from feature_graph.config import Config
from feature_graph.dictionaries import SiteCodec
from feature_graph.interventions import AnalysedModel
from feature_graph.responses import Effect, ResponseScreen, check_responses
from feature_graph.utils import progress

log = logging.getLogger(__name__)
#: Effects that pairs are chosen by, in the order in which they name a pair's arm.
RANKED: tuple[Effect, ...] = ("specific", "computed", "total")
#: Arm of the pairs that a seed has as its own, and how many these are in either direction between two sites.
SEED, EACH_SEED = "seed", 3
Bools = NDArray[np.bool_]


def shortlist(
    responses: ResponseStore,
    atlas: CoactivationAtlas,
    store: ActivationStore,
    model: AnalysedModel,
    cfg: Config,
    seeds: Mapping[int, Sequence[int]] | None = None,
) -> CandidateSet:
    """Choose the pairs to measure by their responses.

    Args:
        responses: Of the run.
        atlas: Joint counts of the run, reported with each pair.
        store: Activations of the run.
        model: The model and its dictionaries.
        cfg: The run's configuration.
        seeds: Layer → features that have places of their own, as sources and as targets.

    Returns:
        Candidates by PMI, descending, with the importance of every feature, which chooses nothing here.

    Raises:
        CandidateError: If atlas, dictionaries, store and configuration do not belong together.
        feature_graph.artifacts.ArtifactError: If a pair of sites has no responses, or they are of other dictionaries.
    """
    check_inputs(atlas, model.codecs, cfg, store)
    check_responses(responses, model.saes)
    screen = ResponseScreen(responses, store, model.codecs)
    places = places_of(screen, cfg, seeds)
    choices = [_choose(screen, model.codecs, pair, places) for pair in progress(window_of(model.codecs, cfg), "Choosing candidates")]
    frame = candidate_frame(choices, atlas, store)
    importance = measure_importance(atlas, model.codecs, cfg, store, model)
    stages = _stages(choices, places)
    arms = {str(k): int(v) for k, v in frame["arm"].value_counts().items()}
    return CandidateSet(frame, store, stages, importance.measured, {"importance": importance.facts, "arms": arms, "chosen_by": "responses"})


@dataclass(frozen=True)
class Places:
    """Who may take the places of a shortlist.

    Attributes:
        each: Places of each list between two sites.
        features: Layer → bool [d_sae], features inside the density range.
        sources: Layer → bool [d_sae], those of them that may be sources.
        seeds: Layer → bool [d_sae], features with places of their own.
        limited: Whether these are fewer than the features by ``shortlist_sources``; all of them have responses then.
    """

    each: int
    features: dict[int, Bools]
    sources: dict[int, Bools]
    seeds: dict[int, Bools]
    limited: bool = False


def places_of(screen: ResponseScreen, cfg: Config, seeds: Mapping[int, Sequence[int]] | None = None) -> Places:
    """The places of a run's shortlist.

    Args:
        screen: Of the run.
        cfg: Its configuration.
        seeds: Layer → features that have places of their own.
    """
    features = {layer: within_density(screen.gates.density(layer), cfg) for layer in screen.codecs}
    named = {layer: np.isin(np.arange(len(able)), list((seeds or {}).get(layer, ()))) for layer, able in features.items()}
    window = window_of(screen.codecs, cfg)
    each = max(1, cfg.shortlist_pairs // (len(RANKED) * max(1, len(window))))
    if cfg.shortlist_sources is None:
        return Places(each, features, features, named)
    sizes = {layer: np.zeros(len(able)) for layer, able in features.items()}
    for source, target in progress(window, "Choosing sources"):
        for block in screen.blocks(source, target):
            effects = np.where(features[target][block.targets], block.effects["specific"], 0.0)
            sizes[source][block.sources] += np.square(effects).sum(axis=1)
    chosen = {layer: _largest(size * features[layer], cfg.shortlist_sources) for layer, size in sizes.items()}
    return Places(each, features, chosen, named, limited=True)


def _largest(sizes: NDArray[np.float64], n: int) -> Bools:
    """Where the ``n`` largest positive ones are."""
    chosen = np.zeros(len(sizes), dtype=bool)
    chosen[np.argsort(-sizes, kind="stable")[:n]] = True
    return chosen & (sizes > 0)


def shortlisted(screen: ResponseScreen, pair: tuple[int, int], places: Places) -> dict[Effect, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The largest effects of each kind between two sites.

    Args:
        screen: Of the run.
        pair: Source and target layer.
        places: How many, and of which features.

    Returns:
        Effect → (sources, targets), by size, descending.
    """
    best = {name: (np.zeros(0), np.zeros((2, 0), dtype=np.int64)) for name in RANKED}
    for block in screen.blocks(*pair, np.flatnonzero(places.sources[pair[0]]) if places.limited else None):
        barred = ~(places.sources[pair[0]][block.sources][:, None] & places.features[pair[1]][block.targets])
        for name in RANKED:
            size = np.abs(block.effects[name])
            size[barred] = 0.0
            row, column = np.nonzero(size >= max(_least(best[name][0], places.each), np.finfo(float).tiny))
            sizes = np.concatenate([best[name][0], size[row, column]])
            found = np.concatenate([best[name][1], np.stack([block.sources[row], block.targets[column]])], axis=1)
            order = np.argsort(-sizes, kind="stable")[: places.each]
            best[name] = sizes[order], found[:, order]
    return {name: (found[0], found[1]) for name, (_, found) in best.items()}


def of_seeds(screen: ResponseScreen, pair: tuple[int, int], places: Places) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What the seeds of two sites drive, and what drives them: of each one the largest specific effects.

    Args:
        screen: Of the run.
        pair: Source and target layer.
        places: Which features are seeds, and which can be chosen.

    Returns:
        (sources, targets); a pair of two seeds may be there twice.
    """
    source, target = pair
    known = screen.store.sources[source].index if source in screen.store.sources else np.zeros(0, dtype=np.int64)
    downstream = np.flatnonzero(places.features[target] | places.seeds[target])
    upstream = np.intersect1d(known, np.flatnonzero(places.sources[source] | places.seeds[source]))
    out = _specific(screen, pair, np.intersect1d(known, np.flatnonzero(places.seeds[source])), downstream)
    into = _specific(screen, pair, upstream, np.flatnonzero(places.seeds[target]))
    from_seeds, to_seeds = out.largest(axis=1), into.largest(axis=0)
    return np.concatenate([from_seeds[0], to_seeds[0]]), np.concatenate([from_seeds[1], to_seeds[1]])


@dataclass(frozen=True)
class _Sizes:
    """|specific| [sources, targets] of some pairs."""

    sources: NDArray[np.int64]
    targets: NDArray[np.int64]
    values: NDArray[np.float64]

    def largest(self, axis: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(sources, targets) of the largest of each row (``axis`` 1) or column (0); zeros are none."""
        taken = np.zeros(self.values.shape, dtype=bool)
        np.put_along_axis(
            taken, np.argsort(-self.values, axis=axis, kind="stable").take(range(min(EACH_SEED, self.values.shape[axis])), axis), True, axis
        )
        row, column = np.nonzero(taken & (self.values > 0))
        return self.sources[row], self.targets[column]


def _specific(screen: ResponseScreen, pair: tuple[int, int], sources: NDArray[np.int64], targets: NDArray[np.int64]) -> _Sizes:
    some = len(sources) and len(targets)
    blocks = [np.abs(block.effects["specific"]) for block in screen.blocks(*pair, sources, targets)] if some else []
    return _Sizes(sources, targets, np.concatenate(blocks) if blocks else np.zeros((len(sources), len(targets))))


def _least(sizes: NDArray[np.float64], share: int) -> float:
    return float(sizes[-1]) if len(sizes) >= share else 0.0


def _choose(screen: ResponseScreen, codecs: Mapping[int, SiteCodec], pair: tuple[int, int], places: Places) -> Choice:
    source, target = pair
    grid = Grid(source, target, np.arange(codecs[source].d_sae), np.arange(codecs[target].d_sae))
    reader = (codecs[target].w_enc / codecs[target].w_enc.norm(dim=0).clamp_min(1e-12)).cpu().numpy()
    writer = codecs[source].w_dec.cpu().numpy()
    taken: set[int] = set()
    arms: dict[str, Cells] = {}
    lists = [*shortlisted(screen, pair, places).items(), (SEED, of_seeds(screen, pair, places))]
    for name, (row, column) in lists:
        new = np.array([key not in taken for key in (row * len(grid.targets) + column).tolist()], dtype=bool)
        row, column = row[new], column[new]
        taken.update((row * len(grid.targets) + column).tolist())
        cosine = np.zeros(len(row))
        if not is_component_key(source):  # else what is written and what is read are not of one space
            cosine = np.einsum("nd,dn->n", writer[row], reader[:, column]).astype(np.float64)
        arms[name] = Cells(row, column, cosine, np.abs(cosine))
    return Choice(grid, grid.size, grid.size, arms=arms)


def _stages(choices: list[Choice], places: Places) -> tuple[StageCount, ...]:
    everything = sum(choice.grid.size for choice in choices)

    def able(sources: Mapping[int, Bools]) -> int:
        ends = [(c.grid.source, c.grid.target) for c in choices]
        return sum(int((sources[s] | places.seeds[s]).sum()) * int((places.features[t] | places.seeds[t]).sum()) for s, t in ends)

    dense, left = able(places.features), able(places.sources)
    chosen = sum(len(cells) for choice in choices for cells in choice.arms.values())
    stages = [StageCount("density", everything, dense)]
    if left < dense:
        stages.append(StageCount("sources", dense, left))
    stages.append(StageCount("responses", left, chosen))
    for stage in stages:
        log.info("candidates: %s: %s pairs before, %s after", stage.stage, f"{stage.before:,}", f"{stage.after:,}")
    return tuple(stages)
