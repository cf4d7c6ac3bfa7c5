"""How much of what a model does between transcoders do the transcoders themselves tell? Forecasts of steering by derivatives in which
transcoders stand in for the MLPs between source and target: with features and skip, with one of the two, and with nothing but attention.

Sources, pairs and truth are those of ``feature-graph forecasts``. Every forecast is taken at the same tokens as the response, with
the clean run's gates and the model's own attention; ``model`` has the model's own MLPs, which is the response before it is stored. What
arrives with features alone is the sum over all paths through features and attention, with the gates of each token.

    python benchmarks/stand_ins.py RUN_DIR [--text TEXT] [--sources 60] [--resamples 500] [--json]

RUN_DIR is a run between transcoders, such as that of ``feature-graph run bundled``. Intervals are 95 %, over sources and documents.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_graph.artifacts import ActivationStore, ResponseStore, RunPaths, feature_key, indices_by_layer
from feature_graph.artifacts.responses import mean_of_halves
from feature_graph.config import Config
from feature_graph.evaluation.forecasts import ComparedForecasts, ComparisonOptions, compare_forecasts, recorded_on
from feature_graph.evaluation.forecasts.bootstrap import DocumentTruth, two_way
from feature_graph.evaluation.forecasts.scores import DISTANCES
from feature_graph.interventions import AnalysedModel, CleanDocuments, MeasurementContext, StandIn
from feature_graph.loading import load_model_and_saes
from feature_graph.responses import ResponseScreen, plan_responses
from feature_graph.responses.measure import site_half_means
from feature_graph.utils import progress

Floats = NDArray[np.float64]
#: Forecast → whether features and skip go on; None: the model's own MLPs.
VARIANTS: dict[str, tuple[bool, bool] | None] = {
    "model": None,
    "features and skip": (True, True),
    "skip": (False, True),
    "features": (True, False),
    "attention": (False, False),
}
#: Forecasts that stand beside them.
OTHERS = ("response", "mean Jacobian", "virtual weight", "−virtual weight")
#: Differences that are paired in every resample.
PAIRED = (("model", "features and skip"), ("features and skip", "skip"), ("skip", "mean Jacobian"), ("features", "attention"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path, help="a run between transcoders")
    parser.add_argument("--text", help="text to steer on, as `dataset` takes it, instead of the run's confirm documents")
    parser.add_argument("--sources", type=int, default=60, help="sources, equally many per site")
    parser.add_argument("--resamples", type=int, default=500, help="of the bootstrap")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    found = scores(*forecasts(given.run_dir, given.text, given.sources), given.resamples)
    print(json.dumps(found) if given.json else "\n\n".join(f"{effect}:\n\n{_table(table)}" for effect, table in found.items()))


def forecasts(run_dir: Path, text: str | None, n_sources: int) -> tuple[ComparedForecasts, pd.DataFrame]:
    """Pairs with what was measured, and each variant's forecasts of the total change of the same pairs, one column each."""
    paths = RunPaths.of(run_dir)
    cfg, store, responses = Config.load(paths.config), ActivationStore.load(paths.activations), ResponseStore(paths.responses)
    analysed = AnalysedModel.of(*load_model_and_saes(cfg, run_dir), cfg, components=True)
    if not any(site.kind == "transcoder" for site in analysed.sites.values()):
        raise SystemExit(f"{run_dir}: got a run without transcoders; expected one with some, such as that of `feature-graph run bundled`")
    options = ComparisonOptions(n_sources=n_sources)
    truth = None if text is None else recorded_on(analysed, cfg, text, options.most_documents)
    compared = compare_forecasts(analysed, analysed.saes, store, cfg, responses, options, truth=truth)
    compared = compared.rows((compared.pairs["often"] & (compared.pairs["crossed"] > 0)).to_numpy())
    ends = pd.DataFrame([(*feature_key(s, analysed.sites), *feature_key(t, analysed.sites)) for s, t in _names(compared)])
    made = np.full((len(compared), len(VARIANTS)), np.nan)
    screen = ResponseScreen(responses, store, analysed.codecs)
    for (layer, index, later), arrived in _arrivals(
        MeasurementContext.open(analysed, store, cfg), indices_by_layer(map(tuple, ends[[0, 1]].values))
    ):
        rows = np.flatnonzero((ends[0] == layer) & (ends[1] == index) & (ends[2] == later))
        targets = ends[3].to_numpy()[rows]
        gates = screen.gates.of(layer, np.array([index]), later, targets)
        made[rows] = ((gates.on + gates.jump) * (arrived @ analysed.codecs[later].w_enc.double().cpu().numpy()[:, targets])).T
    return compared, pd.DataFrame(made, columns=list(VARIANTS))


