"""Train the dictionaries that ship with the project, on the bundled model, with SAELens.

    python scripts/train_bundled_saes.py --workdir build/saes

Stages, each resumed where it was stopped; a stage whose files are there is not run again:

1. ``sample``   rows of the model's own writing (nucleus-free sampling from the top 200 tokens, temperature 0.9): half
                after a bare document start, half in its chat format, where it invents the user's message too.
2. ``collect``  residual streams of all sites, through TransformerLens, float16 on disk, rows in random order. Position 0
                (an attention sink) and special tokens are left out. Matrix products run in bfloat16, sums in float32.
3. ``train``    one BatchTopK SAE per site with SAELens' ``SAETrainer``; inputs scaled to a mean norm of sqrt(d_in), decoder
                rows begun as random centred residuals, decoder bias as their mean.
4. ``publish``  saved as JumpReLU in SAELens' format, weights float16, decoder rows of norm 1.

Speeches are split by a hash of their title: 8 % are held out and are never seen here (scripts/eval_bundled_saes.py).
The same code runs on CPU and CUDA. Everything is seeded; equal results need equal thread counts.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from feature_graph.config import BUNDLED_LAYERS
from feature_graph.loading.builtin_text import sotu_speeches
from feature_graph.loading.bundled import MODEL_NAME, load_bundled_model, load_llama, model_folder
from feature_graph.utils import derived_seed, setup_logging, whole_file, write_json

if TYPE_CHECKING:
    from sae_lens import BatchTopKTrainingSAE
    from sae_lens.saes.sae import SAEMetadata
    from transformer_lens import HookedTransformer

log = logging.getLogger("feature_graph.train")
HELD_OUT_SHARE = 0.08
BLOCK_ROWS = 64


@dataclass(frozen=True)
class TrainingSettings:
    """What decides the result.

    Attributes:
        context: Tokens per row of speeches.
        speech_tokens: Tokens of speeches to choose from.
        sampled_rows: Rows of the model's own writing, made in whole parts of 128; one in eleven is held out.
        sampled_context: Tokens a sampled row.
        recorded_blocks: Blocks of the shuffled mixture that are really recorded (61: 489,888 tokens).
        d_sae: Features a dictionary.
        k: Mean number of active features per token.
        samples: Training samples per site.
        batch: Samples per step.
        lr: Learning rate, warmed up over 5 % of the steps, decayed to zero over the last 30 %.
        seed: Seed of everything.
    """

    context: int = 128
    speech_tokens: int = 800_000
    sampled_rows: int = 448
    sampled_context: int = 64
    recorded_blocks: int = 61
    d_sae: int = 2_304
    k: int = 48
    samples: int = 1_000_000
    batch: int = 1_024
    lr: float = 1.2e-3
    seed: int = 7


def held_out(title: str, seed: int) -> bool:
    """Whether a speech is kept for evaluation only."""
    return derived_seed(seed, "held out", title) / 2**63 < HELD_OUT_SHARE


def speech_rows(settings: TrainingSettings, *, evaluation: bool) -> NDArray[np.int32]:
    """Consecutive, whole contexts of the training (or held-out) speeches, shuffled. int32 [rows, context]."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder())
    texts = [text for title, text in sotu_speeches() if held_out(title, settings.seed) == evaluation]
    rows = []
    for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]:
        whole = len(ids) // settings.context * settings.context
        rows.append(np.asarray(ids[:whole], dtype=np.int32).reshape(-1, settings.context))
    order = np.random.default_rng(derived_seed(settings.seed, "speeches")).permutation(sum(map(len, rows)))
    return np.concatenate(rows)[order]


# --- stage 1: sample -------------------------------------------------------------------------------------------------


@torch.no_grad()
def sample_rows(settings: TrainingSettings, n_rows: int, prefix: str, banned: list[int], device: str) -> NDArray[np.int32]:
    """Sample ``n_rows`` rows after ``prefix``. The document start itself is dropped: rows are read without BOS."""
    from transformers import AutoTokenizer

    folder = model_folder()
    llama = load_llama(folder).to(device, torch.bfloat16)
    start = AutoTokenizer.from_pretrained(folder).encode(prefix, add_special_tokens=False)
    drop = 1 if prefix == "<|endoftext|>" else 0
    last = torch.tensor([start] * n_rows, device=device)
    written, past = [last], None
    for _ in range(settings.sampled_context + drop - len(start)):
        out = llama(last, past_key_values=past, use_cache=True, logits_to_keep=1)
        past = out.past_key_values
        logits = out.logits[:, -1].float() / 0.9
        logits[:, banned] = -torch.inf
        values, indices = logits.topk(200)
        last = indices.gather(1, torch.multinomial(values.softmax(-1), 1))
        written.append(last)
    return torch.cat(written, 1)[:, drop:].cpu().numpy().astype(np.int32)


