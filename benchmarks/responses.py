"""Responses on a run of the bundled model: what they cost, and how well the screen made of them agrees with exact effects.

``speed`` carries the same directions by the reference (``vmap(jvp)``) and by derivatives written out, in one run, and compares the time
with the matrix products that the arithmetic needs at this machine's best rate.

``band`` does so between dictionaries on components, those of the bundled band; the reference is ``jvp`` with a clean pass per direction.

``screen`` draws sources and targets of a run, half of the targets with P̂ ≥ 0.1, and compares the screen, with and without the term for
tokens near a JumpReLU's threshold, with two exact effects at the very same select tokens: the gated derivative, and the clamp between the
run's levels. Both are averaged within documents, then over documents. Runs with dictionaries on components are taken as well.

``ratio`` measures the responses of some features of a run's first site at every later one, and their effects on every feature there
(``targets: all``, same position, unconfirmed), in one run, and what one source's complete list of edges takes.

``memory`` measures the responses of 64, 512 and all features of each site, one after the other in one process, and reads its peak after
each.

    python benchmarks/responses.py speed [--json]
    python benchmarks/responses.py band [--json]
    python benchmarks/responses.py screen RUN_DIR [--sources 102] [--targets 100] [--json]
    python benchmarks/responses.py ratio RUN_DIR [--sources 102] [--json]
    python benchmarks/responses.py memory RUN_DIR [--json]
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from scipy import stats as scipy_stats

from feature_graph.artifacts import SELECT, ActivationStore, RunPaths, feature_id, feature_key
from feature_graph.cli.common import load_config
from feature_graph.config import Config
from feature_graph.dictionaries import TensorName
from feature_graph.interactions import measure_exhaustive
from feature_graph.interventions import (
    AnalysedModel,
    Clamps,
    CleanDocuments,
    DirectionTokens,
    MeasurementContext,
    Reading,
    Setting,
    arrivals,
    carry_directions,
    carry_site_directions,
    clean_for,
    site_effects,
    site_tangents,
)
from feature_graph.loading import draw_contexts, load_model_and_saes
from feature_graph.responses import LayerSamples, ResponseScreen, measure_responses, plan_responses

N_DIRECTIONS, A_TOKEN = 1024, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "band", "screen", "ratio", "memory"], help="what is measured")
    parser.add_argument("run_dir", nargs="?", help="a run of the bundled model, for screen, ratio and memory")
    parser.add_argument("--sources", type=int, default=102, help="sources: over all sites (screen), of the first site (ratio)")
    parser.add_argument("--targets", type=int, default=100, help="targets of each source, over its later sites")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    if given.what in {"screen", "ratio", "memory"} and given.run_dir is None:
        parser.error(f"{given.what} needs a run directory")
    asked: dict[str, Callable[[], dict[str, Any]]] = {
        "speed": speed,
        "band": band,
        "screen": lambda: screen(Path(given.run_dir), given.sources, given.targets),
        "ratio": lambda: ratio(Path(given.run_dir), given.sources),
        "memory": lambda: memory(Path(given.run_dir)),
    }
    found = asked[given.what]()
    if given.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:44} {value if isinstance(value, str | int) else f'{value:.4g}'}")


def speed() -> dict[str, Any]:
    """Seconds for 1,024 directions from point 12 to every later site, four directions a token, both ways."""
    cfg = Config(layers=[11, 15, 19, 23, 27], n_tokens=16 * 128, sae_quality="off")
    model, saes = load_model_and_saes(cfg)
    analysed = AnalysedModel.of(model, saes, cfg)
    tokens = torch.as_tensor(draw_contexts(model, saes, cfg))
    points, slices = [16, 20, 24, 28], analysed.slices
    clean = slices.residuals(tokens, [12], range(12, 28))
    generator = torch.Generator().manual_seed(0)
    n = N_DIRECTIONS // A_TOKEN
    documents, positions = torch.randint(0, 16, (n,), generator=generator), torch.randint(1, 128, (n,), generator=generator)
    directions = analysed.codecs[11].w_dec[torch.randint(0, 2304, (n, A_TOKEN), generator=generator)]
    at = DirectionTokens.distinct(documents.repeat_interleave(A_TOKEN), positions.repeat_interleave(A_TOKEN))

    def fast() -> list[torch.Tensor]:
        return list(carry_directions(slices, clean, 12, at, directions.flatten(0, 1), points))

    def reference() -> list[torch.Tensor]:
        return [v.flatten(0, 1) for v in arrivals(slices, clean, 12, documents, positions, directions, points)]

    return _compare(fast, reference, "vmap(jvp)", _operations(slices.block(12), 16))


def band() -> dict[str, Any]:
    """Seconds for 1,024 directions from the transcoder of block 8 to all later ones, four directions a token, both ways."""
    cfg = load_config("bundled", ["n_tokens=2048", "sae_quality=off"])
    model, saes = load_model_and_saes(cfg)
    analysed = AnalysedModel.of(model, saes, cfg, components=True)
    slices, (source, *targets) = analysed.slices, [codec.site for codec in analysed.codecs.values()]
    tokens = torch.as_tensor(draw_contexts(model, saes, cfg))
    clean = clean_for(slices, tokens, source, targets)
    generator = torch.Generator().manual_seed(0)
    documents, positions = (torch.randint(low, high, (N_DIRECTIONS // A_TOKEN,), generator=generator) for low, high in ((0, 16), (1, 128)))
    at = DirectionTokens.distinct(documents.repeat_interleave(A_TOKEN), positions.repeat_interleave(A_TOKEN))
    codec = next(iter(analysed.codecs.values()))
    directions = codec.w_dec[torch.randint(0, codec.d_sae, (N_DIRECTIONS,), generator=generator)]
    write, *reads = [(source.point, cast("TensorName", source.writes)), *((t.point, cast("TensorName", t.reads)) for t in targets)]
    each = (at.documents[at.owner], at.positions[at.owner])

    def fast() -> list[torch.Tensor]:
        return [found.arrived for found in carry_site_directions(slices, clean, source, at, directions, targets)]

    def reference() -> list[torch.Tensor]:
        found: list[torch.Tensor] = []
        for where in torch.arange(N_DIRECTIONS).split(256):
            documents, positions = (x[where] for x in each)
            made = site_tangents(slices, clean, documents, positions, write, directions[where], reads)
            found = [torch.cat([one, new.tangent]) for one, new in zip(found or [directions[:0]] * len(reads), made, strict=True)]
        return found

    return _compare(fast, reference, "jvp", _operations(slices.block(12), len(targets)))


def _compare(fast: Callable[[], list[torch.Tensor]], reference: Callable[[], list[torch.Tensor]], name: str, work: float) -> dict[str, Any]:
    """Processor time of both, which must give the same, after a warm-up; ``work`` in operations."""
    fast(), reference()
    times, made = {fast: 0.0, reference: 0.0}, {}
    for _ in range(2):
        for run in times:
            begun = time.process_time()
            made[run] = run()
            times[run] += (time.process_time() - begun) / 2
    error = max(float((a - b).abs().max() / b.square().mean().sqrt()) for a, b in zip(made[fast], made[reference], strict=True))
    rate = _matmul_rate()
    return {
        "CPU s, derivatives written out": times[fast],
        f"CPU s, {name}": times[reference],
        "ratio": times[reference] / times[fast],
        "largest difference / RMS": error,
        "matmul's best rate, GFLOP/s": rate / 1e9,
        "share of it": work / rate / times[fast],
        "peak memory, MB": 1e3 * _peak(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def _matmul_rate() -> float:
    x, w = torch.randn(N_DIRECTIONS, 576), torch.randn(1536, 576)
    best = 0.0
    for _ in range(5):
        begun = time.process_time()
        for _ in range(20):
            torch.nn.functional.linear(x, w)
        best = max(best, 20 * 2 * N_DIRECTIONS * 576 * 1536 / (time.process_time() - begun))
    return best


def _operations(block: Any, n_blocks: int) -> float:
    """Of the weights' matrix products alone."""
    weights = sum(w.numel() for w in (block.w_qkv, block.w_o, block.mlp.w_in, block.mlp.w_out, block.mlp.w_gate) if w is not None)
    return 2.0 * N_DIRECTIONS * n_blocks * weights


