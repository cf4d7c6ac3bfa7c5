"""What pruning loses: an exhaustive slice, measured whatever the pruning stages say, and then put before each of them.

1. At every site some sources are drawn: half among the top features by importance, half among all others that could be tested; where a run
   chose its candidates by responses, a third among the sources of its shortlist.
2. All their effects on all features of the later sites are measured, one site further than the window reaches, and tested in a family of
   their own.
3. Each stage says which of the significant edges it would have removed (``candidates.removed_by``); with dictionaries on components
   alignment is no such stage. A source that was drawn at random
   stands for all that were not drawn, so shares are shares of the edges of all testable sources.
"""

from feature_graph.artifacts import PruningRecall, StageLoss
from feature_graph.evaluation.pruning_recall.measure import RecallError, pruning_recall
from feature_graph.evaluation.pruning_recall.sample import CHOSEN, TOP

__all__ = ["CHOSEN", "TOP", "PruningRecall", "RecallError", "StageLoss", "pruning_recall"]
