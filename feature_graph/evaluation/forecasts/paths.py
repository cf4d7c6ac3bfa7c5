"""Path sums of all steered sources at once, one pair of sites after another.

A step from one site to another has as many entries as the two have features each. It is screened once, for the sources of all sites, some
rows at a time, and never held as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from feature_graph.artifacts import Site, is_weight
from feature_graph.responses import Effect, ResponseScreen

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
#: Layer of sources → later layer → float64 [sources, d_sae].
PathSums = dict[int, dict[int, Floats]]
_ROWS = 256


def is_passed(site: Site) -> bool:
    """Whether paths between dictionaries on components lead through features of a site."""
    return site.kind == "transcoder"


def path_sums(
    screen: ResponseScreen, steps: ResponseScreen, sources: Mapping[int, Sequence[int]], later: Mapping[int, Sequence[int]]
) -> PathSums:
    """Effects of some sources on all features of later sites, multiplied along paths and summed.

    Between residual streams each step is the screened total effect from a site to the next one. Between dictionaries on components it is a
    virtual weight from any site to any later one, and paths lead through features of transcoders alone.

    Args:
        screen: Screen of the sources at every later site.
        steps: Screen of every feature at the next site; of transcoders at every later one.
        sources: Layer → sources.
        later: Layer → later layers in the order of the model, for every analysed layer.
    """
    mine = {layer: np.asarray(indices, dtype=np.int64) for layer, indices in sources.items()}
    if any(codec.site.kind != "residual" for codec in screen.codecs.values()):
        return _through_transcoders(screen, steps, mine, later)
    return _through_sites(screen, steps, mine, later)


def _through_sites(
    screen: ResponseScreen, steps: ResponseScreen, sources: Mapping[int, Ints], later: Mapping[int, Sequence[int]]
) -> PathSums:
    found: PathSums = {layer: {n: _screened(screen, layer, n, mine, "total") for n in later[layer][:1]} for layer, mine in sources.items()}
    for one, two in zip(screen.codecs, list(screen.codecs)[1:], strict=False):
        mine = [layer for layer in sources if one in found[layer]]
        made = {layer: np.zeros((len(sources[layer]), screen.codecs[two].d_sae)) for layer in mine}
        for rows, effects in _rows(steps, one, two, "total"):
            for layer in mine:
                made[layer] += found[layer][one][:, rows] @ effects
        for layer in mine:
            found[layer][two] = made[layer]
    return found


def _through_transcoders(
    screen: ResponseScreen, steps: ResponseScreen, sources: Mapping[int, Ints], later: Mapping[int, Sequence[int]]
) -> PathSums:
    found: PathSums = {layer: {n: _screened(screen, layer, n, mine, "copy") for n in later[layer]} for layer, mine in sources.items()}
    sites = {n: codec.site for n, codec in screen.codecs.items()}
    for two in sites:
        for one in (m for m in sites if is_passed(sites[m])):
            mine = [layer for layer in sources if one in found[layer] and two in found[layer]]
            if not mine:
                continue
            if is_weight(sites[one].place, sites[two].place):
                step = _written(screen, one, two)
            elif (one, two) in steps.store.pairs:
                step = _rows(steps, one, two, "copy")
            else:
                continue
            for rows, effects in step:
                for layer in mine:
                    found[layer][two] += found[layer][one][:, rows] @ effects
    return found


def _screened(screen: ResponseScreen, layer: int, n: int, sources: Ints, effect: Effect) -> Floats:
    """Each by itself, as the response is: over one site a path is the response, to the last bit."""
    return np.concatenate([block.effects[effect] for index in sources for block in screen.blocks(layer, n, np.array([index]))])


def _rows(steps: ResponseScreen, one: int, two: int, effect: Effect) -> Iterator[tuple[Ints, Floats]]:
    """Screened effects of the features of a site on those of another, some rows at a time; without a response there is none."""
    return ((block.sources, block.effects[effect]) for block in steps.blocks(one, two))


def _written(screen: ResponseScreen, one: int, two: int) -> Iterator[tuple[Ints, Floats]]:
    """The same of the features of a transcoder on what reads the residual stream after its own block: weights, at the gates."""
    directions, readers = (w.double().cpu().numpy() for w in (screen.codecs[one].w_dec, screen.codecs[two].w_enc))
    for first in range(0, len(directions), _ROWS):
        rows = np.arange(first, min(first + _ROWS, len(directions)))
        gates = screen.gates.of(one, rows, two)
        yield rows, (gates.on + gates.jump) * (directions[rows] @ readers)
