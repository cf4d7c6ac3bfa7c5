"""Real effects with each document's sign drawn at random: a null with effects of the real size, for the test and its correction."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from feature_graph import stats
from feature_graph.activations import collect_activations
from feature_graph.config import Config
from feature_graph.evaluation.calibration.pairs import all_pairs
from feature_graph.evaluation.planted import PlantedModel, planted_model
from feature_graph.interactions import CleanDocuments, MeasurementContext, Plan, Probe, Setting, Source, clamps_of, make_plan, path_of
from feature_graph.interventions import AnalysedModel, clamp_effects
from feature_graph.utils import derived_seed, without_progress

Floats = NDArray[np.float64]
#: Times that one run's effects are scrambled.
ROUNDS = 50


def scrambled(seed: int) -> dict[str, Any]:
    """Scramble the total effects of a planted model and test them as the engine does.

    Two levels: with the correction over the whole family a round with any discovery is a false one, so that their share must stay
    at the level; and the raw p of effects that are not 0 must be at or below the level in no more than its share.
    """
    planted = planted_model(seed, n_docs=128, context=16, normalization="RMS")
    cfg = planted.config()
    effects = document_effects(planted, cfg)
    rng = np.random.default_rng(derived_seed(seed, "signs"))
    rounds, small, tests = 0, 0, 0
    for _ in range(ROUNDS):
        p = np.concatenate([_p(means, cfg, rng) for means in effects])
        moving = p <= 1
        rounds += bool((stats.adjust(np.where(moving, p, 1.0), cfg.correction_method) < cfg.significance_level).any())
        small, tests = small + int((p[moving] <= cfg.significance_level).sum()), tests + int(moving.sum())
    return {"tests": tests, "found": small, "rounds": ROUNDS, "rounds_with_discovery": rounds}


def _p(means: Floats, cfg: Config, rng: np.random.Generator) -> Floats:
    """p of one source's targets after drawing a sign a document; 2 for a target that does not move at all."""
    signs = rng.choice([-1.0, 1.0], size=(len(means), 1))
    p = stats.mean_test(means * signs).p
    return np.where(np.abs(means).max(0) >= cfg.min_effect, p, 2.0)


def document_effects(planted: PlantedModel, cfg: Config) -> list[Floats]:
    """Total effect of each source on every target of the next site: one array [documents, targets] a source."""
    model = AnalysedModel.of(planted.model, planted.saes, cfg)
    with without_progress():
        store = collect_activations(model, planted.saes, cfg, tokens=planted.tokens)
    context = MeasurementContext(model, store, dict.fromkeys(model.codecs, 1.0), cfg)
    plan = make_plan(store, all_pairs(planted, cfg), model.codecs, context.norms, cfg)
    clean, found = CleanDocuments(context, np.arange(len(store.tokens))), []
    for layer in sorted(plan.sources):
        setting = clean.setting([layer, min(plan.targets(layer))])
        found += [_of_source(setting, plan, source) for source in plan.sources[layer]]
    return found


def _of_source(setting: Setting, plan: Plan, source: Source) -> Floats:
    probe = Probe(source, setting.codecs[source.layer].w_dec[source.index])
    path = path_of(plan, setting.codecs, source.layer)[:1]
    clamps = clamps_of(setting, [probe], [source.test])
    point = setting.codecs[source.layer].site.point
    effects = clamp_effects(setting.slices, setting.clean, point, clamps, path, 0, setting.counted, direct=False)
    slopes = effects[0].total.double().cpu().numpy() / (source.high - source.low)
    return stats.document_means(slopes, source.test.documents).values
