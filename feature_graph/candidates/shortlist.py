"""Candidates from responses: of all pairs of features inside the window, those with the largest screened effects.

A third of the places goes to the largest |specific| effects, a third to |computed|, a third to |total|, shared out evenly over the pairs of
sites; a place whose pair is in already goes to nobody. Everything is screened on the select documents. ``arm`` names the first of the three
lists that a pair is on. Features outside ``density_range`` take no place.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from feature_graph.artifacts import ActivationStore, CandidateSet, CoactivationAtlas, ResponseStore, StageCount
from feature_graph.candidates.density import within_density
from feature_graph.candidates.grid import Cells, Choice, Grid
from feature_graph.candidates.importance import measure_importance
from feature_graph.candidates.inputs import check_inputs
from feature_graph.candidates.table import candidate_frame
from feature_graph.config import Config
from feature_graph.dictionaries import SiteCodec
from feature_graph.interventions import AnalysedModel
from feature_graph.responses import Effect, ResponseScreen
from feature_graph.utils import progress

log = logging.getLogger(__name__)
#: Effects that pairs are chosen by, in the order in which they name a pair's arm.
RANKED: tuple[Effect, ...] = ("specific", "computed", "total")
Bools = NDArray[np.bool_]


def shortlist(
    responses: ResponseStore, atlas: CoactivationAtlas, store: ActivationStore, model: AnalysedModel, cfg: Config
) -> CandidateSet:
    """Choose the pairs to measure by their responses.

    Args:
        responses: Of the run.
        atlas: Joint counts of the run, reported with each pair.
        store: Activations of the run.
        model: The model and its dictionaries.
        cfg: The run's configuration.

    Returns:
        Candidates by PMI, descending, with the importance of every feature, which chooses nothing here.

    Raises:
        CandidateError: If atlas, dictionaries, store and configuration do not belong together.
        feature_graph.artifacts.ArtifactError: If a pair of sites has no responses.
    """
    check_inputs(atlas, model.codecs, cfg, store)
    screen = ResponseScreen(responses, store, model.codecs)
    allowed = {layer: within_density(screen.gates.density(layer), cfg) for layer in model.codecs}
    choices = [_choose(screen, model.codecs, pair, allowed, places_each(cfg)) for pair in progress(cfg.layer_pairs, "Choosing candidates")]
    frame = candidate_frame(choices, atlas, store)
    importance = measure_importance(atlas, model.codecs, cfg, store, model.model)
    stages = _stages(choices, allowed)
    arms = {str(k): int(v) for k, v in frame["arm"].value_counts().items()}
    return CandidateSet(frame, store, stages, importance.measured, {"importance": importance.facts, "arms": arms, "chosen_by": "responses"})


def places_each(cfg: Config) -> int:
    """Places of each list between two sites."""
    return max(1, cfg.shortlist_pairs // (len(RANKED) * max(1, len(cfg.layer_pairs))))


def shortlisted(
    screen: ResponseScreen, pair: tuple[int, int], allowed: Mapping[int, Bools], share: int
) -> dict[Effect, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The ``share`` largest effects of each kind between two sites.

    Args:
        screen: Of the run.
        pair: Source and target layer.
        allowed: Layer → bool [d_sae], features that may take a place.
        share: Places of each kind.

    Returns:
        Effect → (sources, targets), by size, descending.
    """
    best = {name: (np.zeros(0), np.zeros((2, 0), dtype=np.int64)) for name in RANKED}
    for block in screen.blocks(*pair):
        barred = ~(allowed[pair[0]][block.sources][:, None] & allowed[pair[1]][block.targets])
        for name in RANKED:
            size = np.abs(block.effects[name])
            size[barred] = 0.0
            row, column = np.nonzero(size >= max(_least(best[name][0], share), np.finfo(float).tiny))
            sizes = np.concatenate([best[name][0], size[row, column]])
            places = np.concatenate([best[name][1], np.stack([block.sources[row], block.targets[column]])], axis=1)
            order = np.argsort(-sizes, kind="stable")[:share]
            best[name] = sizes[order], places[:, order]
    return {name: (places[0], places[1]) for name, (_, places) in best.items()}


def _least(sizes: NDArray[np.float64], share: int) -> float:
    return float(sizes[-1]) if len(sizes) >= share else 0.0


def _choose(
    screen: ResponseScreen, codecs: Mapping[int, SiteCodec], pair: tuple[int, int], allowed: Mapping[int, Bools], share: int
) -> Choice:
    source, target = pair
    grid = Grid(source, target, np.arange(codecs[source].d_sae), np.arange(codecs[target].d_sae))
    reader = (codecs[target].w_enc / codecs[target].w_enc.norm(dim=0).clamp_min(1e-12)).cpu().numpy()
    writer = codecs[source].w_dec.cpu().numpy()
    taken: set[int] = set()
    arms: dict[str, Cells] = {}
    for name, (row, column) in shortlisted(screen, pair, allowed, share).items():
        new = np.array([key not in taken for key in (row * len(grid.targets) + column).tolist()], dtype=bool)
        row, column = row[new], column[new]
        taken.update((row * len(grid.targets) + column).tolist())
        cosine = np.einsum("nd,dn->n", writer[row], reader[:, column]).astype(np.float64)
        arms[name] = Cells(row, column, cosine, np.abs(cosine))
    return Choice(grid, grid.size, grid.size, arms=arms)


def _stages(choices: list[Choice], allowed: Mapping[int, Bools]) -> tuple[StageCount, ...]:
    everything = sum(choice.grid.size for choice in choices)
    dense = sum(int(allowed[c.grid.source].sum()) * int(allowed[c.grid.target].sum()) for c in choices)
    chosen = sum(len(cells) for choice in choices for cells in choice.arms.values())
    stages = (StageCount("density", everything, dense), StageCount("responses", dense, chosen))
    for stage in stages:
        log.info("candidates: %s: %s pairs before, %s after", stage.stage, f"{stage.before:,}", f"{stage.after:,}")
    return stages
