"""From all pairs of features to those that are measured, without losing true edges on the way.

1. Importance: the ``top_k_features`` of every layer, by frequency × measured effect on the model's output. Dead features never take a
   place; dense ones may, and those of importance 0 where places are left.
2. Co-activation: pairs seen together at fewer than ``min_coactivation`` tokens, at the same position and within ``position_horizon``
   later ones alike, are removed. PMI ranks, it never removes: an always-on target has PMI 0 whatever its cause.
3. Alignment: adjacent pairs whose direction reaches the target's encoder neither at the same position nor, by attention, at one of the
   next ``position_horizon`` are removed (see ``alignment``). With dictionaries on components none is: what is written and what is read are
   not of one space there.
4. Layer window: targets at most ``layer_window`` analysed layers further.

Then a rescue arm re-admits ``rescue_fraction`` of what was removed. Everything is chosen on the select documents.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np

from feature_graph.artifacts import ActivationStore, CandidateSet, CoactivationAtlas, StageCount
from feature_graph.candidates.alignment import Aligner, Asked, BlockAligner, CosineAligner, NoAligner
from feature_graph.candidates.grid import Cells, Choice, Grid, coactive, join_cells
from feature_graph.candidates.importance import Importance, measure_importance
from feature_graph.candidates.inputs import analysed_of, check_inputs, codecs_without_model, window_of
from feature_graph.candidates.rescue import Rescue
from feature_graph.candidates.table import candidate_frame
from feature_graph.config import Config
from feature_graph.dictionaries import Dictionaries, HookedModel, SiteCodec
from feature_graph.interventions import AnalysedModel
from feature_graph.utils import derived_seed, progress

log = logging.getLogger(__name__)


def identify_candidates(
    atlas: CoactivationAtlas,
    saes: Dictionaries,
    cfg: Config,
    activation_store: ActivationStore | None = None,
    model: HookedModel | AnalysedModel | None = None,
) -> CandidateSet:
    """Choose the pairs to measure.

    Args:
        atlas: Joint counts of the run.
        saes: Layer → SAELens SAE.
        cfg: The run's configuration.
        activation_store: Activations of the run. Without it effects cannot be measured: features are ranked by frequency alone, alignment
            through the blocks is skipped (both with a warning), and ``measure_interactions`` will have no samples.
        model: HookedTransformer, or an :class:`AnalysedModel`, which spares building it again. Without it, likewise.

    Returns:
        Candidates by PMI, descending; ties by layer and index. Every pair has a float PMI (0 where never seen together at one position),
        co-activation probability and alignment; stage counts, importance and what else was found come with it.

    Raises:
        CandidateError: If atlas, SAEs, store and configuration do not belong together.
    """
    analysed = None if model is None else analysed_of(model, saes, cfg)
    codecs = codecs_without_model(saes, cfg, activation_store) if analysed is None else analysed.codecs
    check_inputs(atlas, codecs, cfg, activation_store)
    importance = measure_importance(atlas, codecs, cfg, activation_store, analysed)
    tops = {layer: importance.top(layer, cfg.top_k_features) for layer in codecs}
    grids = [Grid(s, t, tops[s], tops[t]) for s, t in atlas.layer_pairs if s in codecs and t in codecs]
    aligner, kind = _aligner(analysed, codecs, cfg, activation_store, importance)
    wanted = set(window_of(codecs, cfg))
    choices = [
        _choose(grid, atlas, codecs, cfg, aligner if (grid.source, grid.target) in wanted else None, removing=kind in ("block", "cosine"))
        for grid in progress(grids, "Choosing candidates")
    ]
    stages = _stages(choices, codecs, wanted)
    frame = candidate_frame([choice for choice in choices if choice.arms], atlas, activation_store)
    facts = {
        "importance": importance.facts,
        "alignment": kind,
        "aligned_by_later": sum(choice.n_by_later for choice in choices),
        "arms": {str(k): int(v) for k, v in frame["arm"].value_counts().items()},
    }
    return CandidateSet(frame, activation_store, stages, importance.measured, facts)


def _aligner(
    model: AnalysedModel | None, codecs: Mapping[int, SiteCodec], cfg: Config, store: ActivationStore | None, importance: Importance
) -> tuple[Aligner, str]:
    """How pairs are aligned, and its name: block, cosine, off, or skipped (the last two report the cosine and remove nothing)."""
    if any(codec.site.kind != "residual" for codec in codecs.values()):
        return NoAligner(), "off"
    if cfg.alignment != "block":
        return CosineAligner(codecs), cfg.alignment
    if model is None or store is None or importance.documents is None:
        log.warning("alignment: through the blocks needs the model and its activations; the stage is skipped, plain cosines are reported")
        return CosineAligner(codecs), "skipped"
    last = {source: max(t for s, t in cfg.layer_pairs if s == source) for source, _ in cfg.layer_pairs}
    return BlockAligner(model, store, importance.documents, last, cfg.seed, cfg.position_horizon), "block"


def _choose(
    grid: Grid, atlas: CoactivationAtlas, codecs: Mapping[int, SiteCodec], cfg: Config, aligner: Aligner | None, *, removing: bool
) -> Choice:
    """Stages 2 to 4 for one layer pair; ``aligner`` None: outside the window."""
    row, column = coactive(grid, atlas, cfg.min_coactivation)
    if aligner is None:
        return Choice(grid, len(row), len(row))
    limit = cfg.min_decoder_alignment if removing and cfg.span(grid.source, grid.target) == 1 else 0.0
    norms = codecs[grid.target].w_enc.norm(dim=0).double().cpu().numpy()[grid.targets]
    rng = np.random.default_rng(derived_seed(cfg.seed, "rescue", grid.source, grid.target))
    rescue = Rescue(grid, cfg.rescue_fraction, norms, rng, by_jacobian=not isinstance(aligner, NoAligner))
    kept, by_later = [], 0
    for aligned in aligner.of(grid, Asked(row, column, limit)):
        by_later += aligned.by_later
        here = (row >= aligned.first) & (row < aligned.first + len(aligned.signed))
        at = (row[here] - aligned.first, column[here])
        cells = Cells(row[here], column[here], aligned.signed[at], aligned.strength[at])
        kept.append(cells.where(~(cells.strength < limit)))  # what could not be measured is not removed
        rescue.see(aligned, kept[-1])
    survivors = join_cells(kept)
    largest, random = rescue.result(len(survivors))
    return Choice(grid, len(row), len(survivors), by_later, {"kept": survivors, "rescue_jacobian": largest, "rescue_random": random})


def _stages(choices: list[Choice], codecs: Mapping[int, SiteCodec], wanted: set[tuple[int, int]]) -> tuple[StageCount, ...]:
    """Pairs before and after each stage, logged."""
    inside = [c for c in choices if (c.grid.source, c.grid.target) in wanted]
    counts = [
        sum(codecs[c.grid.source].d_sae * codecs[c.grid.target].d_sae for c in choices),
        sum(c.grid.size for c in choices),
        sum(c.n_coactive for c in choices),
        sum(c.n_aligned for c in choices),
        sum(c.n_aligned for c in inside),
        sum(len(cells) for c in inside for cells in c.arms.values()),
    ]
    names = ("importance", "coactivation", "alignment", "layer_window", "rescue")
    stages = tuple(StageCount(name, before, after) for name, before, after in zip(names, counts[:-1], counts[1:], strict=True))
    for stage in stages:
        log.info("candidates: %s: %s pairs before, %s after", stage.stage, f"{stage.before:,}", f"{stage.after:,}")
    return stages