def sample(settings: TrainingSettings, workdir: Path, device: str, batch: int = 128) -> None:
    """Write ``sampled.npy``, int32 [rows, sampled_context], from parts of ``batch`` rows."""
    if (workdir / "sampled.npy").exists():
        return
    kinds = [("<|endoftext|>", [0, 1, 2]), ("<|im_start|>user\n", [0])]
    n_parts = -(-settings.sampled_rows * 11 // 10 // batch)
    parts = []
    for part in range(n_parts):
        path = workdir / f"sampled-{part:03d}.npy"
        if not path.exists():
            begun = time.monotonic()
            torch.manual_seed(derived_seed(settings.seed, "sample", part))
            prefix, banned = kinds[part % 2]
            rows = sample_rows(settings, batch, prefix, banned, device)
            with whole_file(path) as temporary, temporary.open("wb") as f:
                np.save(f, rows)
            log.info("sampled part %d of %d, %.0f tokens/s", part + 1, n_parts, rows.size / (time.monotonic() - begun))
        parts.append(np.load(path))
    with whole_file(workdir / "sampled.npy") as temporary, temporary.open("wb") as f:
        np.save(f, np.concatenate(parts))


def sampled_split(settings: TrainingSettings, workdir: Path, *, evaluation: bool) -> NDArray[np.int32]:
    """The training rows, or the held-out tenth, of the model's own writing."""
    rows = np.load(workdir / "sampled.npy")
    order = np.random.default_rng(derived_seed(settings.seed, "sampled")).permutation(len(rows))
    cut = len(rows) * 10 // 11
    return rows[order[cut:] if evaluation else order[:cut]]


# --- stage 2: collect ------------------------------------------------------------------------------------------------


def blocks_of_rows(settings: TrainingSettings, workdir: Path) -> list[NDArray[np.int32]]:
    """Training rows in blocks of one width, speeches and sampled text mixed at random."""
    speeches = speech_rows(settings, evaluation=False)[: settings.speech_tokens // settings.context]
    blocks = [speeches[i : i + BLOCK_ROWS] for i in range(0, len(speeches), BLOCK_ROWS)]
    if settings.sampled_rows:
        sampled = sampled_split(settings, workdir, evaluation=False)
        blocks += [sampled[i : i + 2 * BLOCK_ROWS] for i in range(0, len(sampled), 2 * BLOCK_ROWS)]
    order = np.random.default_rng(derived_seed(settings.seed, "blocks")).permutation(len(blocks))
    return [blocks[i] for i in order[: settings.recorded_blocks]]


def hook_name(layer: int) -> str:
    """Hook of the residual stream after block ``layer``."""
    return f"blocks.{layer}.hook_resid_post"


@torch.no_grad()
def residuals(model: HookedTransformer, rows: NDArray[np.int32], layers: list[int], device: str) -> dict[int, torch.Tensor]:
    """Residual stream at each layer for the tokens that count. float16 [n, d_model] each."""
    tokens = torch.tensor(rows, dtype=torch.long, device=device)
    counted = tokens > 2  # 0, 1 and 2 are the special tokens
    counted[:, 0] = False
    names = {hook_name(layer): layer for layer in layers}
    kept: dict[int, torch.Tensor] = {}

    def keep(value: torch.Tensor, hook: object) -> None:
        kept[names[hook.name]] = value[counted].to(torch.float16)  # type: ignore[attr-defined]

    with torch.autocast(torch.device(device).type, torch.bfloat16):
        model.run_with_hooks(tokens, fwd_hooks=[(name, keep) for name in names], stop_at_layer=max(layers) + 1)
    return kept


def collect(settings: TrainingSettings, workdir: Path, layers: list[int], device: str) -> None:
    """Append the residuals of each block to ``acts-<layer>.f16``; ``collected.json`` says how far it got."""
    state_file = workdir / "collected.json"
    state = json.loads(state_file.read_text()) if state_file.exists() else {"blocks": 0, "rows": 0}
    blocks = blocks_of_rows(settings, workdir)
    if state["blocks"] == len(blocks):
        return
    model = load_bundled_model(device)
    d_model, begun, first = model.cfg.d_model, time.monotonic(), state["blocks"]
    for index in range(first, len(blocks)):
        found = residuals(model, blocks[index], layers, device)
        for layer, values in found.items():
            with (workdir / f"acts-{layer}.f16").open("r+b" if state["blocks"] else "wb") as f:
                f.seek(state["rows"] * d_model * 2)
                f.write(values.cpu().numpy().tobytes())
        state = {"blocks": index + 1, "rows": state["rows"] + len(found[layers[0]])}
        write_json(state_file, state)
        pace = (time.monotonic() - begun) / (index + 1 - first)
        log.info("collected %d of %d blocks, %d rows, %.0f s left", index + 1, len(blocks), state["rows"], pace * (len(blocks) - index - 1))


# --- stage 3: train --------------------------------------------------------------------------------------------------


def shuffled(values: NDArray[np.float16], batch: int, seed: int, device: str) -> Iterator[torch.Tensor]:
    """Batches without end, each epoch in its own order. float32 [batch, d_in]."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(values))
        for i in range(0, len(order) - batch + 1, batch):
            yield torch.from_numpy(values[order[i : i + batch]]).to(device).float()


def metadata(settings: TrainingSettings, layer: int) -> SAEMetadata:
    """What a user must know to feed the dictionary as it was trained."""
    from sae_lens.saes.sae import SAEMetadata

    return SAEMetadata(
        model_name=MODEL_NAME,
        hook_name=hook_name(layer),
        context_size=settings.context,
        prepend_bos=False,
        model_from_pretrained_kwargs={},
        exclude_special_tokens=True,
        exclude_first_position=True,
        dataset_path="builtin:sotu and text sampled from the model",
    )


def begin(sae: BatchTopKTrainingSAE, values: NDArray[np.float16], scale: float, seed: int) -> None:
    """Decoder bias := mean residual; decoder rows := random centred residuals of norm 0.1; encoder := transpose."""
    rng = np.random.default_rng(seed)
    some = torch.from_numpy(values[rng.choice(len(values), size=20_000, replace=len(values) < 20_000)]).float() * scale
    mean = some.mean(0)
    rows = some[: sae.cfg.d_sae] - mean
    rows = 0.1 * rows / rows.norm(dim=1, keepdim=True)
    with torch.no_grad():
        sae.b_dec.copy_(mean)
        sae.W_dec.copy_(rows)
        sae.W_enc.copy_(rows.T)


def train(settings: TrainingSettings, workdir: Path, layer: int, device: str) -> None:
    """Train the SAE of one layer and save it in SAELens' inference form, float32, below ``workdir/trained``."""
    from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    target = workdir / "trained" / hook_name(layer)
    if target.exists():
        return
    rows = json.loads((workdir / "collected.json").read_text())["rows"]
    values = np.fromfile(workdir / f"acts-{layer}.f16", dtype=np.float16).reshape(rows, -1)
    d_in, seed = values.shape[1], derived_seed(settings.seed, "train", layer)
    scale = float(d_in**0.5 / np.linalg.norm(values[:20_000].astype(np.float32), axis=1).mean())
    torch.manual_seed(seed)
    sae = BatchTopKTrainingSAE(
        BatchTopKTrainingSAEConfig(
            d_in=d_in,
            d_sae=settings.d_sae,
            k=settings.k,
            normalize_activations="expected_average_only_in",
            topk_threshold_lr=0.02,
            device=device,
            metadata=metadata(settings, layer),
        )
    )
    begin(sae, values, scale, seed)
    steps = settings.samples // settings.batch
    trainer = SAETrainer(
        SAETrainerConfig(
            total_training_samples=settings.samples,
            train_batch_size_samples=settings.batch,
            lr=settings.lr,
            lr_end=0.0,
            lr_warm_up_steps=steps // 20,
            lr_decay_steps=steps * 3 // 10,
            dead_feature_window=100,
            feature_sampling_window=10 * steps,
            device=device,
            autocast=True,
            logger=LoggingConfig(log_to_wandb=False),
        ),
        sae,
        shuffled(values, settings.batch, seed, device),
    )
    trainer.activation_scaler.scaling_factor = scale
    trainer.fit()
    part = target.with_name(target.name + ".part")
    sae.save_inference_model(part)
    part.rename(target)


# --- stage 4: publish ------------------------------------------------------------------------------------------------


def publish(workdir: Path, target: Path, layers: list[int]) -> None:
    """Copy the trained dictionaries to ``target``, weights as float16."""
    for layer in layers:
        source, folder = workdir / "trained" / hook_name(layer), target / hook_name(layer)
        folder.mkdir(parents=True, exist_ok=True)
        weights = load_file(source / "sae_weights.safetensors")
        save_file({k: v.to(torch.float16).contiguous() for k, v in weights.items()}, folder / "sae_weights.safetensors")
        cfg = json.loads((source / "cfg.json").read_text())
        write_json(folder / "cfg.json", {**cfg, "dtype": "float32", "device": "cpu"})


def main() -> None:
    """Read the command line and run the stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="where everything in between lies")
    parser.add_argument("--target", type=Path, help="where the finished dictionaries go (default: WORKDIR/published)")
    parser.add_argument("--stage", choices=["sample", "collect", "train", "publish", "all"], default="all")
    parser.add_argument("--layers", type=int, nargs="+", default=list(BUNDLED_LAYERS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads (0: torch's choice)")
    for name, value in asdict(TrainingSettings()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    args = parser.parse_args()
    settings = TrainingSettings(**{name: getattr(args, name) for name in asdict(TrainingSettings())})
    setup_logging()
    if args.threads:
        torch.set_num_threads(args.threads)
    args.workdir.mkdir(parents=True, exist_ok=True)
    if args.stage in ("sample", "all") and settings.sampled_rows:
        sample(settings, args.workdir, args.device)
        np.save(args.workdir / "sampled-heldout.npy", sampled_split(settings, args.workdir, evaluation=True))
    if args.stage in ("collect", "all"):
        collect(settings, args.workdir, list(BUNDLED_LAYERS), args.device)
    if args.stage in ("train", "all"):
        for layer in args.layers:
            train(settings, args.workdir, layer, args.device)
    if args.stage in ("publish", "all"):
        publish(args.workdir, args.target or args.workdir / "published", args.layers)


if __name__ == "__main__":
    main()
