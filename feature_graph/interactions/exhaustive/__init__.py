"""Every feature against every feature of its window: no candidate list, streamed to disk, corrected exactly.

Per source site: the floors of its targets from random directions (``floors``); then blocks of sources, each screened against all
features of the window (``block``, over ``interventions.screen_effects``). Rows above a floor with p at or below the level go to
part files. When all are there: Benjamini–Hochberg over the family of all tests from a histogram of p and the kept values
(``correct``), the strongest edges per target (``finish``), and ``interactions.parquet``. Memory is that of the clean run, the
dictionaries of one window and one block, whatever the number of sources.
"""

from feature_graph.interactions.exhaustive.run import Exhaustive, measure_exhaustive

__all__ = ["Exhaustive", "measure_exhaustive"]
