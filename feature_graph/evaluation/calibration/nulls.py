"""Null runs: worlds in which there is nothing to find, and what is found all the same.

- ``disjoint``: no source has a path to any target; what moves the targets comes from directions in no dictionary. Only rounding
  noise is left, with and without ``min_effect``; and, as a comparison, what the test alone would call found without any floor.
- ``placebo``: a dictionary of random isotropic directions is measured like any other, against placebos drawn apart from them.
- ``scrambled``: real effects, each document's with a random sign: their mean is 0 by construction, their size is not.
- ``shuffled``: the weights of every block shuffled. Not a null (the clamp still travels along the residual stream), a comparison.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from feature_graph.analysis import mostly_copy
from feature_graph.config import Config
from feature_graph.evaluation.calibration.scramble import scrambled
from feature_graph.evaluation.calibration.variants import run_stages
from feature_graph.evaluation.planted import PlantedModel, disjoint_wiring, planted_model
from feature_graph.interventions import random_directions
from feature_graph.utils import derived_seed

NULLS = ("disjoint", "placebo", "scrambled", "shuffled")
_DOCUMENTS, _CONTEXT = 128, 16
#: Of the rule with floors. Without them random directions do have effects: that an edge exists does not say that it is specific.
_PLACEBOS = 32


def measure_null(name: str, seed: int) -> dict[str, Any]:
    """Tests made and passed in one null run, as plain values."""
    return {"disjoint": _disjoint, "placebo": _placebo, "scrambled": scrambled, "shuffled": _shuffled}[name](seed)


def _disjoint(seed: int) -> dict[str, Any]:
    planted = planted_model(seed, wiring=disjoint_wiring(), n_docs=_DOCUMENTS, context=_CONTEXT)
    found = _counts(run_stages(planted, planted.config())[1].frame)
    bare = _counts(run_stages(planted, planted.config(min_effect=0.0, n_placebo=_PLACEBOS))[1].frame)
    test_alone = _counts(run_stages(planted, planted.config(min_effect=0.0, n_placebo=0))[1].frame)
    return found | {"without_min_effect": bare, "test_alone": test_alone}


def _placebo(seed: int) -> dict[str, Any]:
    planted = planted_model(seed, n_docs=_DOCUMENTS, context=_CONTEXT)
    sae: Any = planted.saes[0]
    random = random_directions(sae.cfg.d_sae, sae.cfg.d_in, torch.Generator().manual_seed(derived_seed(seed, "held-out placebos")))
    with torch.no_grad():
        sae.W_dec.copy_(random)
        sae.W_enc.copy_(random.T)
        sae.b_enc.zero_()
    frame = run_stages(planted, planted.config(n_placebo=_PLACEBOS))[1].frame
    return _counts(frame[frame["src_layer"] == 0])


def _shuffled(seed: int) -> dict[str, Any]:
    planted = planted_model(seed, overlap=0.25, n_docs=_DOCUMENTS, context=_CONTEXT)
    cfg = planted.config()
    whole = _edges(planted, cfg)
    generator = torch.Generator().manual_seed(derived_seed(seed, "shuffled weights"))
    with torch.no_grad():
        for name, weight in planted.model.named_parameters():
            if name.startswith("blocks."):
                order = torch.randperm(weight.numel(), generator=generator)
                weight.copy_(weight.flatten()[order].view_as(weight))
    return _edges(planted, cfg) | {"unshuffled": whole}


def _edges(planted: PlantedModel, cfg: Config) -> dict[str, Any]:
    frame = run_stages(planted, cfg)[1].frame
    edges = frame[frame["significant"]]
    copies = mostly_copy(edges["mean_strength"].to_numpy(), edges["copy_strength"].to_numpy())
    return _counts(frame) | {"copies": int(copies.sum())}


def _counts(frame: pd.DataFrame) -> dict[str, Any]:
    by = frame["significant_by"].str.split("+")
    effects = {name: int(by.map(lambda names, n=name: n in names).sum()) for name in ("total", "direct", "later", "computed")}
    return {"tests": len(frame), "found": int(np.asarray(frame["significant"]).sum()), "by_effect": effects}