def _names(compared: ComparedForecasts) -> Iterator[tuple[str, str]]:
    return zip(compared.pairs["source"], compared.pairs["target"], strict=True)


def _arrivals(context: MeasurementContext, sources: dict[int, list[int]]) -> Iterator[tuple[tuple[int, int, int], Floats]]:
    """(Site of the source, its index, later site) → what arrives there by each variant, [variants, d_in]."""
    plan = plan_responses(context, sources)
    clean = CleanDocuments(context, plan.documents)
    stand_ins = [codec for codec in context.codecs.values() if codec.site.kind == "transcoder"]
    for layer, samples in progress(plan.samples.items(), "stand-ins", len(plan.samples)):
        later = plan.later[layer]
        setting = clean.setting([layer, *later])
        means = []
        for parts in VARIANTS.values():
            instead = [] if parts is None else [StandIn(codec, *parts) for codec in stand_ins]
            halves = site_half_means(setting, layer, later, samples, instead)[:, :, :2]
            means.append(np.stack([mean_of_halves(one, samples.counts().n_documents) for one in halves]))
        for k, n in enumerate(later):
            for i, index in enumerate(samples.index):
                yield (layer, int(index), n), np.stack([mean[k, i, : context.codecs[n].site.d_in] for mean in means])


def scores(compared: ComparedForecasts, made: pd.DataFrame, resamples: int) -> dict[str, Any]:
    """Effect (total, computed) → blocks crossed → ``pairs``, and per forecast ``value`` and ``ci``, pooled Spearman."""
    found: dict[str, Any] = {}
    for effect in ("total", "computed"):
        found[effect] = {}
        for name, (low, high) in DISTANCES.items():
            rows = np.flatnonzero(compared.pairs["crossed"].between(max(low, 1), high))
            found[effect][name] = _score(compared.rows(rows), made.iloc[rows], effect == "computed", resamples)
    return found


def _score(compared: ComparedForecasts, made: pd.DataFrame, computed: bool, resamples: int) -> dict[str, Any]:
    owner, _ = pd.factorize(compared.pairs["source"])
    order = np.argsort(owner, kind="stable")
    compared, made, owner = compared.rows(order), made.iloc[order], owner[order].astype(np.int64)
    pairs = compared.pairs
    copy = pairs["virtual weight"].to_numpy(np.float64) * computed
    columns = {name: made[name].to_numpy() - copy for name in VARIANTS}
    columns |= {name: pairs[f"{name} computed" if computed else name].to_numpy(np.float64) for name in OTHERS}
    truth = pairs["measured"] - computed * pairs["copied"]
    parts = compared.total - compared.copied * np.float32(computed)
    pooled = two_way(columns, DocumentTruth(truth.to_numpy(np.float64), parts, compared.documents, owner), resamples, 0).pooled
    pooled |= {f"{one} − {other}": pooled[one] - pooled[other] for one, other in PAIRED}
    return {"pairs": len(pairs)} | {
        name: {"value": float(values[0]), "ci": np.quantile(values[1:], (0.025, 0.975)).tolist()} for name, values in pooled.items()
    }


def _table(by_distance: dict[str, Any]) -> str:
    """Markdown."""
    names = [*VARIANTS, *OTHERS, *(f"{one} − {other}" for one, other in PAIRED)]
    lines = [f"| forecast | {' | '.join(f'{name} crossed' for name in by_distance)} |", "|---" * (len(by_distance) + 1) + "|"]
    for name in names:
        cells = (f"{one[name]['value']:.2f} [{one[name]['ci'][0]:.2f}, {one[name]['ci'][1]:.2f}]" for one in by_distance.values())
        lines.append(f"| {name} | {' | '.join(cells)} |".replace("-0.00", "0.00").replace("-", "−"))
    counts = [f"{one['pairs']:,}" for one in by_distance.values()]
    return "\n".join([*lines, f"| pairs | {' | '.join(counts)} |"])


if __name__ == "__main__":
    main()
