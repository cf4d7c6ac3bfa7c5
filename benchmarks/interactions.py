"""The interaction engine at GPT-2-small's shape: random weights, dictionaries of 24,576 features, float32, contexts of 128.

Four things, each through the library's own stages:

1. *All targets*: sources with 20 samples, high and low, against every feature of the next site (total and pre-activation effect,
   document means and variances, p, kept rows), and of the next two (total and direct). For comparison, torch.matmul in the same run at
   the engine's shapes. ``gemm_fraction`` = (smallest number of operations that the estimand needs ÷ time) ÷ matmul's best rate:
   two rows per sample through the block and the target's encoder. Placebos, horizon and confirmation are timed apart.
2. *The worked example's stage*: 6 layers, 50 features each, window 2, 22,500 pairs, 20 samples: ``measure_interactions`` as it
   is, with placebos, later positions and confirmation.
3. *The per-pair loop*, as a notebook writes it: for every sample of a pair two whole forward passes with a hook, and the target's
   dictionary on the whole context. Timed on a few pairs; its strengths are compared with those of 2.
4. *Responses*: sources of the first site, 25 tokens each, same position, at the next five sites. In the whole model a source has six
   later sites on average. And a source's complete list of edges at the five sites. ``responses_to_all_targets`` is the
   time per source, at six blocks, over that of *all targets* within two sites.

    python benchmarks/interactions.py [--json] [--quick] [--device cpu|cuda]
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from feature_graph.activations import collect_activations
from feature_graph.artifacts import TEST, ActivationStore, CandidateSet, ResponseStore, ResponseWriter, parse_feature_id
from feature_graph.config import Config
from feature_graph.interactions import MeasurementContext, measure_interactions
from feature_graph.interactions.exhaustive.block import Bar, site_floors, source_rows
from feature_graph.interactions.exhaustive.field import SiteSweep, plan_field
from feature_graph.interactions.exhaustive.run import block_size
from feature_graph.interactions.probes import Probe, placebos
from feature_graph.interactions.smallest import SmallestEffect
from feature_graph.interventions import AnalysedModel, CleanDocuments
from feature_graph.responses import ResponseScreen, plan_responses
from feature_graph.responses.measure import half_means
from ingest.formats import CANDIDATES

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

D_MODEL, D_SAE, CONTEXT, SAMPLES, TOP = 768, 24_576, 128, 20, 50
LAYERS = [0, 1, 2, 3, 4, 5]
#: Tokens of each source for its responses, and blocks that follow a source on average over the first eleven of twelve sites.
RESPONSE_SAMPLES, MEAN_BLOCKS = 25, 6.0


def gpt2_shape(device: str) -> HookedTransformer:
    """Random weights in GPT-2-small's shape."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    cfg = HookedTransformerConfig(
        model_name="gpt2-shape",
        n_layers=12,
        d_model=D_MODEL,
        n_ctx=1024,
        d_head=64,
        n_heads=12,
        d_mlp=3072,
        d_vocab=50_257,
        act_fn="gelu_new",
        normalization_type="LN",
        seed=0,
        device=device,
        default_prepend_bos=False,
    )
    return HookedTransformer(cfg).eval()


@torch.no_grad()
def dictionaries(model: HookedTransformer, tokens: torch.Tensor) -> dict[int, Any]:
    """ReLU dictionaries whose features are active at 0.05 % to 2 % of tokens, some 130 at each (bias from the spread of products)."""
    from sae_lens.saes import StandardSAE, StandardSAEConfig
    from sae_lens.saes.sae import SAEMetadata

    names = [f"blocks.{layer}.hook_resid_post" for layer in LAYERS]
    _, cache = model.run_with_cache(tokens, names_filter=lambda name: name in names, return_type=None)
    saes: dict[int, Any] = {}
    for layer, name in zip(LAYERS, names, strict=True):
        generator = torch.Generator().manual_seed(layer)
        sae = StandardSAE(StandardSAEConfig(d_in=D_MODEL, d_sae=D_SAE, metadata=SAEMetadata(hook_name=name), device=str(tokens.device)))
        w = torch.randn(D_SAE, D_MODEL, generator=generator)
        w = (w / w.norm(dim=1, keepdim=True)).to(tokens.device)
        frequency = 10 ** (torch.rand(D_SAE, generator=generator) * 1.6 - 3.3)
        products = cache[name].flatten(0, 1) @ w.T
        level = torch.special.ndtri(1 - frequency).to(tokens.device)
        sae.W_dec.copy_(w)
        sae.W_enc.copy_(w.T)
        sae.b_dec.zero_()
        sae.b_enc.copy_(-(products.mean(0) + level * products.std(0)))
        saes[layer] = sae.eval()
    return saes


