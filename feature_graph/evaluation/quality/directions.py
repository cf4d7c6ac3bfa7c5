"""Directions of the residual stream that a component is asked for its response to, and the tokens at which it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph.dictionaries import SiteCodec
from feature_graph.interventions import ModelSlices, random_directions
from feature_graph.utils import derived_seed


@dataclass(frozen=True)
class StreamDirections:
    """Directions, each at one token.

    Attributes:
        documents: int64 [S], rows of the clean run.
        positions: int64 [S].
        directions: [S, d_model].
    """

    documents: Tensor
    positions: Tensor
    directions: Tensor

    @classmethod
    def joined(cls, parts: Sequence[StreamDirections]) -> StreamDirections:
        """All of some."""
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in ("documents", "positions", "directions")))

    def unit(self) -> StreamDirections:
        """Each of length 1; those of length 0 are left out."""
        length = self.directions.norm(dim=1)
        kept = length > 0
        return StreamDirections(self.documents[kept], self.positions[kept], self.directions[kept] / length[kept, None])


def generators(seed: int, documents: range) -> list[np.random.Generator]:
    """One for each document, so that what is drawn does not depend on how many are run together."""
    return [np.random.default_rng(derived_seed(seed, "response directions", document)) for document in documents]


def some_tokens(valid: Tensor, n: int, rngs: Sequence[np.random.Generator]) -> tuple[Tensor, Tensor]:
    """Up to ``n`` counted tokens of each document of bool [n_docs, context]: documents and positions."""
    rows = [rng.permutation(np.flatnonzero(row))[:n] for row, rng in zip(valid.cpu().numpy(), rngs, strict=True)]
    documents = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    return torch.as_tensor(documents, device=valid.device), torch.as_tensor(np.concatenate(rows), device=valid.device)


def isotropic(documents: Tensor, d_model: int, rngs: Sequence[np.random.Generator]) -> Tensor:
    """A random direction for each token, whose document is given: [S, d_model]."""
    counts = np.bincount(documents.cpu().numpy(), minlength=len(rngs))
    rows = [random_directions(int(count), d_model, rng) for count, rng in zip(counts, rngs, strict=True)]
    return torch.cat(rows).to(documents.device)


def decoder_rows(slices: ModelSlices, sources: Sequence[SiteCodec], documents: Tensor, rngs: Sequence[np.random.Generator]) -> Tensor:
    """What a random feature writes into the stream, for each token, whose document is given: [S, d_model].

    Every dictionary is as likely as another.
    """
    counts = np.bincount(documents.cpu().numpy(), minlength=len(rngs))
    chance = np.concatenate([rng.random((count, 2)) for count, rng in zip(counts, rngs, strict=True)])
    owner = (chance[:, 0] * len(sources)).astype(np.int64)
    rows = torch.zeros(len(owner), slices.d_model, device=slices.device, dtype=slices.dtype)
    for k, codec in enumerate(sources):
        mine, writing = np.flatnonzero(owner == k), codec.writes.nonzero().flatten().cpu().numpy()
        if len(mine) and len(writing):
            features = writing[(chance[mine, 1] * len(writing)).astype(np.int64)]
            rows[torch.as_tensor(mine, device=rows.device)] = _stream_rows(slices, codec, features).to(rows)
    return rows


def _stream_rows(slices: ModelSlices, codec: SiteCodec, features: NDArray[np.int64]) -> Tensor:
    rows = codec.stream_directions(features)
    after = slices.block(codec.site.point).post1 if codec.site.kind == "hook_z" else None
    return rows if after is None or after.w is None else rows * after.w.to(rows)


def active_features(
    codec: SiteCodec, x: Tensor, valid: Tensor, n: int, rngs: Sequence[np.random.Generator]
) -> tuple[Tensor, Tensor, NDArray[np.int64]]:
    """Features at tokens where they are active: up to ``n`` random ones of each document, each at one of its tokens there.

    Args:
        codec: The dictionary.
        x: The tensor that it reads [n_docs, context, d_in].
        valid: bool [n_docs, context], tokens that count.
        n: Features of each document.
        rngs: One for each document.

    Returns:
        Documents int64 [S], positions int64 [S] and features [S].
    """
    found = []
    for document, (values, counted, rng) in enumerate(zip(x, valid, rngs, strict=True)):
        positions = counted.nonzero().flatten()
        active = codec.is_active(codec.record(values[positions].to(codec.w_enc.dtype)))
        for feature in rng.permutation(active.any(0).nonzero().flatten().cpu().numpy())[:n]:
            at = active[:, int(feature)].nonzero().flatten().cpu().numpy()
            found.append((document, int(positions[int(rng.choice(at))]), int(feature)))
    table = np.asarray(found, dtype=np.int64).reshape(-1, 3)
    documents, positions = (torch.as_tensor(table[:, k], device=valid.device) for k in (0, 1))
    return documents, positions, table[:, 2]
