"""Where features' directions arrive: at tokens where a feature is active its direction is put in, and its derivative is read at the MLPs of
later blocks at the same token, everything between free (:func:`feature_graph.interventions.site_tangents`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from feature_graph.dictionaries import SiteCodec
from feature_graph.interventions import ModelSlices, Where, read_at, site_tangents, tapped_run, write_at
from feature_graph.utils import progress
from scripts.band.directions import is_held_out
from scripts.eval_bundled_saes import counted_mask

_CHUNK = 256


@dataclass(frozen=True)
class EarlierDictionary:
    """An earlier dictionary.

    Attributes:
        name: Of its files.
        codec: Its encoder and decoder.
    """

    name: str
    codec: SiteCodec


@dataclass(frozen=True)
class Arrivals:
    """Directions that arrived at one block's MLP.

    Attributes:
        x: [n, D], normalised stream before the MLP at the token.
        dx: [n, D], its change per unit of the change of the stream.
        features: int64 [n], whose direction it was.
    """

    x: Tensor
    dx: Tensor
    features: Tensor

    @classmethod
    def joined(cls, several: Sequence[Arrivals]) -> Arrivals:
        """Several together."""
        return cls(*(torch.cat([getattr(one, name) for one in several]) for name in ("x", "dx", "features")))

    def part(self, *, evaluation: bool) -> Arrivals:
        """Those of held-out features, or the others."""
        at = is_held_out(self.features) == evaluation
        return Arrivals(self.x[at], self.dx[at], self.features[at])


class CleanText:
    """One clean run over rows, shared by all sources.

    Args:
        model: A HookedTransformer.
        rows: int32 [n, context].
        sites: Sites of residual dictionaries that are among the sources, as (block, tensor).
        blocks: Blocks whose MLPs are read; transcoders of them may be among the sources.
    """

    def __init__(self, model: Any, rows: NDArray[np.int32], sites: Sequence[Where], blocks: Sequence[int]) -> None:
        self.slices, self.blocks = ModelSlices(model), tuple(blocks)
        tokens = torch.as_tensor(rows.astype(np.int64), device=model.cfg.device)
        self.counted = counted_mask(model, tokens)
        first = min([*blocks, *(block for block, _ in sites)])
        read = [*sites, *((block, "mlp_normalized") for block in blocks)]
        self.clean, self.found = tapped_run(self.slices, tokens, read, range(first, max(blocks) + 1))

    @torch.no_grad()
    def arrivals(self, source: EarlierDictionary, n: int, seed: int) -> dict[int, Arrivals]:
        """Carry active features of a source to every later block of the band, from up to ``n`` random tokens."""
        documents, positions, features = self.active(source, n, seed)
        at = write_at(source.codec.site, self.slices.n_blocks)
        later = [block for block in self.blocks if block > source.codec.site.layer]
        parts: dict[int, list[Arrivals]] = {block: [] for block in later}
        read: list[Where] = [(block, name) for block in later for name in ("mlp_stream", "mlp_normalized")]
        for some in progress(torch.arange(len(features)).split(_CHUNK), f"arrivals of {source.name}"):
            rows = source.codec.w_dec[features[some]]
            moved = site_tangents(self.slices, self.clean, documents[some], positions[some], at, rows, read)
            for block, stream, normalised in zip(later, moved[::2], moved[1::2], strict=True):
                length = stream.tangent.norm(dim=1, keepdim=True).clamp_min(1e-12)
                parts[block].append(Arrivals(normalised.value, normalised.tangent / length, features[some]))
        return {block: Arrivals.joined(some) for block, some in parts.items()}

    def active(self, source: EarlierDictionary, n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Documents, positions, and at each of these tokens one of the features that are active there."""
        generator = torch.Generator().manual_seed(seed)
        at = torch.nonzero(self.counted)
        at = at[torch.randperm(len(at), generator=generator)[:n]]
        read = self.found[read_at(source.codec.site, self.slices.n_blocks)][at[:, 0], at[:, 1]]
        weights = (torch.cat([source.codec.record(part) for part in read.split(1024)]) > 0).float()
        any_on = weights.sum(1) > 0
        features = torch.multinomial(weights[any_on], 1, generator=generator)[:, 0]
        return at[any_on, 0], at[any_on, 1], features
