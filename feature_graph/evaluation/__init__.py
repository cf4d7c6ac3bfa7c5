"""How far the results can be trusted: each folder answers one question, and is a public module of its own.

- ``planted``: transformers with hand-written weights and compiled programs, whose true effects are known
- ``calibration``: does the engine find what was planted, and nothing else?
- ``benchmark``: the same models for anybody's edge list
- ``quality``: which dictionaries are fit for a graph?
- ``pruning_recall``: which true edges do the pruning stages lose?
- ``forecasts``: which forecast of steering is the best?
- ``validation``: does the graph of a run predict what the model does?
"""
