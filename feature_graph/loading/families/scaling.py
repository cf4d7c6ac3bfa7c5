"""Scaling of the input that SAELens keeps beside the weights until training ends, folded as SAELens folds it then.

``expected_average_only_in``: the dictionary reads s·x and its reconstruction is divided by s, with one number s for all tokens. SAELens
multiplies W_enc and divides W_dec and b_dec by it when training ends, and writes ``none`` into the settings; a checkpoint of the middle of
training still says ``expected_average_only_in`` and has s in a file of its own. ``covariance_whitening``: the same with an affine map.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from feature_graph.loading.errors import LoadingError
from feature_graph.loading.families.files import read_json, read_safetensors, read_tensor

log = logging.getLogger(__name__)
SCALER, WHITENING, OLD_STATE = "activation_scaler.json", "activation_whitening.safetensors", "activations_store_state.safetensors"
_OLD_KEY = "estimated_norm_scaling_factor"


def fold_scaling(sae: Any, folder: Path, known: float | None = None) -> None:
    """Fold into ``sae``, in place, what its settings say is not folded.

    Args:
        sae: A SAELens SAE, of inference or of training.
        folder: Where the dictionary lies.
        known: The factor, where a registry states it.

    Raises:
        LoadingError: If the settings ask for a factor that is nowhere.
    """
    asked = sae.cfg.normalize_activations
    if asked == "expected_average_only_in":
        sae.fold_activation_norm_scaling_factor(_factor(folder, known))
    elif asked == "covariance_whitening":
        whitening = _whitening(folder)
        sae.fold_activation_whitening(whitening.mean, whitening.matrix, whitening.inverse_matrix)
    elif (folder / SCALER).is_file() and read_json(folder / SCALER).get("scaling_factor") not in (None, 1, 1.0):
        log.warning("%s gives a factor, but the settings of the dictionary say that none is to be applied; none is", folder / SCALER)


def _factor(folder: Path, known: float | None) -> float:
    found, where = known, "the registry"
    if found is None and (folder / SCALER).exists():
        found, where = read_json(folder / SCALER).get("scaling_factor"), SCALER
    if found is None and (folder / OLD_STATE).exists():
        tensor = read_tensor(folder / OLD_STATE, _OLD_KEY)
        found, where = (None if tensor is None else float(tensor)), OLD_STATE
    if found is None:
        raise LoadingError(
            f"{folder}: normalize_activations = 'expected_average_only_in' says that the scaling of the input is not folded into the "
            f"weights, and no {SCALER} with the factor lies next to them; put it there, or, if they are folded, set the field to 'none'"
        )
    if not isinstance(found, int | float) or not 0 < found < float("inf"):
        raise LoadingError(f"{folder / where}: the factor is {found!r}, expected a positive number")
    log.info("%s: the input's scaling, × %.6g (%s), is folded into the weights", folder, found, where)
    return float(found)


def _whitening(folder: Path) -> Any:
    from sae_lens.training.activation_scaler import ActivationScaler

    scaler = ActivationScaler()
    if (folder / WHITENING).exists():
        tensors = read_safetensors(folder / WHITENING)
        if {"mean", "matrix", "inverse_matrix"} <= set(tensors):
            read_json(folder / SCALER)
            scaler.load(folder / SCALER)
    if scaler.whitening is None:
        raise LoadingError(
            f"{folder}: normalize_activations = 'covariance_whitening' says that the whitening of the input is not folded into the "
            f"weights, and no {SCALER} with {WHITENING} lies next to them"
        )
    log.info("%s: the input's whitening is folded into the weights", folder)
    return scaler.whitening
