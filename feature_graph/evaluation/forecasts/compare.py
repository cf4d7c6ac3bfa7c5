"""The comparison: sources drawn, their edges and mean Jacobians measured, steered, and put beside their forecasts, pair by pair."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_graph.activations import collect_activations
from feature_graph.artifacts import SELECT, ActivationStore, ResponseStore, RunPaths, feature_id, indices_by_layer, spans
from feature_graph.config import Config
from feature_graph.dictionaries import Dictionaries, HookedModel
from feature_graph.evaluation.forecasts.compared import ComparedForecasts
from feature_graph.evaluation.forecasts.draw import DrawnSource, Draws, draw_sources
from feature_graph.evaluation.forecasts.forecasters import FORECASTERS, Forecasts, SiteForecast, mean_jacobian
from feature_graph.evaluation.forecasts.paths import PathSums, is_passed, path_sums
from feature_graph.evaluation.forecasts.scores import forecast_scores
from feature_graph.evaluation.forecasts.truth import DocumentEffects, clamped, steered
from feature_graph.interventions import AnalysedModel, CleanDocuments, MeasurementContext
from feature_graph.loading import load_model_and_saes
from feature_graph.responses import ResponseScreen, check_responses, measure_responses
from feature_graph.utils import derived_seed, progress, sha256_file, write_json

Floats = NDArray[np.float64]
KIND, VERSION = "forecasts", 1
#: What the bootstrap draws anew.
BOOTSTRAP = "sources and documents"
#: P̂ from which a target counts as on where the source is; those below are scored on a line of their own.
OFTEN = 0.1


@dataclass(frozen=True)
class ComparisonOptions:
    """How the comparison is made.

    Attributes:
        n_sources: Sources, equally many per site.
        multiple: Delta of the steer, in units of the source's mean activation where active: a size and sign that no clamp had.
        n_tokens: Tokens at which a source is steered, and as many at which its edges are measured; distinct documents first.
        min_documents: Documents of each split (and of another text) that a source must be active in.
        most_documents: Documents of each split (and of another text) that are run.
        jacobian_tokens: Tokens of the mean Jacobian.
        path_tokens: Tokens of each feature at which the steps of paths are measured, where the run has no responses.
        rare_targets: Targets with P̂ below 0.1 that are kept per source and site, at random.
        resamples: Of the two-way bootstrap, over sources and documents.
    """

    n_sources: int = 60
    multiple: float = -0.5
    n_tokens: int = 24
    min_documents: int = 6
    most_documents: int = 64
    jacobian_tokens: int = 64
    path_tokens: int = 8
    rare_targets: int = 100
    resamples: int = 500


DEFAULTS = ComparisonOptions()
#: Documents that the tokens of the mean Jacobian are drawn from.
_JACOBIAN_DOCUMENTS = 16
#: A decoder row shorter than this writes nothing.
_DEAD_ROW = 0.5


def compare_run(run_dir: str | Path, options: ComparisonOptions = DEFAULTS, *, text: str | None = None) -> dict[str, Any]:
    """Compare forecasts on a run, and write ``forecasts.json`` into its directory.

    Args:
        run_dir: The run.
        options: Sources, tokens, delta.
        text: Text to steer on, in any form that ``dataset`` takes, instead of the run's own confirm documents: such as text that trained
            none of its dictionaries.

    Returns:
        ``options``, ``text`` (that was steered on; None: the run's own), ``bootstrap`` (what a resample draws anew; files without it are of
        a bootstrap over sources alone), ``responses`` (hash of the run's responses; None if it has none, and those of the sources were
        measured here), ``sources`` (ids), and ``scores`` (:func:`forecast_scores`).

    Raises:
        feature_graph.artifacts.ArtifactError: If the activations are missing, a file is damaged, or a dictionary is not the one
            that the run used.
        feature_graph.loading.LoadingError: If there is no such text.
        EvaluationError: If no source can be steered.
    """
    paths = RunPaths.of(run_dir)
    cfg, store = Config.load(paths.config), ActivationStore.load(paths.activations)
    responses = ResponseStore(paths.responses) if paths.responses.is_file() else None
    model, saes = load_model_and_saes(cfg, run_dir)
    analysed = AnalysedModel.of(model, saes, cfg, components=True)
    other = None if text is None else recorded_on(analysed, cfg, text, options.most_documents)
    compared = compare_forecasts(analysed, saes, store, cfg, responses, options, truth=other)
    found = {
        "options": asdict(options),
        "text": text,
        "bootstrap": BOOTSTRAP,
        "responses": None if responses is None else sha256_file(paths.responses),
        "sources": sorted(compared.pairs["source"].unique()),
        "scores": forecast_scores(compared, options.resamples, derived_seed(cfg.seed, "forecast bootstrap")),
    }
    write_json(paths.forecasts, {"kind": KIND, "version": VERSION, **found})
    return found


def recorded_on(model: AnalysedModel, cfg: Config, text: str, n_documents: int) -> ActivationStore:
    """Activations on another text, for ``truth`` of :func:`compare_forecasts`.

    How good dictionaries are there is not asked: that, too, is what is compared.
    """
    told = {"dataset": text, "n_tokens": n_documents * cfg.context_length, "sae_quality": "off"}
    return collect_activations(model, model.saes, cfg.model_copy(update=told))


def compare_forecasts(
    model: HookedModel | AnalysedModel,
    saes: Dictionaries,
    store: ActivationStore,
    cfg: Config,
    responses: ResponseStore | None = None,
    options: ComparisonOptions = DEFAULTS,
    *,
    truth: ActivationStore | None = None,
) -> ComparedForecasts:
    """Steer random sources, and put every forecast beside what was measured.

    Args:
        model: A HookedTransformer, or the :class:`AnalysedModel` made of it and the SAEs.
        saes: Layer → SAELens SAE; or name of the site → SAELens SAE or transcoder.
        store: Recorded activations.
        cfg: Configuration of the run.
        responses: Responses of the same run. Without them those of the sources are measured here, and those that paths are made of (every
            feature's at the next site) at fewer tokens.
        options: Sources, tokens, delta.
        truth: Recorded activations of another text, on which sources are steered. None: on the confirm documents of ``store``.

    Raises:
        EvaluationError: If no source can be steered.
        feature_graph.artifacts.ArtifactError: If the responses are of other dictionaries or of another text.
    """
    analysed = AnalysedModel.of(model, saes, cfg, components=True)
    context = MeasurementContext.open(analysed, store, cfg)
    elsewhere = context if truth is None else MeasurementContext.open(analysed, truth, cfg)
    if responses is not None:
        check_responses(responses, analysed.saes, str(context.input_hashes()["tokens"]))
    rng = np.random.default_rng(derived_seed(cfg.seed, "forecasts"))
    draws = Draws.of(store, cfg, options.most_documents, truth)
    least = max(options.min_documents, cfg.response_documents)
    sources = draw_sources(draws, _able(analysed, responses), options.n_sources, options.n_tokens, least, rng)
    with TemporaryDirectory(prefix="forecasts.") as folder:
        mine, steps = (responses, responses) if responses is not None else _responses(context, sources, Path(folder), options)
        screen, further = (ResponseScreen(some, store, analysed.codecs) for some in (mine, steps))
        later = {layer: analysed.later(layer) for layer in analysed.codecs}
        along = path_sums(screen, further, indices_by_layer((source.layer, source.index) for source in sources), later)
        comparison = _Comparison(context, elsewhere, Forecasts(screen, store), along, draws, options, rng)
        tables = progress(comparison.tables(sources), "steering", len(sources))
        return ComparedForecasts.joined(tables)


def _able(analysed: AnalysedModel, responses: ResponseStore | None) -> dict[int, NDArray[np.int64]]:
    """Layer → features that may be sources."""
    if responses is not None:
        return {layer: sources.index.astype(np.int64) for layer, sources in responses.sources.items()}
    lengths = {layer: codec.w_dec.norm(dim=1).cpu().numpy() for layer, codec in analysed.codecs.items() if analysed.later(layer)}
    return {layer: np.flatnonzero(values > _DEAD_ROW) for layer, values in lengths.items()}


def _responses(
    context: MeasurementContext, sources: Sequence[DrawnSource], folder: Path, options: ComparisonOptions
) -> tuple[ResponseStore, ResponseStore]:
    """Responses of the sources at every later site, and those that paths are made of.

    These are of every feature beyond the first site at the next one; with dictionaries on components of transcoders at every later one.
    """
    model, store, cfg = context.model, context.store, context.cfg
    drawn = indices_by_layer((source.layer, source.index) for source in sources)
    mine = measure_responses(model, model.saes, store, cfg, folder / "sources.h5", sources=drawn)
    fewer = cfg.model_copy(update={"response_samples": options.path_tokens})
    passed = {layer: range(codec.d_sae) for layer, codec in list(model.codecs.items())[1:]}
    if model.has_components:
        passed = {layer: features for layer, features in passed.items() if is_passed(model.codecs[layer].site) and model.later(layer)}
        if not passed:
            return mine, mine
    parts = measure_responses(model, model.saes, store, fewer, folder / "steps.h5", sources=passed, next_only=not model.has_components)
    return mine, parts


class _Comparison:
    """One analysed run; the clean runs are walked up once."""

    def __init__(
        self,
        context: MeasurementContext,
        elsewhere: MeasurementContext,
        forecasts: Forecasts,
        along: PathSums,
        draws: Draws,
        options: ComparisonOptions,
        rng: np.random.Generator,
    ) -> None:
        self.context, self.forecasts, self.along, self.options, self.rng = context, forecasts, along, options, rng
        self.tokens = draws.select.anywhere(_JACOBIAN_DOCUMENTS, options.jacobian_tokens, rng)
        self.truth = CleanDocuments(elsewhere, draws.truth.documents)
        self.edges = CleanDocuments(context, draws.edge.documents)
        self.anywhere = CleanDocuments(context, np.unique(self.tokens[0]))

    def tables(self, sources: Sequence[DrawnSource]) -> Iterator[ComparedForecasts]:
        """One table per source."""
        for layer, group in groupby(sources, key=lambda source: source.layer):
            mine, sites = list(group), [layer, *self.context.model.later(layer)]
            truth, edges, anywhere = (clean.setting(sites) for clean in (self.truth, self.edges, self.anywhere))
            arrived = mean_jacobian(anywhere, layer, [source.index for source in mine], *self.tokens)
            for k, source in enumerate(mine):
                delta = self.options.multiple * float(self.context.store.mean_activations[layer][source.index])
                moved = steered(truth, layer, source.index, source.truth, delta)
                clamps = clamped(edges, layer, source.index, source.edge, self._high(source), self.context.cfg)
                along = {n: rows[k] for n, rows in self.along[layer].items()}
                forecasts = self.forecasts.of(layer, source.index, along, clamps, {n: rows[k] for n, rows in arrived.items()})
                yield self._table(source, moved, forecasts)

    def _high(self, source: DrawnSource) -> float:
        """The high level of the source's clamps, as the configuration says."""
        column = self.context.store.activations[source.layer][:, [source.index]].toarray().ravel()
        mine = column[self.context.store.rows_of(SELECT)]
        return float(np.quantile(mine[mine > 0], self.context.cfg.clamp_high_quantile))

    def _table(self, source: DrawnSource, moved: dict[int, DocumentEffects], forecasts: dict[int, SiteForecast]) -> ComparedForecasts:
        places = {n: site.place for n, site in self.context.model.sites.items()}
        layers = [place.layer for place in places.values()]
        name = feature_id(source.layer, source.index)
        return ComparedForecasts.joined(
            self._pairs(name, spans(places[source.layer], places[n], layers), n, moved[n], forecasts[n]) for n in moved
        )

    def _pairs(self, source: str, crossed: int, layer: int, moved: DocumentEffects, forecast: SiteForecast) -> ComparedForecasts:
        often = forecast.on >= OFTEN
        rare = self.rng.permutation(np.flatnonzero(~often))[: self.options.rare_targets]
        kept = np.sort(np.r_[np.flatnonzero(often), rare])
        columns: dict[str, Any] = {
            "source": source,
            "target": [feature_id(layer, int(i)) for i in kept],
            "crossed": crossed,
            "often": often[kept],
            "on": forecast.on[kept],
            **{name: values[kept] for name, values in _measured(moved).items()},
        }
        columns |= {name: forecast.total[name][kept] for name in FORECASTERS}
        columns |= {f"{name} computed": forecast.computed[name][kept] for name in FORECASTERS}
        each = (values[:, kept].T.astype(np.float32) for values in (moved.total, moved.copy))
        return ComparedForecasts(pd.DataFrame(columns), np.tile(moved.documents, (len(kept), 1)), *each)


def _measured(moved: DocumentEffects) -> dict[str, Floats]:
    """Means over documents, over each half of them, and standard errors; [d_sae] each."""
    n, found = len(moved.total), dict[str, Floats]()
    for name, values in (("measured", moved.total), ("copied", moved.copy)):
        found |= {name: values.mean(axis=0), f"{name}_0": values[::2].mean(axis=0), f"{name}_1": values[1::2].mean(axis=0)}
    errors = {"measured_se": moved.total, "computed_se": moved.total - moved.copy}
    return found | {name: values.std(axis=0, ddof=1) / np.sqrt(n) for name, values in errors.items()}
