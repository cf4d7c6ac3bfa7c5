"""What a Feature shows of the runs that observed it: the label and the values of the newest one. The truth is in the Observations.

``label`` is that of the newest run that gives one (``label_run``); density, importance and the scores of analyses are those of the newest
run that observed the feature (``scores_run``), all of one run. A node that another program made shows nothing of ours.
"""

from __future__ import annotations

from ingest.connection import Transaction
from ingest.rows import DISPLAYED

_OWN = "o.key = toString(o.run) + '/' + f.uid"
#: Take off ``f`` what analyses put there. ``scores`` lists it, so that nobody else's property is touched.
CLEAR = "FOREACH (name IN coalesce(f.scores, []) | REMOVE f[name]) REMOVE f.scores"
_UNSEEN = (
    "UNWIND $features AS id MATCH (f:Feature) WHERE elementId(f) = id AND f.brought_by IS NOT NULL "
    "AND NOT EXISTS { (f)<-[:OF]-(o:Observation) WHERE o.key = toString($n) + '/' + f.uid }"
)
_NEXT_LABEL = (
    f"{_UNSEEN} AND f.label_run = $n REMOVE f.label, f.label_run "
    f"WITH f MATCH (f)<-[:OF]-(o:Observation) WHERE {_OWN} AND o.label <> '' "
    "WITH f, o ORDER BY o.run DESC WITH f, collect(o)[0] AS newest SET f.label = newest.label, f.label_run = newest.run"
)
_NEXT_VALUES = (
    f"{_UNSEEN} AND f.scores_run = $n {CLEAR} REMOVE {', '.join(f'f.{name}' for name in DISPLAYED)}, f.scores_run "
    f"WITH f MATCH (f)<-[:OF]-(o:Observation) WHERE {_OWN} "
    "WITH f, o ORDER BY o.run DESC WITH f, collect(o)[0] AS newest "
    f"SET {', '.join(f'f.{name} = newest.{name}' for name in DISPLAYED)}, f.scores_run = newest.run "
    "WITH f, newest, COLLECT { MATCH (a:Analysis) WHERE a.run = newest.run AND a.uid STARTS WITH toString(newest.run) + '/' "
    "AND newest[a.property] IS NOT NULL RETURN a.property } AS scores WHERE size(scores) > 0 "
    "FOREACH (name IN scores | SET f[name] = newest[name]) SET f.scores = scores"
)
#: How many of the features that run ``$n`` observed do not show what it saw, though it is the newest to have seen them.
WRONG = (
    "MATCH (o:Observation)-[:OF]->(f:Feature) WHERE o.run = $n AND o.key STARTS WITH toString($n) + '/' AND f.brought_by IS NOT NULL "
    "AND (f.id IS NULL OR coalesce(f.scores_run, 0) < $n OR (f.scores_run = $n AND any(name IN $names WHERE "
    "NOT coalesce(f[name] = o[name], f[name] IS NULL AND o[name] IS NULL)))) RETURN count(f) AS n"
)


def hand_on(tx: Transaction, features: list[str], n: int) -> None:
    """Let features, by their element ids, show what the next newest run saw of them where run number ``n`` has no observation any more."""
    for query in (_NEXT_LABEL, _NEXT_VALUES):
        tx.run(query, features=features, n=n)
