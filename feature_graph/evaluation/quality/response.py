"""Does a dictionary of a component respond as the component does? Explained variance does not say.

For a direction δ of the residual stream, of length 1, at a token:

1. M′δ is the component's own derivative: the stream before it moved along δ, its norm included, and what it gives read
   (:func:`feature_graph.interventions.site_tangents`). For attention only the token itself is moved.
2. T′δ is the dictionary's: what its encoder makes of the derivative of the tensor that it reads, at the features that are on there,
   written by their decoder rows; a skip transcoder adds its linear map. For an SAE on what the component gives this is
   decode(gates · encode) M′δ.
3. response EV = 1 − Σ‖T′δ − M′δ‖² / Σ‖M′δ‖², uncentred, over held-out tokens. M′δ is features + skip + error, and Σ⟨part, M′δ⟩ / Σ‖M′δ‖²
   their shares, which add up to 1.

Directions: ``decoders``, rows of earlier dictionaries at random tokens; ``arrivals``, earlier features carried by the model to the
component at tokens where they are active; ``random`` ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from feature_graph.artifacts import Site, SitePlace, can_drive
from feature_graph.dictionaries import HookedModel, SiteCodec, dictionary_response
from feature_graph.evaluation.quality.directions import (
    StreamDirections,
    active_features,
    decoder_rows,
    generators,
    isotropic,
    some_tokens,
)
from feature_graph.evaluation.quality.figures import Floats, QualityFigure, figure_of, resamples
from feature_graph.evaluation.quality.text import contexts_together, counted
from feature_graph.interventions import (
    CleanRun,
    ModelSlices,
    Where,
    read_at,
    site_tangents,
    stream_before,
    tapped_run,
    write_at,
)
from feature_graph.utils import derived_seed
from feature_graph.utils import progress as progress_over

#: Kinds of directions.
DIRECTIONS = ("decoders", "arrivals", "random")
#: Sums of one kind of directions by document: ‖M′δ‖², ‖T′δ − M′δ‖², ⟨skip, M′δ⟩, ⟨error, M′δ⟩.
_WHOLE, _MISSED, _SKIP, _ERROR = range(4)


@dataclass(frozen=True)
class ResponseOptions:
    """How responses are measured.

    Attributes:
        per_document: Directions of each kind in each document. Arrivals: shared by the earlier dictionaries, two for each at the least.
        seed: Draws tokens, directions, and the resamples.
        resamples: Of the bootstrap over documents.
    """

    per_document: int = 16
    seed: int = 0
    resamples: int = 1000


@dataclass(frozen=True)
class SiteResponse:
    """Figures of one dictionary.

    Attributes:
        explained: Kind of direction → response EV; None where there is none of the kind.
        skip_share: Share of the component's response that the skip connection carries; None for dictionaries without one.
        error_share: Share that neither features nor skip carry.
        shares_along: The kind of directions that both shares are measured along: ``arrivals``, where there are none ``random``.
    """

    explained: dict[str, QualityFigure | None]
    skip_share: QualityFigure | None
    error_share: QualityFigure | None
    shares_along: str


def response_ev(
    model: HookedModel | ModelSlices,
    codecs: Mapping[str, SiteCodec],
    tokens: Any,
    *,
    sources: Mapping[str, SiteCodec] | None = None,
    valid: Tensor | None = None,
    options: ResponseOptions | None = None,
    progress: bool = False,
) -> dict[str, SiteResponse]:
    """Response EV of dictionaries of components.

    Args:
        model: A HookedTransformer or TransformerBridge, or its slices.
        codecs: Name of the site → its dictionary (:func:`feature_graph.dictionaries.build_site_codecs`). Those of the residual stream and
            of the MLP's input have no component, and are not among the answers.
        tokens: Held-out text, int64 [n_docs, context].
        sources: Dictionaries whose features' directions are used where they lie before the component; None: ``codecs``.
        valid: bool [n_docs, context], tokens that count; None: neither special tokens nor an outlying first one.
        options: Number of directions, seed.
        progress: Whether to show a progress bar.

    Returns:
        Name of the site → its figures.
    """
    slices, options = model if isinstance(model, ModelSlices) else ModelSlices(model), options or ResponseOptions()
    work = _Work(slices, codecs, codecs if sources is None else sources, options)
    ids = slices.tokens(tokens)
    valid = counted(slices, codecs.values(), ids) if valid is None else valid.to(slices.device)
    sums = {name: {kind: np.zeros((len(ids), 4)) for kind in DIRECTIONS} for name in work.targets}
    numbers = {name: dict.fromkeys(DIRECTIONS, 0) for name in work.targets}
    together = contexts_together(slices, work.sources, ids.shape[1])
    starts = range(0, len(ids) if work.targets else 0, together)
    for start in progress_over(starts, "responses") if progress and starts else starts:
        rows = slice(start, start + together)
        for name, kind, number, values in work.of(start, ids[rows], valid[rows]):
            sums[name][kind][rows] += values
            numbers[name][kind] += number
    drawn = resamples(len(ids), options.resamples, derived_seed(options.seed, "response bootstrap"))
    return {name: _figures(codec, sums[name], numbers[name], drawn) for name, codec in work.targets.items()}


class _Work:
    """Directions and responses of a few contexts at a time."""

    def __init__(
        self, slices: ModelSlices, codecs: Mapping[str, SiteCodec], sources: Mapping[str, SiteCodec], options: ResponseOptions
    ) -> None:
        self.slices, self.options = slices, options
        self.streams = {name: where for name, codec in codecs.items() if (where := stream_before(codec.site)) is not None}
        self.targets = {name: codecs[name] for name in self.streams}
        self.earlier = {name: [s for s in sources.values() if _before(s.site, codec.site)] for name, codec in self.targets.items()}
        self.sources = [s for s in sources.values() if any(s in earlier for earlier in self.earlier.values())]
        self.per_source = max(2, options.per_document // max(1, len(self.sources)))
        ends = [codec.site.point for codec in (*self.targets.values(), *self.sources)]
        self.blocks = range(min(ends, default=0), max(ends, default=-1) + 1)

    def of(self, first: int, tokens: Tensor, valid: Tensor) -> Iterable[tuple[str, str, int, Floats]]:
        """Name, kind, number of directions, and sums by document, of some contexts, the first of which has this number."""
        n, rngs = self.slices.n_blocks, generators(self.options.seed, range(first, first + len(tokens)))
        clean, found = tapped_run(self.slices, tokens, [read_at(source.site, n) for source in self.sources], self.blocks)
        arrived = self._arrivals(clean, found, valid, rngs)
        for name, codec in self.targets.items():
            at = some_tokens(valid, self.options.per_document, rngs)
            kinds = {"random": [StreamDirections(*at, isotropic(at[0], self.slices.d_model, rngs))], "arrivals": arrived[name]}
            writers = [source for source in self.earlier[name] if source.site.kind != "mlp_in"]  # that has no direction in the stream
            if writers:
                kinds["decoders"] = [StreamDirections(*at, decoder_rows(self.slices, writers, at[0], rngs))]
            for kind, parts in kinds.items():
                if parts and len((given := StreamDirections.joined(parts).unit()).positions):
                    yield name, kind, len(given.positions), self._sums(codec, clean, given, self.streams[name])

    def _arrivals(
        self, clean: CleanRun, found: Mapping[Where, Tensor], valid: Tensor, rngs: Sequence[np.random.Generator]
    ) -> dict[str, list[StreamDirections]]:
        """Name of the target → features of each earlier dictionary, carried to the stream before it."""
        arrived: dict[str, list[StreamDirections]] = {name: [] for name in self.targets}
        n = self.slices.n_blocks
        for source in self.sources:
            names = [name for name, earlier in self.earlier.items() if source in earlier]
            documents, positions, features = active_features(source, found[read_at(source.site, n)], valid, self.per_source, rngs)
            if not len(documents):
                continue
            rows, read = source.w_dec[torch.as_tensor(features, device=source.device)], [self.streams[name] for name in names]
            tangents = site_tangents(self.slices, clean, documents, positions, write_at(source.site, n), rows, read)
            for name, one in zip(names, tangents, strict=True):
                arrived[name].append(StreamDirections(documents, positions, one.tangent))
        return arrived

    def _sums(self, codec: SiteCodec, clean: CleanRun, given: StreamDirections, at: Where) -> Floats:
        n = self.slices.n_blocks
        read = [read_at(codec.site, n), write_at(codec.site, n)]
        reads, writes = site_tangents(self.slices, clean, given.documents, given.positions, at, given.directions, read)
        response = dictionary_response(codec, reads.value, reads.tangent)
        whole = writes.tangent.to(response.features.dtype)
        error = whole - response.features - response.skip
        columns = torch.stack([(a * b).sum(1) for a, b in ((whole, whole), (error, error), (response.skip, whole), (error, whole))], dim=1)
        sums = torch.zeros(len(clean.tokens), 4, dtype=torch.float64)
        return sums.index_add(0, given.documents.cpu(), columns.double().cpu()).numpy()


def _before(source: Site, target: Site) -> bool:
    """Whether what a source writes comes before the stream that the target's component begins with."""
    first = SitePlace(target.layer, "hook_z" if target.kind in ("attn_out", "hook_z") else "mlp_in", parallel=target.parallel)
    return can_drive(source.place, first)


def _figures(codec: SiteCodec, sums: Mapping[str, Floats], numbers: Mapping[str, int], drawn: Floats) -> SiteResponse:
    def ratio(kind: str, of: Callable[[Floats], Floats]) -> QualityFigure | None:
        return figure_of(sums[kind], numbers[kind], drawn, of) if numbers[kind] else None

    along = "arrivals" if numbers["arrivals"] else "random"
    skip = None if codec.w_skip is None else ratio(along, lambda s: s[..., _SKIP] / s[..., _WHOLE])
    return SiteResponse(
        explained={kind: ratio(kind, lambda s: 1 - s[..., _MISSED] / s[..., _WHOLE]) for kind in DIRECTIONS},
        skip_share=skip,
        error_share=ratio(along, lambda s: s[..., _ERROR] / s[..., _WHOLE]),
        shares_along=along,
    )