def ratio(run_dir: Path, n_sources: int) -> dict[str, Any]:
    """Processor time of responses and of ``targets: all`` for the same sources and sites, after a warm-up of both with one source."""
    cfg, store, analysed = _opened(run_dir)
    cfg = cfg.model_copy(update={"targets": "all", "layer_window": len(analysed.codecs) - 1, "position_horizon": 0, "sample_doublings": 0})
    plan = plan_responses(MeasurementContext.open(analysed, store, cfg))
    layer, samples = next(iter(plan.samples.items()))
    index = np.random.default_rng(0).permutation(samples.index)[:n_sources].tolist()
    with tempfile.TemporaryDirectory() as folder:

        def responses(chosen: list[int], name: str) -> tuple[float, Any]:
            begun = time.process_time()
            at = {layer: sorted(chosen)}
            made = measure_responses(analysed, analysed.saes, store, cfg, Path(folder) / f"{name}.h5", sources=at, progress=False)
            return time.process_time() - begun, made

        def everything(chosen: list[int], name: str) -> tuple[float, Any]:
            begun = time.process_time()
            place = Path(folder) / name
            at = {layer: sorted(chosen)}
            made = measure_exhaustive(
                analysed, analysed.saes, store, cfg, place / "edges.parquet", parts_dir=place, sources=at, confirm=False, progress=False
            )
            return time.process_time() - begun, made

        responses(index[:1], "first"), everything(index[:1], "before")
        (quick, made), (slow, exact) = responses(index, "responses"), everything(index, "all")
        screen = ResponseScreen(made, store, analysed.codecs)
        asked = []
        for one in (index[0], *index[:4]):
            begun = time.process_time()
            found = screen.edges(source=feature_id(layer, one))
            asked.append(time.process_time() - begun)
    return {
        "sources": len(index),
        "pairs": exact.n_tests,
        "CPU s, responses": quick,
        "CPU s, targets: all": slow,
        "ratio": quick / slow,
        "targets of one source": len(found),
        "CPU s, list of edges, first": asked[0],
        "CPU s, list of edges, warm": min(asked[1:]),
        "threads": torch.get_num_threads(),
    }


