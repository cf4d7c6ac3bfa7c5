"""How often random directions, injected at the tokens of real sources, pass as edges, and as specific ones.

Sources of a run are drawn at random. At the test tokens of each, random unit directions stand in its place, with its clamp levels, and are
measured on random targets of the sites in its window: the total and the computed effect by clamps, as edges are, and the specific one
compared with other random directions, as edges are. Rates are by bins of P̂, the estimated rate at which the target is on where the
source is; intervals are a bootstrap over sources.

    python benchmarks/random_directions.py RUN_DIR [--sources 60] [--targets 150] [--json]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from feature_graph.artifacts import ActivationStore, ResponseStore, RunPaths
from feature_graph.config import Config
from feature_graph.interactions.directions import RandomDirections
from feature_graph.interactions.passes import documents_of
from feature_graph.interactions.plan import Source, layer_sources
from feature_graph.interactions.probes import Probe, measure
from feature_graph.interactions.smallest import SmallestEffect
from feature_graph.interactions.specificity import probe_effects
from feature_graph.interventions import AnalysedModel, CleanDocuments, MeasurementContext, Reading, Setting, random_directions
from feature_graph.loading import load_model_and_saes
from feature_graph.responses import GateTable, GenericMaps

#: Edges of the bins of P̂, and levels of p.
BINS, LEVELS = (0.0, 0.01, 0.1, 0.3, 1.0), (0.05, 0.01, 0.001)
#: Directions that stand in the place of each source.
INSTEAD = 2
SEED = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", help="a finished run")
    parser.add_argument("--sources", type=int, default=60, help="sources, over all sites")
    parser.add_argument("--targets", type=int, default=150, help="targets of each source at each site")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    rows = measured(Path(given.run_dir), given.sources, given.targets)
    found = [rates(rows[rows["bin"] == name], name) for name in rows["bin"].cat.categories] + [rates(rows, "all")]
    print(json.dumps(found) if given.json else pd.DataFrame(found).to_string(index=False))


def measured(run_dir: Path, n_sources: int, n_targets: int) -> pd.DataFrame:
    """One row per random direction and target."""
    paths = RunPaths.of(run_dir)
    cfg = Config.load(paths.config)
    model = AnalysedModel.of(*load_model_and_saes(cfg), cfg)
    context = MeasurementContext.open(model, ActivationStore.load(paths.activations), cfg)
    maps = None
    if paths.responses.is_file():
        maps = GenericMaps(ResponseStore(paths.responses), {n: c.w_dec for n, c in context.codecs.items()})
    random = RandomDirections(cfg.specificity_directions or 16, cfg.specificity_samples, SEED, maps)
    sources = drawn_sources(context, n_sources)
    limits = {n: None if c.threshold is None else c.threshold.cpu().numpy() for n, c in context.codecs.items()}
    table = _InPlace(context, GateTable(context.store, limits), random, n_targets)
    clean = CleanDocuments(context, documents_of([s for some in sources.values() for s in some]))
    frames = []
    for layer, some in sources.items():
        later = sorted(target for source, target in cfg.layer_pairs if source == layer)
        setting = clean.setting([layer, *[n for n in context.codecs if layer < n <= later[-1]]])
        frames.extend(table.of(setting, source, later) for source in some)
    rows = pd.concat(frames, ignore_index=True)
    return rows.assign(bin=pd.cut(rows["on"], BINS, include_lowest=True))


def drawn_sources(context: MeasurementContext, n: int) -> dict[int, list[Source]]:
    """Sources that can be clamped, drawn at random, as many of each site."""
    rng = np.random.default_rng(SEED)
    layers = [layer for layer in context.codecs if any(source == layer for source, _ in context.cfg.layer_pairs)]
    found = {}
    for layer in layers:
        codec = context.codecs[layer]
        order = np.sort(rng.permutation(codec.d_sae)[: 8 * n])
        sources, _ = layer_sources(context.store, layer, order, codec, context.norms[layer], context.cfg)
        kept = rng.permutation(len(sources))[: max(1, n // len(layers))]
        found[layer] = [sources[k] for k in sorted(kept.tolist())]
    return found


class _InPlace:
    """Measures random directions in the place of sources."""

    def __init__(self, context: MeasurementContext, gates: GateTable, random: RandomDirections, n_targets: int) -> None:
        self._context, self._gates, self._random, self._n = context, gates, random, n_targets
        self._rng, self._drawn = np.random.default_rng(SEED + 1), torch.Generator().manual_seed(SEED + 2)
        self._smallest = SmallestEffect.of(context.cfg, context.store)

    def of(self, setting: Setting, source: Source, layers: list[int]) -> pd.DataFrame:
        """Rows of one source."""
        readings, on = zip(*(self._targets(source, layer) for layer in layers), strict=True)
        frames = []
        for _ in range(INSTEAD):
            directions = random_directions(1 + self._random.n, self._context.slices.d_model, self._drawn)
            (specific,) = probe_effects(setting, [source], [directions], readings, self._random, own=False)
            (effects,) = measure(setting, [Probe(source, directions[0], 0)], readings, derivative=False, smallest=self._smallest)
            for reading, gate, probed, effect in zip(readings, on, specific, effects, strict=True):
                compared = probed.compared()
                columns = {
                    "specific": compared.p,
                    "total": effect.total.p,
                    "computed": effect.computed.p,
                    "open": compared.gate,
                    "on": gate,
                }
                frames.append(pd.DataFrame(columns).assign(source=source.id, target=reading.codec.site.layer))
        return pd.concat(frames, ignore_index=True)

    def _targets(self, source: Source, layer: int) -> tuple[Reading, NDArray[np.float64]]:
        """Half of the targets are those most often on where the source is."""
        codec = self._context.codecs[layer]
        on = self._gates.of(source.layer, np.array([source.index]), layer).on[0]
        often = np.argsort(-on, kind="stable")[: self._n // 2]
        rest = self._rng.permutation(np.setdiff1d(np.arange(codec.d_sae), often))[: self._n - len(often)]
        chosen = np.sort(np.concatenate([often, rest]))
        return Reading(codec, torch.as_tensor(chosen, device=codec.device)), on[chosen]


def rates(rows: pd.DataFrame, name: object) -> dict[str, Any]:
    """Shares of one bin that pass, each with a 95 % interval over sources."""
    found: dict[str, Any] = {"P(on)": str(name), "pairs": len(rows), "ever on": float((rows["open"] > 0).mean()) if len(rows) else None}
    for label, passed in _passes(rows):
        low, high = _interval(passed, rows["source"])
        found |= {label: round(float(passed.mean()), 4) if len(rows) else None, f"{label} low": low, f"{label} high": high}
    return found


def _passes(rows: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    for level in LEVELS:
        yield f"specific {level}", rows["specific"] < level
    yield "specific 0.05, ever on", (rows["specific"] < 0.05).where(rows["open"] > 0)
    for effect in ("total", "computed"):
        yield f"exists by {effect}", rows[effect] < 0.05


def _interval(passed: pd.Series, source: pd.Series) -> tuple[float, float]:
    """Bootstrap over sources."""
    by = passed.astype(float).groupby(source.to_numpy()).agg(["sum", "count"])
    if not len(by) or not by["count"].sum():
        return float("nan"), float("nan")
    rng = np.random.default_rng(SEED)
    picks = rng.integers(0, len(by), (1000, len(by)))
    values = by["sum"].to_numpy()[picks].sum(axis=1) / np.maximum(by["count"].to_numpy()[picks].sum(axis=1), 1)
    low, high = np.quantile(values, [0.025, 0.975])
    return round(float(low), 4), round(float(high), 4)


if __name__ == "__main__":
    main()