@dataclass
class EngineBenchmark:
    """Model, dictionaries and recorded activations."""

    model: HookedTransformer
    saes: dict[int, Any]
    cfg: Config
    store: ActivationStore
    quick: bool

    @classmethod
    def build(cls, device: str, quick: bool, folder: Path) -> EngineBenchmark:
        """Draw random text and record it: 10,240 tokens, as the worked example has."""
        model = gpt2_shape(device)
        tokens = torch.randint(0, 50_257, (80, CONTEXT), generator=torch.Generator().manual_seed(1)).to(device)
        saes = dictionaries(model, tokens[:24])
        cfg = Config(
            model_name="gpt2-shape",
            sae_release="random",
            layers=LAYERS,
            n_tokens=tokens.numel(),
            context_length=CONTEXT,
            n_intervention_samples=SAMPLES,
            layer_window=2,
            sae_quality="off",
            prepend_bos=False,
            top_k_features=TOP,
            device=device,
        )
        store = collect_activations(model, saes, cfg, tokens=tokens, path=folder / "activations.h5")
        return cls(model, saes, cfg, store, quick)

    def busy(self, layer: int, n: int) -> list[int]:
        """The first features of a layer that are active in at least 20 test documents."""
        rows = np.isin(np.arange(self.store.tokens.size) // CONTEXT, np.flatnonzero(self.store.splits == TEST))
        matrix = self.store.activations[layer].tocoo()
        pairs = np.unique(np.stack([matrix.col, matrix.row // CONTEXT])[:, rows[matrix.row]], axis=1)
        return np.flatnonzero(np.bincount(pairs[0], minlength=D_SAE) >= SAMPLES)[:n].tolist()


def matmul_rate(device: str) -> dict[str, float]:
    """Best GFLOP/s of torch.matmul at the engine's shapes, rows × 768 × 24,576 in float32."""
    rates = {}
    weight = torch.randn(D_SAE, D_MODEL, device=device)
    for rows in (40, 160, 640, 1280):
        x, out = torch.randn(rows, D_MODEL, device=device), torch.empty(rows, D_SAE, device=device)
        best = np.inf
        for _ in range(4):
            begun = clock(device)
            torch.mm(x, weight.T, out=out)
            best = min(best, clock(device) - begun)
        rates[str(rows)] = 2 * rows * D_MODEL * D_SAE / best / 1e9
    return rates


def clock(device: str) -> float:
    """Seconds, after everything on the device is done."""
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter()


def operations(next_site: bool) -> float:
    """Smallest number of floating-point operations per source: two rows per sample through block(s), encoders and, for the direct
    effect over two sites, one decoder and a second stream."""
    row = 2 * SAMPLES
    block = row * (24 * D_MODEL**2 + 4 * CONTEXT * D_MODEL)
    encode = row * 2 * D_MODEL * D_SAE
    return float(block + encode if next_site else 3 * block + 4 * encode)


def all_targets(bench: EngineBenchmark, layer: int, window: int, n_sources: int) -> dict[str, float]:
    """Seconds for some sources against every feature of the next ``window`` sites, by part."""
    device, cfg = bench.cfg.device, bench.cfg.model_copy(update={"layer_window": window, "position_horizon": 0, "targets": "all"})
    model = _analysed(bench)
    codecs = model.codecs
    context = MeasurementContext(model, bench.store, dict.fromkeys(codecs, 1.0), cfg)
    seconds: dict[str, float] = {}
    begun = clock(device)
    field = plan_field(context, {layer: bench.busy(layer, n_sources)}, 3 * 2**30)
    site = SiteSweep(context, field).site(layer)
    seconds["clean"] = clock(device) - begun
    sources = field.sources[layer]
    assert len(sources) == n_sources, f"only {len(sources)} of {n_sources} sources have {SAMPLES} documents"
    begun = clock(device)
    random = placebos(sources, cfg.n_placebo, D_MODEL, cfg.seed)
    floors = site_floors(site, random, cfg, block_size(cfg))
    bar = Bar(floors, SmallestEffect.of(cfg, bench.store), cfg.significance_level)
    seconds["placebos"] = clock(device) - begun
    probes = [Probe(s, codecs[layer].w_dec[s.index]) for s in sources]
    rows = 0
    for confirm in (False, True):
        begun = clock(device)
        for k in range(0, len(probes), block_size(cfg)):
            rows += len(source_rows(site, probes[k : k + block_size(cfg)], bar, confirm=confirm))
        seconds["confirmed" if confirm else "measured"] = clock(device) - begun
    later = replace(site, setting=replace(site.setting, horizon=4))
    begun = clock(device)
    few = probes[: block_size(cfg)]
    source_rows(later, few, bar, confirm=False)
    seconds["with_horizon_4"] = (clock(device) - begun) * len(probes) / len(few)
    return seconds | {
        "pairs": float(len(probes) * len(site.path) * D_SAE),
        "kept_share": rows / 2 / (len(probes) * len(site.path) * D_SAE),
    }


def responses(bench: EngineBenchmark, n_sources: int, folder: Path) -> dict[str, float]:
    """Seconds for the responses of some sources of the first site, and for the list of edges of one of them."""
    device, cfg = bench.cfg.device, bench.cfg.model_copy(update={"response_samples": RESPONSE_SAMPLES})
    context = MeasurementContext(_analysed(bench), bench.store, dict.fromkeys(LAYERS, 1.0), cfg)
    chosen = {0: np.flatnonzero(bench.store.feature_frequencies[0] > 0)[: 2 * n_sources].tolist()}
    samples = plan_responses(context, chosen).samples[0].part(0, n_sources)
    begun = clock(device)
    setting = CleanDocuments(context, np.unique(samples.documents)).setting(LAYERS)
    seconds = {"clean": clock(device) - begun}
    begun = clock(device)
    means = half_means(setting, 0, LAYERS[1:], samples)
    seconds["measured"] = clock(device) - begun
    with ResponseWriter(folder / "responses.h5", context.model.sites, {}) as writer:
        writer.sources(0, samples.counts())
        for target, halves in zip(LAYERS[1:], means, strict=True):
            writer.pair(0, target, halves)
            writer.generic(0, target, np.zeros((len(samples), D_MODEL)))
    screen = ResponseScreen(ResponseStore(folder / "responses.h5"), bench.store, context.codecs)
    for name in ("first list of edges", "list of edges"):
        begun = clock(device)
        screen.edges(source=f"L0_F{samples.index[1]}", effect="specific")
        seconds[name] = clock(device) - begun
    return seconds | {"tokens": float(len(samples.documents)), "operations": len(samples.documents) * 5 * 24.0 * D_MODEL**2}


_ANALYSED: dict[int, AnalysedModel] = {}


def _analysed(bench: EngineBenchmark) -> AnalysedModel:
    if id(bench) not in _ANALYSED:
        _ANALYSED[id(bench)] = AnalysedModel.of(bench.model, bench.saes, bench.cfg)
    return _ANALYSED[id(bench)]


def demo_candidates(bench: EngineBenchmark) -> CandidateSet:
    """The 50 most frequent features of each layer, all 22,500 pairs of the window."""
    top = {n: np.sort(np.argsort(-bench.store.feature_frequencies[n])[:TOP]) for n in LAYERS}
    rows = [(s, int(i), t, int(j), 0.0, 0.0, 0, 0.0, "kept") for s, t in bench.cfg.layer_pairs for i in top[s] for j in top[t]]
    return CandidateSet(pd.DataFrame(rows, columns=CANDIDATES.given), bench.store)


@torch.no_grad()
def naive_strengths(bench: EngineBenchmark, source: Any, target_layer: int) -> np.ndarray:
    """The per-pair loop for one source: two whole forward passes with a hook for every sample, the whole dictionary on the whole context.

    Returns all targets' strengths, float64 [d_sae]; a notebook would read one and throw the rest away.
    """
    model, sae = bench.model, bench.saes[target_layer]
    direction = bench.saes[source.layer].W_dec[source.index]
    by_document: dict[int, list[np.ndarray]] = {}
    for document, position, value in zip(source.test.documents, source.test.positions, source.test.values, strict=True):
        tokens = torch.as_tensor(bench.store.tokens[document : document + 1], device=bench.cfg.device)
        levels = []
        for level in (source.high, source.low):
            seen: list[torch.Tensor] = []

            def clamp(x: torch.Tensor, hook: Any, add: float = level - float(value), at: int = int(position)) -> torch.Tensor:
                del hook
                x[:, at] += add * direction
                return x

            def read(x: torch.Tensor, hook: Any, seen: list[torch.Tensor] = seen) -> None:
                del hook
                seen.append(sae.encode(x))

            hooks = [(f"blocks.{source.layer}.hook_resid_post", clamp), (f"blocks.{target_layer}.hook_resid_post", read)]
            model.run_with_hooks(tokens, fwd_hooks=hooks)
            levels.append(seen[0][0, int(position)].double().cpu().numpy())
        by_document.setdefault(int(document), []).append((levels[0] - levels[1]) / (source.high - source.low))
    return np.asarray(np.mean([np.mean(rows, axis=0) for rows in by_document.values()], axis=0))


def against_loop(bench: EngineBenchmark, frame: pd.DataFrame, n_loops: int) -> tuple[float, float]:
    """Seconds per pair of the loop, and the largest difference of strengths over their RMS."""
    from feature_graph.interactions.plan import layer_sources

    rng = np.random.default_rng(0)
    codecs, seconds, errors, squares = _analysed(bench).codecs, [], [], []
    for s, t in [(0, 1), (2, 4), (3, 4), (1, 3)][:n_loops]:
        name = str(rng.choice(frame.loc[frame["src_layer"] == s, "src_id"].unique()))
        index = parse_feature_id(name)[1]
        (source,), _ = layer_sources(bench.store, s, np.array([index]), codecs[s], 1.0, bench.cfg)
        begun = clock(bench.cfg.device)
        strengths = naive_strengths(bench, source, t)
        seconds.append(clock(bench.cfg.device) - begun)
        rows = frame[(frame["src_id"] == name) & (frame["tgt_layer"] == t)]
        targets = rows["tgt_id"].map(lambda one: parse_feature_id(one)[1]).to_numpy()
        mine, theirs = rows["mean_strength"].to_numpy(), strengths[targets]
        errors.append(np.abs(mine - theirs).max())
        squares.append((theirs**2).mean())
    return float(np.mean(seconds)), float(max(errors) / np.sqrt(np.mean(squares)))


def run(device: str, quick: bool) -> dict[str, Any]:
    """All figures."""
    begun = clock(device)

    def say(done: str) -> None:
        print(f"{clock(device) - begun:7.1f} s  {done}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        bench = EngineBenchmark.build(device, quick, Path(folder))
        say("model, dictionaries, activations")
        n_sources = 64 if quick else 256
        rates = matmul_rate(device)
        one, two = all_targets(bench, 2, 1, n_sources), all_targets(bench, 2, 2, n_sources // 2)
        say("all targets")
        carried = responses(bench, n_sources, Path(folder))
        again = matmul_rate(device)
        rates = {rows: max(rate, again[rows]) for rows, rate in rates.items()}
        best = max(rates.values())
        say("responses")
        start = clock(device)
        measured = measure_interactions(bench.model, bench.saes, demo_candidates(bench), bench.cfg, progress=False)
        demo = clock(device) - start
        say("worked example's stage")
        naive, error = against_loop(bench, measured.frame, 1 if quick else 4)
        say("loop")
    whole = D_SAE * (10 * operations(False) + operations(True))
    achieved = {
        "next": operations(True) * n_sources / one["measured"] / 1e9,
        "window2": operations(False) * n_sources / 2 / two["measured"] / 1e9,
    }
    return {
        "pairs_per_s_next_layer": one["pairs"] / one["measured"],
        "pairs_per_s_window2_total_direct": two["pairs"] / two["measured"],
        "gemm_fraction": achieved["next"] / best,
        "gemm_fraction_window2": achieved["window2"] / best,
        "engine_gflops": achieved,
        "matmul_gflops": rates,
        "demo_stage_s": demo,
        "demo_pairs": len(measured),
        "naive_pair_s": naive,
        "ratio_vs_naive": naive * len(measured) / demo,
        "max_rel_error_vs_naive": error,
        "exhaustive_gpt2_small": {
            "pairs": 21 * D_SAE**2,
            "operations": whole,
            "hours_here": whole / achieved["window2"] / 3.6e12,
            "tflops_for_10_minutes": whole / 600 / 1e12,
        },
        "responses_to_all_targets": (carried["measured"] * MEAN_BLOCKS / 5 / n_sources) / _mean_source(one, two, n_sources),
        "responses_gemm_fraction": carried["operations"] / carried["measured"] / 1e9 / best,
        "list_of_edges_s": carried["list of edges"],
        "responses_apart_s": carried,
        "apart_s": {name: {k: v for k, v in x.items() if k != "pairs"} for name, x in (("next", one), ("window2", two))},
        "sources": n_sources,
        "peak_rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(0) if device != "cpu" else "cpu",
        "torch": torch.__version__,
    }


def _mean_source(one: dict[str, float], two: dict[str, float], n: int) -> float:
    """Seconds of a source of eleven of twelve sites with ``targets: all``: ten have two sites in their window, one has one."""
    return (10 * two["measured"] / (n // 2) + one["measured"] / n) / 11


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="fewer sources and one loop")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    figures = run(arguments.device, arguments.quick)
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:34} {value if not isinstance(value, float) else np.format_float_positional(value, 4, fractional=False, trim='-')}")


if __name__ == "__main__":
    main()