def _opened(run_dir: Path) -> tuple[Config, ActivationStore, AnalysedModel]:
    paths = RunPaths.of(run_dir)
    cfg, store = Config.load(paths.config), ActivationStore.load(paths.activations)
    return cfg, store, AnalysedModel.of(*load_model_and_saes(cfg), cfg, components=True)


def memory(run_dir: Path) -> dict[str, Any]:
    """Peak memory of this process in GB, and the size of the file, after the responses of more and more features of each site."""
    cfg, store, analysed = _opened(run_dir)
    everything = plan_responses(MeasurementContext.open(analysed, store, cfg))
    found = {"GB with model, dictionaries and activations": _peak()}
    for most in (64, 512, None):
        chosen = {n: samples.index[:most].tolist() for n, samples in everything.samples.items()}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "responses.h5"
            measure_responses(analysed, analysed.saes, store, cfg, path, sources=chosen, progress=False)
            n = sum(map(len, chosen.values()))
            found |= {f"GB after {n} sources": _peak(), f"GB of the file of {n} sources": path.stat().st_size / 1e9}
    return found


def _peak() -> float:
    """GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def screen(run_dir: Path, n_sources: int, n_targets: int) -> dict[str, Any]:
    """Agreement of the screen with exact effects on sources × targets pairs of a run."""
    cfg, store, analysed = _opened(run_dir)
    context = MeasurementContext.open(analysed, store, cfg)
    rng = np.random.default_rng(0)
    everything = plan_responses(context)
    each = max(1, n_sources // len(everything.samples))
    chosen = {n: np.sort(rng.choice(s.index, min(each, len(s.index)), replace=False)).tolist() for n, s in everything.samples.items()}
    with tempfile.TemporaryDirectory() as folder:
        responses = measure_responses(analysed, analysed.saes, store, cfg, Path(folder) / "responses.h5", sources=chosen, progress=False)
        screens = {name: ResponseScreen(responses, store, analysed.codecs, threshold=jump) for name, jump in _SCREENS.items()}
        plan = plan_responses(context, chosen)
        clean = CleanDocuments(context, plan.documents)
        rows = []
        for layer, samples in plan.samples.items():
            setting = clean.setting([layer, *plan.later[layer]])
            for k in range(len(samples)):
                rows.append(_pairs(setting, screens, store, layer, plan.later[layer], samples.part(k, k + 1), n_targets, rng, cfg))
    return _agreement(pd.concat(rows, ignore_index=True))


_SCREENS = {"with threshold term": True, "without": False}


def _pairs(
    setting: Setting,
    screens: dict[str, ResponseScreen],
    store: ActivationStore,
    layer: int,
    later: list[int],
    one: LayerSamples,
    n_targets: int,
    rng: np.random.Generator,
    cfg: Config,
) -> pd.DataFrame:
    found = {
        name: made.edges(source=feature_id(layer, int(one.index[0]))).sort_values("target").reset_index(drop=True)
        for name, made in screens.items()
    }
    frame = found["with threshold term"][["source", "target", "on", "copy"]].copy()
    for name, table in found.items():
        frame[name] = table["total"]
    often = np.flatnonzero(frame["on"] >= 0.1)
    some = rng.choice(often, min(len(often), n_targets // 2), replace=False)
    rest = rng.choice(np.setdiff1d(np.arange(len(frame)), some), n_targets - len(some), replace=False)
    frame = frame.iloc[np.r_[some, rest]].reset_index(drop=True)
    frame["site"], frame["feature"] = zip(*(feature_key(name, setting.codecs) for name in frame["target"]), strict=True)
    exact = [_exact(setting, store, layer, one, group, cfg) for group in _by_site(frame, later)]
    return pd.concat(exact, ignore_index=True)


def _by_site(frame: pd.DataFrame, later: list[int]) -> Iterator[pd.DataFrame]:
    return (frame[frame["site"] == n].reset_index(drop=True) for n in later if (frame["site"] == n).any())


def _exact(setting: Setting, store: ActivationStore, layer: int, one: LayerSamples, frame: pd.DataFrame, cfg: Config) -> pd.DataFrame:
    """Derivative and clamp of one source on some targets of one site, at the tokens of its response."""
    source, codec = setting.codecs[layer].site, setting.codecs[frame["site"].iloc[0]]
    features = torch.tensor(frame["feature"].tolist())
    documents, positions = torch.as_tensor(setting.rows[one.documents]), torch.as_tensor(one.positions)
    directions = setting.codecs[layer].w_dec[int(one.index[0])].expand(len(documents), -1)
    at = DirectionTokens.distinct(documents, positions)
    (found,) = carry_site_directions(setting.slices, setting.clean, source, at, directions, [codec.site])
    pre = codec.preactivation(found.clean[at.owner], features)
    derivative = codec.gate(pre, features) * (found.arrived @ codec.w_enc[:, features])
    values = np.asarray(store.activations[layer][:, [int(one.index[0])]].toarray()).ravel()
    now = torch.as_tensor(values[one.documents * store.context_length + one.positions])
    mine = values[store.rows_of(SELECT)]
    high = float(np.quantile(mine[mine > 0], cfg.clamp_high_quantile))
    clamps = Clamps(documents, positions, directions, high - now, cfg.clamp_low - now)
    counted = torch.ones_like(setting.clean.tokens, dtype=torch.bool)
    (effects,) = site_effects(setting.slices, setting.clean, source, clamps, [Reading(codec, features)], 0, counted)
    by = pd.DataFrame({"document": one.documents})
    for name, sample in (("derivative", derivative), ("clamp", effects.total / (high - cfg.clamp_low))):
        means = pd.DataFrame(sample.double().numpy()).groupby(by["document"]).mean()
        frame[name] = means.mean().to_numpy()
    return frame


def _agreement(pairs: pd.DataFrame) -> dict[str, Any]:
    found: dict[str, Any] = {"pairs": len(pairs)}
    bins = {"all": pairs, "P >= 0.1": pairs[pairs["on"] >= 0.1], "P < 0.1": pairs[pairs["on"] < 0.1]}
    for where, part in bins.items():
        found[f"{where}: pairs"] = len(part)
        for exact in ("derivative", "clamp"):
            for name in (*_SCREENS, "copy"):
                rank = scipy_stats.spearmanr(part[name], part[exact]).statistic
                slope = float((part[name] * part[exact]).sum() / (part[name] ** 2).sum())
                found[f"{where}: {exact}, {name}: Spearman"] = float(rank)
                found[f"{where}: {exact}, {name}: slope"] = slope
    return found


if __name__ == "__main__":
    main()
