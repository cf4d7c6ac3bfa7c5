"""Floors and placebo quantiles of a whole table at once are those of each pair worked out alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_graph import stats
from feature_graph.config import Config
from feature_graph.interactions.finish import EFFECTS, add_floors

TARGET = ["src_layer", "tgt_layer", "tgt_index"]


def tables(seed: int, n_targets: int, most: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Pairs of three sources, and placebos of some of their targets: not equally many of each, in any order."""
    rng = np.random.default_rng(seed)
    targets = pd.DataFrame({"src_layer": rng.integers(0, 2, n_targets), "tgt_layer": 3, "tgt_index": np.arange(n_targets)})
    pairs = pd.concat([targets.assign(src_index=k) for k in range(3)], ignore_index=True)
    for strength, p, _, _ in EFFECTS.values():
        pairs[strength], pairs[p] = rng.normal(size=len(pairs)), 0.001
    pairs.loc[0, "later_strength"] = np.nan
    pairs["smallest"] = 0.2
    placebos = targets.loc[np.repeat(np.arange(n_targets), rng.integers(0, most + 1, n_targets))].reset_index(drop=True)
    placebos = placebos.assign(number=placebos.groupby(TARGET).cumcount(), **{effect: rng.normal(size=len(placebos)) for effect in EFFECTS})
    return pairs, placebos.sample(frac=1, random_state=seed)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**16), n_targets=st.integers(1, 12), most=st.integers(0, 5))
def test_floors_of_a_table_are_those_of_each_pair(seed: int, n_targets: int, most: int) -> None:
    cfg = Config(min_effect=0.2, placebo_quantile=0.8)
    pairs, placebos = tables(seed, n_targets, most)
    found = add_floors(pairs, placebos, cfg)
    for row in found.to_dict("records"):
        mine = placebos[(placebos[TARGET] == [row[name] for name in TARGET]).all(axis=1)]
        for effect, (strength, p, _, floor) in EFFECTS.items():
            expected = float(stats.placebo_floor(mine[effect].to_numpy(), cfg.placebo_quantile, cfg.min_effect))
            assert row[floor] == expected
            kept = abs(row[strength]) >= expected or (not len(placebos) and not np.isnan(row[strength]))
            assert row[p] == (0.001 if kept else 1.0)  # without placebos the test itself knows the smallest effect
        share = (mine["total"].abs() < abs(row["mean_strength"])).mean() if len(mine) else np.nan
        np.testing.assert_equal(row["placebo_quantile"], share)
