"""What behaviours share: Jaccard overlap of their features against sets drawn at random, and the features that serve several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from feature_graph.artifacts import read_feature_id
from feature_graph.stats import adjust

_DRAWS = 2000


def overlap(members: Mapping[str, Collection[str]], pool: Collection[str], draws: int = _DRAWS, seed: int = 0) -> pd.DataFrame:
    """Overlap of every two behaviours.

    The permutation test draws, for both, as many features of each site as they have there, from the pool; its p is
    (1 + draws that overlap at least as much) / (1 + draws), one-sided, and q is by Benjamini and Hochberg over the pairs.

    Args:
        members: Behaviour → ids of its features.
        pool: Ids that could have been members; the members themselves are added.
        draws: Random pairs of sets.
        seed: Seed.

    Returns:
        One row per pair: ``a``, ``b``, ``shared``, ``jaccard``, ``expected`` (mean over draws), ``p``, ``q``.
    """
    rng = np.random.default_rng(seed)
    sites = _counts(set(pool).union(*members.values()) if members else set(pool))
    rows = []
    for a, b in combinations(members, 2):
        one, two = set(members[a]), set(members[b])
        shared = len(one & two)
        random = _random_shared(_counts(one), _counts(two), sites, draws, rng)
        whole = len(one) + len(two)
        jaccard = [n / (whole - n) if whole > n else 0.0 for n in (shared, *random.tolist())]
        p = (1 + int((random >= shared).sum())) / (1 + draws)
        rows.append((a, b, shared, jaccard[0], float(np.mean(jaccard[1:])), p))
    frame = pd.DataFrame(rows, columns=["a", "b", "shared", "jaccard", "expected", "p"])
    return frame.assign(q=adjust(frame["p"].to_numpy(), "fdr_bh") if len(frame) else [])


def shared_features(members: Mapping[str, Collection[str]]) -> list[tuple[str, list[str]]]:
    """Features of at least two behaviours with the names of these, those of most behaviours first."""
    count = Counter(node for nodes in members.values() for node in set(nodes))
    found = [(node, [name for name, nodes in members.items() if node in nodes]) for node, n in count.items() if n > 1]
    return sorted(found, key=lambda item: (-len(item[1]), item[0]))


def _random_shared(
    one: Mapping[str, int], two: Mapping[str, int], sites: Mapping[str, int], draws: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Overlap of two sets drawn at random: hypergeometric at each site, summed."""
    total = np.zeros(draws, dtype=np.int64)
    for site, n in one.items():
        m, whole = two.get(site, 0), sites[site]
        if m:
            total += rng.hypergeometric(n, whole - n, m, size=draws)
    return total


def _counts(nodes: Collection[str]) -> dict[str, int]:
    return dict(Counter(read_feature_id(node).site_name for node in nodes))
