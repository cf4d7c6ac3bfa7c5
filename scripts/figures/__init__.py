"""Every figure, table, id and picture of the run `bundled-residual` that README and docs show, made anew from a run: ``make figures``.

Of the run `bundled`, between transcoders, it makes the comparison of forecasts.

A page marks what comes from the run by a pair of comments, which Markdown does not show:

    keeps <!--= run.edges -->772<!--=--> edges

1. ``work`` brings the run up to date: the pipeline, what pruning loses, the validation, the comparison of forecasts, the study of
   steering. What is there is kept.
2. ``counts``, ``validation``, ``forecasts``, ``steering`` and ``answers`` turn its files (and, for answers, a Neo4j that holds it) into
   texts by name.
3. ``pictures`` draws.
4. ``marks`` writes the texts between the comments, and ``docs/figures.json`` keeps them: a test compares it with the pages.
"""
