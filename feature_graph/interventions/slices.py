"""Block ranges of a transformer: whole contexts once, then only the positions and blocks that an intervention touches.

1. The clean run keeps the residual stream at the points asked for, and keys and values of the blocks between.
2. An intervention at position p of point a changes nothing before p: positions p..p+h of the blocks a..b are computed
   again, and attend to the clean keys and values of the earlier positions.
3. Samples with different documents and positions, and the variants of a sample (high and low), share one batch.

Two adapters give the same numbers: HookedTransformer, read as it is, and TransformerBridge, its successor, whose weights
:mod:`feature_graph.interventions.bridge` reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from feature_graph.dictionaries import HookedModel
from feature_graph.interventions.attention import KeysValues, Prefix, attend_contexts, attend_prefix
from feature_graph.interventions.blocks import SliceBlock, as_type, refuse
from feature_graph.interventions.bridge import bridge_parts, is_bridge
from feature_graph.interventions.check import check
from feature_graph.interventions.errors import InterventionError
from feature_graph.interventions.norms import read_norm
from feature_graph.interventions.taps import BlockTaps

#: Positions that one pass over whole contexts holds at a time.
_CONTEXT_ROWS = 2048


@dataclass
class CleanRun:
    """The clean run over some documents.

    Attributes:
        tokens: int64 [n_docs, context].
        residuals: Point → residual stream [n_docs, context, d_model].
        caches: Block → keys and values of the clean run.
    """

    tokens: Tensor
    residuals: dict[int, Tensor] = field(default_factory=dict)
    caches: dict[int, KeysValues] = field(default_factory=dict)


class ModelSlices:
    """Runs block ranges of a model; a *point* is the number of blocks that have been run.

    Args:
        model: A transformer_lens HookedTransformer or TransformerBridge in float32 or float64. Its weights are shared, not copied
            (the query, key and value projections excepted), and never changed.

    Raises:
        InterventionError: If the model has a part that the slices do not reproduce; it is named.
    """

    def __init__(self, model: HookedModel) -> None:
        parts: Any = bridge_parts(model) if is_bridge(model) else model
        refuse(parts)
        self.model, self._parts = model, parts
        self.n_blocks, self.d_model = int(model.cfg.n_layers), int(model.cfg.d_model)
        self.n_ctx, self.d_vocab = int(model.cfg.n_ctx), int(model.cfg.d_vocab)
        self.device, self.dtype = parts.embed.W_E.device, parts.embed.W_E.dtype
        self._blocks: dict[int, SliceBlock] = {}
        self._final = read_norm(getattr(parts, "ln_final", None)) if model.cfg.normalization_type is not None else None
        cap = model.cfg.output_logits_soft_cap
        self._logit_cap = float(cap) if cap and cap > 0 else None
        self._logit_scale = float(getattr(parts, "logit_scale", 1.0))

    def block(self, index: int) -> SliceBlock:
        """The block, made at first use."""
        if index not in self._blocks:
            self._blocks[index] = SliceBlock(self._parts.blocks[index], self.n_ctx)
        block = self._blocks[index]
        return block if block.w_o.dtype == self.dtype else as_type(block, self.dtype)

    def tokens(self, tokens: Any) -> Tensor:
        """Tokens as int64 on the model's device.

        Raises:
            InterventionError: If they are not [n, context], too long for the model, or not in its vocabulary.
        """
        ids = torch.as_tensor(tokens, device=self.device).long()
        if ids.ndim != 2:
            raise InterventionError(f"tokens: got shape {tuple(ids.shape)}, expected [documents, context]")
        if ids.shape[1] > self.n_ctx:
            raise InterventionError(f"tokens: contexts of {ids.shape[1]} tokens; the model reads at most {self.n_ctx}")
        if ids.numel() and not (int(ids.min()) >= 0 and int(ids.max()) < self.d_vocab):
            raise InterventionError(f"tokens: ids {int(ids.min())} to {int(ids.max())}; the model's vocabulary has {self.d_vocab}")
        return ids

    def embed(self, tokens: Any) -> Tensor:
        """The residual stream at point 0, [n, context, d_model]."""
        ids = self.tokens(tokens)
        x = self._parts.embed.W_E.detach()[ids]
        if self._parts.cfg.positional_embedding_type == "standard":
            x = x + self._parts.pos_embed.W_pos.detach()[: ids.shape[1]]
        return x.to(self.dtype)

    def run(
        self, x: Tensor, start: int, stop: int, caches: dict[int, list[KeysValues]] | None = None, taps: BlockTaps | None = None
    ) -> Tensor:
        """Run blocks start..stop-1 on whole contexts [n, context, d_model].

        Args:
            x: Residual stream at point ``start``.
            start: First block.
            stop: Block before which to stop.
            caches: Blocks whose keys and values are to be appended.
            taps: Tensors inside the blocks that are read or changed.
        """
        for index in range(start, stop):
            block = self.block(index)
            kept: list[KeysValues] = []

            def attend(normed: Tensor, block: SliceBlock = block, kept: list[KeysValues] = kept) -> Tensor:
                gathered, cache = attend_contexts(block, normed)
                kept.append(cache)
                return gathered

            x = block(x, attend, None if taps is None else taps.of(index))
            if caches is not None and index in caches:
                caches[index].extend(kept)
        return x

    @torch.no_grad()
    def residuals(self, tokens: Any, points: Iterable[int], blocks: Iterable[int] = ()) -> CleanRun:
        """The clean run: residual streams at ``points``, keys and values of ``blocks``."""
        ids = self.tokens(tokens)
        wanted = sorted(set(points))
        self.check_points(wanted)
        sweep = CleanSweep(self, ids)
        first = min([*wanted, *blocks], default=0)
        last = max([*wanted, *(b + 1 for b in blocks)], default=0)
        run = sweep.window(first, last, wanted)
        run.caches = {b: run.caches[b] for b in blocks}
        return run

    def check_points(self, points: Sequence[int]) -> None:
        """Refuse points that the model does not have.

        Raises:
            InterventionError: Naming them.
        """
        wrong = [p for p in points if not 0 <= p <= self.n_blocks]
        if wrong:
            raise InterventionError(f"points: got {wrong}; a model of {self.n_blocks} blocks has points 0 to {self.n_blocks}")

    def advance(
        self, x: Tensor, start: int, stop: int, clean: CleanRun, documents: Tensor, positions: Tensor, taps: BlockTaps | None = None
    ) -> Tensor:
        """Run blocks start..stop-1 on a few positions of some documents, after the clean prefix.

        Args:
            x: Residual stream [samples, variants, new, d_model] at point ``start``, positions p..p+new-1.
            start: First block.
            stop: Block before which to stop.
            clean: Clean run with the keys and values of these blocks.
            documents: int64 [samples], rows of ``clean``.
            positions: int64 [samples], the first position p of each sample. New positions beyond the context's end are
                computed too and mean nothing.
            taps: Tensors inside the blocks that are read or changed.
        """
        context = clean.tokens.shape[1]
        made: dict[int | None, Prefix] = {}
        for index in range(start, stop):
            block = self.block(index)
            if block.window not in made:
                made[block.window] = Prefix.of(documents, positions, x.shape[2], context, block.window)
            prefix, cache = made[block.window], clean.caches[index]
            attend = partial(_attend_prefix, block, cache, prefix)
            x = block(x, attend, None if taps is None else taps.of(index))
        return x

    def logits(self, x: Tensor) -> Tensor:
        """Final norm and unembedding of [..., d_model] → [..., d_vocab]."""
        x = x if self._final is None else as_type(self._final, x.dtype)(x)
        unembed = self._parts.unembed
        logits = torch.nn.functional.linear(x, unembed.W_U.detach().T.to(x.dtype), unembed.b_U.detach().to(x.dtype))
        logits = logits if self._logit_scale == 1.0 else logits * self._logit_scale
        return logits if self._logit_cap is None else self._logit_cap * torch.tanh(logits / self._logit_cap)

    def logits_from(self, point: int, x: Tensor, positions: Tensor | None = None, taps: BlockTaps | None = None) -> Tensor:
        """Logits of a residual stream [n, context, d_model] put in at ``point``.

        Args:
            point: Blocks already run.
            x: Residual stream, whole contexts.
            positions: int64 [n], the position to read in each row; all if None.
            taps: Tensors inside the blocks that are read or changed.

        Returns:
            [n, d_vocab], or [n, context, d_vocab] without ``positions``.
        """
        self.check_points([point])
        x = self.run(x, point, self.n_blocks, taps=taps)
        return self.logits(x if positions is None else at_positions(x, positions))

    def check(self, tokens: Any, tolerance: float = 1e-5) -> float:
        """Compare with ``model.run_with_cache``: the residual stream at every point, whole and after a cached prefix, and the logits.

        Args:
            tokens: A few contexts [n, context].
            tolerance: Largest relative error of a vector, ‖a − b‖ / ‖b‖. Where float32 itself errs by more, as a pass in float64 shows,
                a few times that is allowed.

        Returns:
            The largest error.

        Raises:
            InterventionError: If the two disagree, or the model gives NaN; the slices must not be used then.
        """
        return check(self, tokens, tolerance)


def _attend_prefix(block: SliceBlock, cache: KeysValues, prefix: Prefix, normed: Tensor) -> Tensor:
    return attend_prefix(block, normed, cache, prefix)


class CleanSweep:
    """Walks documents up through the model once; windows of sites are asked for in ascending order.

    Only the residual stream at the frontier and what the present window needs are kept.
    """

    def __init__(self, slices: ModelSlices, tokens: Any) -> None:
        self.slices = slices
        self._tokens = slices.tokens(tokens)
        self._point = 0
        self._frontier: Tensor | None = None
        self._run = CleanRun(self._tokens)

    @torch.no_grad()
    def window(self, first: int, last: int, points: Iterable[int]) -> CleanRun:
        """Residual streams at ``points`` and keys and values of the blocks first..last-1.

        Raises:
            InterventionError: If the window begins before an earlier one did.
        """
        wanted = set(points)
        self.slices.check_points([first, last, *wanted])
        lost = [p for p in wanted if p < self._point and p not in self._run.residuals]
        if lost or any(b < self._point and b not in self._run.caches for b in range(first, last)):
            raise InterventionError(f"window {first} to {last}: the sweep has gone on to point {self._point}; ask in ascending order")
        self._run.caches = {b: c for b, c in self._run.caches.items() if b >= first}
        self._run.residuals = {p: r for p, r in self._run.residuals.items() if p >= first}
        self._advance(first, last, wanted)
        return self._run

    def _advance(self, first: int, last: int, points: set[int]) -> None:
        if self._frontier is None:
            self._frontier = self.slices.embed(self._tokens)
        stops = sorted({p for p in (*points, first, last) if p >= self._point})
        for stop in stops:
            self._step(stop, first)
            if stop in points:
                self._run.residuals[stop] = self._frontier

    def _step(self, stop: int, keep_from: int) -> None:
        start, frontier = self._point, self._frontier
        if stop <= start or frontier is None:
            return
        caches: dict[int, list[KeysValues]] = {b: [] for b in range(max(start, keep_from), stop)}
        parts = [self.slices.run(part, start, stop, caches) for part in frontier.split(contexts_a_pass(self._tokens))]
        self._frontier, self._point = torch.cat(parts) if parts else frontier, stop
        for b in list(caches):
            kept = caches.pop(b)  # freed as soon as it is joined
            if kept:
                self._run.caches[b] = KeysValues.joined(kept)


def contexts_a_pass(tokens: Tensor) -> int:
    """How many contexts of ``tokens`` [n, context] one pass takes."""
    return max(1, _CONTEXT_ROWS // max(1, tokens.shape[1]))


def at_positions(x: Tensor, positions: Tensor) -> Tensor:
    """Row r of [n, context, d] at ``positions[r]`` → [n, d]."""
    return x[torch.arange(len(x), device=x.device), positions.to(x.device)]
