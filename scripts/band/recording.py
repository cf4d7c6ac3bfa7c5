"""Inputs and outputs of MLPs on disk: for each block ``x-B.f16`` (input after the norm, without its gain), ``y-B.f16`` (what the MLP adds
to the stream), and ``s-B.f32`` (by what the norm multiplied), one row per token, all blocks in the same order.

Matrix products run in bfloat16, sums in float32. Position 0 and special tokens are left out. ``recorded.json`` says how far it got; what a
killed process left after that is written again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph.utils import progress, write_json
from scripts.eval_bundled_saes import counted_mask

ROWS = 32
_FILES = (("x", np.float16), ("y", np.float16), ("s", np.float32))


@dataclass(frozen=True)
class MlpTokens:
    """One MLP at some tokens.

    Attributes:
        x: [n, d_model], its input after the norm, without the norm's gain.
        y: [n, d_model], what it adds to the stream.
        s: [n], by what the norm multiplied the stream.
    """

    x: Tensor
    y: Tensor
    s: Tensor

    def take(self, index: Tensor | NDArray[Any]) -> MlpTokens:
        """Some of the tokens, float32."""
        at = torch.as_tensor(index)
        return MlpTokens(self.x[at].float(), self.y[at].float(), self.s[at])

    def __len__(self) -> int:
        return len(self.s)


@torch.no_grad()
def read_mlps(model: Any, rows: NDArray[np.int32], blocks: Sequence[int], *, bfloat16: bool = False) -> dict[int, MlpTokens]:
    """The MLPs of ``blocks`` at the counted tokens of ``rows`` [n, context], float32."""
    tokens = torch.as_tensor(rows.astype(np.int64), device=model.cfg.device)
    counted = counted_mask(model, tokens)
    hooks = {block: hooks_of(block) for block in blocks}
    kept: dict[str, Tensor] = {}

    def keep(value: Tensor, hook: Any) -> None:
        kept[hook.name] = value[counted].float().cpu()

    with torch.autocast(torch.device(model.cfg.device).type, torch.bfloat16, enabled=bfloat16):
        model.run_with_hooks(
            tokens, fwd_hooks=[(name, keep) for names in hooks.values() for name in names], stop_at_layer=max(blocks) + 1, return_type=None
        )
    return {b: MlpTokens(kept[x], kept[y], 1 / kept[scale].squeeze(-1)) for b, (x, y, scale) in hooks.items()}


def hooks_of(block: int) -> tuple[str, str, str]:
    """TransformerLens' hooks of what is read, what is written, and what the norm divided by."""
    return f"blocks.{block}.ln2.hook_normalized", f"blocks.{block}.hook_mlp_out", f"blocks.{block}.ln2.hook_scale"


def record(model: Any, rows: NDArray[np.int32], blocks: Sequence[int], folder: Path) -> None:
    """Record ``rows`` into ``folder``, on from where it was stopped."""
    state = read_state(folder)
    for first in progress(range(state["rows"], len(rows), ROWS), "recording MLPs"):
        found = read_mlps(model, rows[first : first + ROWS], blocks, bfloat16=True)
        for block, tokens in found.items():
            _append(folder, block, tokens, state["tokens"])
        state = {"rows": min(first + ROWS, len(rows)), "tokens": state["tokens"] + len(found[blocks[0]])}
        write_json(folder / "recorded.json", state)


def read_state(folder: Path) -> dict[str, int]:
    """Rows and tokens that are recorded."""
    path = folder / "recorded.json"
    return dict(json.loads(path.read_text())) if path.exists() else {"rows": 0, "tokens": 0}


def _append(folder: Path, block: int, tokens: MlpTokens, start: int) -> None:
    for name, dtype in _FILES:
        values = getattr(tokens, name).numpy().astype(dtype)
        path = folder / f"{name}-{block}.{_ending(dtype)}"
        with path.open("r+b" if start else "wb") as f:
            f.seek(start * values[0].nbytes)
            f.write(values.tobytes())


def _ending(dtype: Any) -> str:
    return f"f{8 * np.dtype(dtype).itemsize}"


def recorded(folder: Path, block: int, width: int) -> MlpTokens:
    """What was recorded of one block; x and y stay float16."""
    n = read_state(folder)["tokens"]
    x, y, s = (np.fromfile(folder / f"{name}-{block}.{_ending(dtype)}", dtype=dtype) for name, dtype in _FILES)
    return MlpTokens(*(torch.from_numpy(a[: n * width].reshape(n, width)) for a in (x, y)), s=torch.from_numpy(s[:n]))


def usual(tokens: MlpTokens, times: float = 10.0) -> Tensor:
    """Indices of the tokens whose output is not 0 and no longer than ``times`` the median."""
    norm = torch.cat([part.float().norm(dim=1) for part in tokens.y.split(20_000)])
    return torch.nonzero((norm > 0) & (norm <= times * norm.median())).flatten()


def joined(parts: Sequence[Mapping[int, MlpTokens]]) -> dict[int, MlpTokens]:
    """Several readings, one after the other."""
    return {block: MlpTokens(*(torch.cat([getattr(part[block], name) for part in parts]) for name, _ in _FILES)) for block in parts[0]}
