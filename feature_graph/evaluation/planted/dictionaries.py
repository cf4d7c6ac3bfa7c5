"""Dictionaries that read a planted world: what each feature stands for, and the SAELens SAE that does it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sae_lens.saes import SAE

Floats = NDArray[np.float64]
Architecture = Literal["standard", "jumprelu", "topk", "batchtopk"]
TEMPLATE = "blocks.{layer}.hook_resid_post"
#: Thresholds in activation units; the smallest planted activation is about 0.5.
THRESHOLD = {"jumprelu": 0.05, "batchtopk": 0.3}
#: Features that win, as a share of a TopK dictionary: few enough that weak features lose now and then.
TOPK_SHARE = 0.3
#: Decoder norm of the JumpReLU dictionaries as shipped, so that folding it to 1 is part of what is tested.
SHIPPED_NORM = {"jumprelu": 2.0}


@dataclass(frozen=True)
class Dictionary:
    """What the features of one site stand for.

    Attributes:
        names: Direction of each feature; a name that stands twice is a duplicate.
        shares: [features], what part of its direction each reads; duplicates share.
        bias: [features], added before the non-linearity; far below 0 for a dead one.
        threshold: Below it a feature is off (0: ReLU).
        k: How many features win at a token; None where all do.
    """

    names: tuple[str, ...]
    shares: Floats
    bias: Floats
    threshold: float
    k: int | None


def dictionary_of(names: tuple[str, ...], architecture: Architecture) -> Dictionary:
    """The dictionary of a site.

    The two halves of a duplicate are alike, but not for TopK, where a tie would be decided by rounding.
    """
    shares = np.array([1 / names.count(name) for name in names])
    if architecture == "topk":
        for name in {n for n in names if names.count(n) == 2}:
            shares[[i for i, n in enumerate(names) if n == name]] = (0.55, 0.45)
    bias = np.array([-10.0 if name == "dead" else 0.0 for name in names])
    k = max(2, round(TOPK_SHARE * len(names))) if architecture == "topk" else None
    return Dictionary(names, shares, bias, THRESHOLD.get(architecture, 0.0), k)


def planted_sae(site: int, plan: Dictionary, directions: dict[str, Floats], architecture: Architecture) -> SAE[Any]:
    """The SAELens SAE of a site; BatchTopK is saved and loaded as SAELens does it, which makes it a JumpReLU SAE."""
    from sae_lens.saes.sae import SAEMetadata

    rows = np.stack([directions[name] for name in plan.names])
    norm = SHIPPED_NORM.get(architecture, 1.0)
    common: dict[str, Any] = {"d_in": rows.shape[1], "d_sae": len(rows), "apply_b_dec_to_input": False}
    common["metadata"] = SAEMetadata(model_name="planted", hook_name=TEMPLATE.format(layer=site))
    sae = _empty(common, plan, architecture)
    with torch.no_grad():
        sae.W_dec.copy_(torch.tensor(rows * norm, dtype=torch.float32))
        sae.W_enc.copy_(torch.tensor((rows * plan.shares[:, None]).T / norm, dtype=torch.float32))
        sae.b_enc.copy_(torch.tensor(plan.bias / norm))
        sae.b_dec.zero_()
        if architecture == "jumprelu":
            sae.threshold.fill_(plan.threshold / norm)
    return _saved(sae, plan.threshold) if architecture == "batchtopk" else sae.eval()


def _empty(common: dict[str, Any], plan: Dictionary, architecture: Architecture) -> Any:
    from sae_lens import saes

    if architecture == "topk":
        return saes.TopKSAE(saes.TopKSAEConfig(**common, k=plan.k or 1))
    if architecture == "batchtopk":
        from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig

        return BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(**common, k=5))
    if architecture == "jumprelu":
        return saes.JumpReLUSAE(saes.JumpReLUSAEConfig(**common))
    return saes.StandardSAE(saes.StandardSAEConfig(**common))


def _saved(sae: Any, threshold: float) -> SAE[Any]:
    from sae_lens.saes import SAE

    sae.topk_threshold.fill_(threshold)
    with tempfile.TemporaryDirectory(prefix="feature-graph-") as folder:
        sae.save_inference_model(folder)
        return SAE.load_from_disk(folder).eval()
