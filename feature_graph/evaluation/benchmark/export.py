"""Writing benchmark models so that any program can run on them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.torch import save_file

from feature_graph.artifacts import feature_id
from feature_graph.evaluation.benchmark.errors import BenchmarkError
from feature_graph.evaluation.benchmark.models import BenchmarkModel, benchmark_model
from feature_graph.utils import write_json

#: Fields of a HookedTransformerConfig that a planted or compiled model sets.
_FIELDS = (
    *("model_name", "n_layers", "d_model", "d_head", "n_heads", "d_mlp", "d_vocab", "d_vocab_out", "n_ctx", "act_fn"),
    *("normalization_type", "eps", "default_prepend_bos"),
)


def export_models(names: Iterable[str], folder: str | Path) -> list[Path]:
    """Write models, dictionaries and text, one folder per model.

    A folder holds ``config.json`` (fields of a HookedTransformerConfig and ``dtype``), ``model.safetensors`` (its state dict),
    ``saes/layer_N`` (SAELens), ``tokens.npy`` (int64 [documents, context]), and ``features.csv`` (``feature``, ``layer``, ``index``,
    ``hook``).

    Raises:
        BenchmarkError: If a model is not known, or its folder is not empty.
    """
    written = []
    for name in names:
        model, place = benchmark_model(name), Path(folder) / name
        if place.exists() and any(place.iterdir()):
            raise BenchmarkError(f"{place}: the folder is not empty; expected a new one, so that no old file is taken for this model's")
        _write(model, place)
        written.append(place)
    return written


def _write(model: BenchmarkModel, place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    hooked: Any = model.model
    state = {name: value.contiguous().clone() for name, value in hooked.state_dict().items()}
    save_file(state, place / "model.safetensors")
    values = {name: getattr(hooked.cfg, name) for name in _FIELDS}
    write_json(place / "config.json", values | {"dtype": str(hooked.cfg.dtype).removeprefix("torch.")})
    np.save(place / "tokens.npy", model.tokens)
    rows = []
    for layer, sae in sorted(model.saes.items()):
        sae.save_model(place / "saes" / f"layer_{layer}")
        hook = sae.cfg.metadata.hook_name
        rows += [(feature_id(layer, index), layer, index, hook) for index in range(model.size(layer))]
    pd.DataFrame(rows, columns=["feature", "layer", "index", "hook"]).to_csv(place / "features.csv", index=False)
