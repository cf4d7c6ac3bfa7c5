"""Every figure, table, id and picture of the runs `bundled` and `bundled-residual` that README and docs show, made anew: ``make figures``.

A page marks what comes from a run by a pair of comments, which Markdown does not show:

    keeps <!--= run.edges -->772<!--=--> edges

1. ``work`` brings the run between residual SAEs up to date: the pipeline, what pruning loses, the validation, the comparison of forecasts,
   the study of steering; ``work_band`` the one between transcoders: the pipeline and the comparison of forecasts. What is there is kept.
2. ``counts``, ``validation``, ``forecasts``, ``steering`` and ``answers`` turn the files (and, for answers, a Neo4j that holds the run
   between transcoders) into texts by name.
3. ``pictures`` draws.
4. ``marks`` writes the texts between the comments, and ``docs/figures.json`` keeps them: a test compares it with the pages.
"""
