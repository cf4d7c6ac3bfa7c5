"""How well a dictionary reconstructs the tensor that it is to write, and which of several readings it was made for."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from feature_graph.dictionaries.codec import SiteCodec
from feature_graph.dictionaries.errors import QualityError
from feature_graph.dictionaries.placements import Placement

_LONG = 5.0


def longest_typical(norms: Tensor) -> Tensor:
    """The norm up to which a vector is typical, five times the median of ``norms`` [n]: the few far longer ones would decide any mean."""
    return _LONG * norms.median()


def typical(x: Tensor) -> Tensor:
    """Bool [n]: the typical vectors of [n, d]."""
    norm = x.norm(dim=1)
    return norm <= longest_typical(norm)


def explained_variance(x: Tensor, reconstructed: Tensor) -> float:
    """1 − squared error / variance over the typical vectors of ``x`` [n, d]; 0 is as good as their mean, below is worse."""
    kept = typical(x)
    error = (reconstructed - x)[kept].square().sum()
    return float(1 - error / (x[kept] - x[kept].mean(0)).square().sum())


@torch.no_grad()
def choose_placement(
    name: str, codec: SiteCodec, reads: Mapping[Placement, Tensor], written: Tensor, also: Mapping[Placement, Tensor] | None
) -> Placement:
    """The placement by which a dictionary reconstructs best, of those that its records allow.

    Args:
        name: Of the site, for messages.
        codec: The dictionary.
        reads: Allowed placement → the tensor that is read by it, [n, d_in].
        written: The tensor that is to be reconstructed, [n, d_out].
        also: The same for placements that the records do not allow, which are only told about where the others fail. None: the best one
            is taken, good or bad.

    Raises:
        QualityError: If none reconstructs better than the mean of what is to be written; every reading that was tried is named.
    """
    found = {placement: explained_variance(written, codec.reconstruct(x)) for placement, x in reads.items()}
    best = max(found, key=lambda placement: found[placement] if found[placement] == found[placement] else -torch.inf)
    if found[best] > 0 or also is None:
        return best
    others = {placement: explained_variance(written, codec.reconstruct(x)) for placement, x in also.items()}
    tried = [f"{ev:.3g} reading {placement.reads}" for placement, ev in found.items()]
    tried += [f"{ev:.3g} reading {placement.reads}, which it does not record" for placement, ev in others.items()]
    raise QualityError(
        f"{name}: the dictionary reconstructs {best.writes} of block {best.block} no better than its mean over these tokens; explained "
        f"variance: {'; '.join(tried)}. It is not for this model, place, weight processing or BOS setting; correct metadata.hook_name if a "
        "reading that it does not record fits"
    )
