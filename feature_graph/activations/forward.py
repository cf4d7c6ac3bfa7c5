"""One pass of the model up to the last analysed site, and the features of what was read there."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph.activations.errors import CollectError
from feature_graph.dictionaries import HookedModel, SiteCodec


def read_hooks(model: HookedModel, names: Iterable[str], tokens: NDArray[np.int64]) -> dict[str, Tensor]:
    """Hook → its value, float32 [n, context, …]; blocks after the last hook's are not run.

    Raises:
        CollectError: If a hook did not fire, or a value is NaN or infinite.
    """
    hooks = list(dict.fromkeys(names))
    seen: dict[str, Tensor] = {}

    def record(x: Tensor, hook: Any, name: str) -> None:  # noqa: ARG001 (a bridge's hook may call itself by another name)
        seen[name] = x.detach().float()

    last = max(int(hook.split(".")[1]) for hook in hooks)
    with torch.no_grad():
        ids = torch.as_tensor(tokens, device=model.cfg.device)
        model.run_with_hooks(ids, stop_at_layer=last + 1, fwd_hooks=[(hook, partial(record, name=hook)) for hook in hooks])
    lost = [hook for hook in hooks if hook not in seen]
    if lost:
        raise CollectError(f"hooks {lost} did not fire in a forward pass up to block {last}; nothing was collected")
    broken = [hook for hook, x in seen.items() if not torch.isfinite(x).all()]
    if broken:
        raise CollectError(f"what the model gives at {broken[0]} is NaN or infinite; load the model in float32 and check its weights")
    return seen


@torch.no_grad()
def record_features(codec: SiteCodec, residual: Tensor, valid: NDArray[np.bool_]) -> sp.csr_matrix:
    """Active features of counted tokens, CSR float32 [n * context, d_sae], folded units; rows that are not counted are empty."""
    acts = codec.record(residual.flatten(0, 1))
    active = codec.is_active(acts) & torch.as_tensor(valid.ravel(), device=acts.device)[:, None]
    rows, features = active.nonzero(as_tuple=True)
    counts = torch.bincount(rows, minlength=len(acts)).cpu().numpy()
    indptr = np.concatenate([[0], np.cumsum(counts)])
    values, columns = acts[rows, features].cpu().numpy(), features.to(torch.int32).cpu().numpy()
    return sp.csr_matrix((values, columns, indptr), shape=(len(acts), codec.d_sae))
