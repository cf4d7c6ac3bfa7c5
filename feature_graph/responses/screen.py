"""The screen: effects of any source on any target, from responses, readers and gates, without a forward pass and without a database.

``total = P · ⟨r, w⟩``, ``copy = P · ⟨d, w⟩``, ``computed = total − copy`` and ``specific = computed − P · ⟨J̄ d, w⟩``: r is the source's
response at the target's site, d its direction, w the target's reader, J̄ d what would have been computed there from any direction, and P
says how often the target is on where the source is. Between dictionaries on components the part of r that nothing computed is measured with
it, and stands in place of d. All of it comes from the select documents; no test belongs to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_graph.artifacts import ActivationStore, ArtifactError, ResponseStore, RunPaths, by_site, feature_id, feature_key
from feature_graph.config import Config
from feature_graph.dictionaries import SiteCodec
from feature_graph.responses.check import check_responses
from feature_graph.responses.gates import GateTable, Ints

Floats = NDArray[np.float64]
Effect = Literal["total", "copy", "computed", "specific"]
EFFECTS: tuple[Effect, ...] = get_args(Effect)
_ROWS = 256


@dataclass(frozen=True)
class ScreenBlock:
    """Screened effects of some sources of one site on some targets of another, target units per source unit.

    Attributes:
        source: Source layer.
        target: Target layer.
        sources: int64 [n], features.
        targets: int64 [m], features.
        on: float64 [n, m], P̂(target on | source on).
        effects: Effect → float64 [n, m].
    """

    source: int
    target: int
    sources: Ints
    targets: Ints
    on: Floats
    effects: dict[Effect, Floats]


class ResponseScreen:
    """The exhaustive graph of a run, screened: any slice of it at once.

    Args:
        store: The responses.
        activations: Recorded activations of the same run.
        codecs: Layer → dictionary.
        threshold: Whether tokens near a JumpReLU's threshold count (θ p(z = θ), what a finite change gains by the jump); without it the
            screen is of the derivative.
    """

    def __init__(
        self, store: ResponseStore, activations: ActivationStore, codecs: Mapping[int, SiteCodec], *, threshold: bool = True
    ) -> None:
        self.store, self.codecs = store, dict(codecs)
        limits = {n: None if c.threshold is None else c.threshold.cpu().numpy() for n, c in codecs.items()}
        self.gates = GateTable(activations, limits)
        self._jump = threshold
        self._names: dict[int, NDArray[np.object_]] = {}
        self._readers = {n: c.w_enc.cpu().numpy().astype(np.float32) for n, c in codecs.items()}
        self._directions = {n: c.w_dec.cpu().numpy() for n, c in codecs.items()}

    @classmethod
    def open(cls, run_dir: str | Path, *, threshold: bool = True) -> ResponseScreen:
        """The screen of a run directory. Its dictionaries are loaded, its model is not.

        Raises:
            ArtifactError: If the run has no responses, or they are of other dictionaries.
        """
        from feature_graph.loading import load_saes

        paths = RunPaths.of(run_dir)
        store, activations = ResponseStore(paths.responses), ActivationStore.load(paths.activations)
        saes = by_site(load_saes(Config.load(paths.config), "cpu"))
        check_responses(store, saes)
        codecs = {layer: SiteCodec.from_sae(sae, activations.sites[layer]) for layer, sae in saes.items() if layer in store.sites}
        return cls(store, activations, codecs, threshold=threshold)

    def edges(
        self,
        *,
        source: str | None = None,
        target: str | None = None,
        sites: tuple[int, int] | None = None,
        effect: Effect = "total",
        top: int | None = None,
    ) -> pd.DataFrame:
        """Screened edges out of a source, into a target, or between two sites, strongest first.

        Args:
            source: Short id such as ``L7_F42``.
            target: Short id. With a source: that pair alone.
            sites: (source layer, target layer).
            effect: What is ranked by, in magnitude.
            top: Only so many; None: all (between two sites every pair, which may be millions).

        Returns:
            Columns source, target, total, copy, computed, specific (target units per source unit), on (P̂), n_tokens (of the source's
            response) and reliability (cosine of the response's half-means; NaN where a half is empty).

        Raises:
            ArtifactError: If neither source, target nor sites is given, sites go with one of the others, or an effect is unknown.
            ArtifactError: If a feature has no response, or a pair of sites was not measured.
        """
        if effect not in EFFECTS:
            raise ArtifactError(f"effect: got {effect!r}; expected one of {', '.join(EFFECTS)}")
        if (sites is None) == (source is None and target is None):
            raise ArtifactError("edges: give source=, target= (or both), or sites=")
        best: list[pd.DataFrame] = []
        for block in self._asked(source, target, sites):
            best.append(self._table(block, effect, top))
            if top is not None:
                best = [_strongest(pd.concat(best), effect, top)]
        found = pd.concat(best) if best else self._table(_nothing(), effect, top)
        return _strongest(found, effect, top)

    def blocks(self, source: int, target: int, sources: Ints | None = None, targets: Ints | None = None) -> Iterator[ScreenBlock]:
        """Every pair of two sites, or every pair of some of the sources and of the targets, ascending; some sources at a time.

        Raises:
            ArtifactError: If one of ``sources`` has no response, or the pair of sites was not measured.
        """
        if sources is not None:
            places = np.array([self._place(source, int(i)) for i in sources], dtype=np.int64)
        else:
            places = np.arange(len(self.store.sources[source].index) if source in self.store.sources else 0)
        for first in range(0, len(places), _ROWS):
            rows = places[first : first + _ROWS]
            yield self._block(source, target, rows if sources is not None else slice(first, first + len(rows)), targets)

    def _asked(self, source: str | None, target: str | None, sites: tuple[int, int] | None) -> Iterator[ScreenBlock]:
        if sites is not None:
            if tuple(sites) not in self.store.pairs:
                raise ArtifactError(
                    f"{self.store.path}: has no responses of layer {sites[0]} at layer {sites[1]}; it holds {self.store.pairs}"
                )
            yield from self.blocks(*sites)
            return
        start = None if source is None else feature_key(source, self.store.sites)
        end = None if target is None else feature_key(target, self.store.sites)
        at = None if start is None else self._place(*start)
        for one, two in self.store.pairs:
            if (start is None or one == start[0]) and (end is None or two == end[0]):
                rows = slice(at, at + 1) if at is not None else slice(0, len(self.store.sources[one].index))
                yield self._block(one, two, rows, None if end is None else np.array([self._target(*end)]))

    def _place(self, layer: int, index: int) -> int:
        known = self.store.sources[layer].index if layer in self.store.sources else np.zeros(0, dtype=np.int32)
        place = int(np.searchsorted(known, index))
        if place >= len(known) or known[place] != index:
            raise ArtifactError(
                f"{feature_id(layer, index)}: has no response; it is active in too few select documents, does not exist, or has no later "
                "site"
            )
        return place

    def _target(self, layer: int, index: int) -> int:
        if index >= self.codecs[layer].d_sae:
            raise ArtifactError(f"{feature_id(layer, index)} does not exist; that SAE has {self.codecs[layer].d_sae} features")
        return index

    def _block(self, source: int, target: int, rows: slice | Ints, targets: Ints | None = None) -> ScreenBlock:
        sources = self.store.sources[source].index[rows].astype(np.int64)
        gates = self.gates.of(source, sources, target, targets)
        open_ = gates.on + gates.jump if self._jump else gates.on
        readers = self._readers[target] if targets is None else self._readers[target][:, targets]
        response, generic = self.store.means(source, target, rows), self.store.generic(source, target, rows)
        carried = self.store.carried(source, target, rows)
        carried = self._directions[source][sources] if carried is None else carried
        through = [open_ * (vectors @ readers) for vectors in (response, carried, generic)]
        total, copy, usual = through
        effects: dict[Effect, Floats] = {"total": total, "copy": copy, "computed": total - copy, "specific": total - copy - usual}
        return ScreenBlock(source, target, sources, np.arange(readers.shape[1]) if targets is None else targets, gates.on, effects)

    def _ids(self, layer: int, index: Ints) -> NDArray[np.object_]:
        if layer not in self._names:
            self._names[layer] = _all_ids(layer, self.codecs[layer].d_sae if layer in self.codecs else 0)
        return self._names[layer][index]

    def _table(self, block: ScreenBlock, effect: Effect, top: int | None) -> pd.DataFrame:
        size = np.abs(block.effects[effect]).ravel()
        kept = np.argpartition(-size, top)[:top] if top is not None and top < len(size) else np.arange(len(size))
        row, column = np.divmod(kept, max(1, len(block.targets)))
        known = self.store.sources.get(block.source)
        place = np.searchsorted(known.index, block.sources) if known is not None else np.zeros(0, dtype=np.int64)
        n_tokens = known.n_tokens[place] if known is not None else place
        names = self._ids(block.source, block.sources), self._ids(block.target, block.targets)
        reliable = self.store.reliability(block.source, block.target, place) if len(place) else np.zeros(0)
        columns: dict[str, NDArray[Any]] = {"source": names[0][row], "target": names[1][column]}
        columns |= {name: values[row, column] for name, values in block.effects.items()}
        columns |= {"on": block.on[row, column], "n_tokens": n_tokens[row], "reliability": reliable[row]}
        return pd.DataFrame(columns)


def _all_ids(layer: int, n: int) -> NDArray[np.object_]:
    return np.array([feature_id(layer, i) for i in range(n)], dtype=object)


def _nothing() -> ScreenBlock:
    none = np.zeros(0, dtype=np.int64)
    effects: dict[Effect, Floats] = {name: np.zeros((0, 0)) for name in EFFECTS}
    return ScreenBlock(-1, -1, none, none, np.zeros((0, 0)), effects)


def _strongest(frame: pd.DataFrame, effect: Effect, top: int | None) -> pd.DataFrame:
    order = np.argsort(-frame[effect].abs().to_numpy(), kind="stable")
    return frame.iloc[order[:top]].reset_index(drop=True)
